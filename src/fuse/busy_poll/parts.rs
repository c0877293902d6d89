//! Which parts of busy polling are on: all of them, but in the builds that `scripts/bench.sh --polling` compares.

/// The parts, each of which works without the others; the last one is a part of the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Parts {
    /// The leader polls before it sleeps.
    pub(super) polling: bool,
    /// The followers stay away from the device while the leader keeps up.
    pub(super) standby: bool,
    /// A worker on the caller's core serves a program that sends one request after another.
    pub(super) colocated: bool,
    /// Polling ends with the second poll in a row that finds nothing while programs want every core.
    pub(super) yielding: bool,
}

impl Parts {
    const ALL: Self = Self { polling: true, standby: true, colocated: true, yielding: true };

    /// All of them.
    #[cfg(not(feature = "benchmarks"))]
    pub(super) const fn chosen() -> Self {
        Self::ALL
    }

    /// Those that the environment variable REKEYFS_BUSY_POLL lists, or all where it isn't set.
    #[cfg(feature = "benchmarks")]
    pub(super) fn chosen() -> Self {
        std::env::var("REKEYFS_BUSY_POLL").map_or(Self::ALL, |list| Self::listed(&list))
    }

    #[cfg(any(test, feature = "benchmarks"))]
    fn listed(list: &str) -> Self {
        let has = |part| list.split(',').any(|one| one == part);
        Self {
            polling: has("polling"),
            standby: has("standby"),
            colocated: has("colocated"),
            yielding: has("yielding"),
        }
    }

    /// Whether a thread is to do anything but sleep between two requests.
    pub(super) const fn any(self) -> bool {
        self.polling || self.standby || self.colocated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_on_that_are_listed() {
        assert_eq!(Parts::listed("polling,standby,colocated,yielding"), Parts::ALL);
        let polling = Parts { polling: true, standby: false, colocated: false, yielding: false };
        assert_eq!(Parts::listed("polling"), polling);
        assert!(!Parts::listed("").any() && Parts::ALL.any());
    }
}
