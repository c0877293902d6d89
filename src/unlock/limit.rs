//! What is spent on unlock slots before any of them is known to be genuine. Whoever can write the keyring can write
//! slots into its header: nothing of that is authentic before a slot has opened. So the number of slots, and the
//! memory and time that Argon2id takes for all that would be tried, are bounded before the first one is tried. All
//! slots that rekeyfs makes are within the bounds; who knows better says so ([`CostLimit::Any`]).

use super::slot::Slot;
use super::{SlotCost, UnlockError};
use crate::crypto::password::KdfParams;

/// How many slots a keyring has at most, those of unknown kinds too.
pub const MAX_SLOTS: usize = 64;
/// What one slot may cost: three passes over 4 GiB, as `--kdf-memory 4096` makes it.
const MAX_OF_ONE: SlotCost = SlotCost { mib_passes: 3 * 4096 };
/// What all slots that one secret is tried with may cost: 32 of three passes over 1 GiB, half a minute or so.
const MAX_OF_ALL: SlotCost = SlotCost { mib_passes: 32 * 3 * 1024 };

/// How much may be spent on slots that nobody vouches for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum CostLimit {
    /// What the slots that rekeyfs makes cost.
    #[default]
    Usual,
    /// Whatever the header asks for, each slot within the caps of its parameters: the caller says so.
    Any,
}

impl CostLimit {
    /// Whether a slot is tried at all.
    ///
    /// # Errors
    /// [`UnlockError::TooCostly`].
    pub(super) fn admits(self, slot: &Slot) -> Result<(), UnlockError> {
        let Some(kdf) = slot.kdf().filter(|_| self == Self::Usual) else { return Ok(()) };
        if SlotCost::of(kdf) <= MAX_OF_ONE && fits(kdf, memory_kib()) {
            return Ok(());
        }
        Err(UnlockError::TooCostly { slot: slot.id(), memory_mib: kdf.memory_kib >> 10, passes: kdf.passes })
    }

    /// Whether these slots are tried, one after the other, of a header that has `all`.
    ///
    /// # Errors
    /// [`UnlockError::TooManySlots`], [`UnlockError::TooCostlyTogether`].
    pub(super) fn admits_all<'a>(
        self,
        all: usize,
        tried: impl Iterator<Item = &'a Slot>,
    ) -> Result<(), UnlockError> {
        if self == Self::Any {
            return Ok(());
        }
        if all > MAX_SLOTS {
            return Err(UnlockError::TooManySlots(all));
        }
        let (slots, cost) = tried.fold((0, 0), |(slots, cost), slot| {
            (slots + 1, cost + slot.kdf().map_or(0, |kdf| SlotCost::of(kdf).mib_passes))
        });
        if cost > MAX_OF_ALL.mib_passes {
            return Err(UnlockError::TooCostlyTogether { slots, cost: SlotCost { mib_passes: cost } });
        }
        Ok(())
    }
}

/// Three quarters of the machine's memory: more ends in swapping, or in a process that is killed for it.
fn fits(kdf: KdfParams, memory_kib: Option<u64>) -> bool {
    memory_kib.is_none_or(|all| u64::from(kdf.memory_kib) <= all / 4 * 3)
}

/// MemTotal in /proc/meminfo.
pub(super) fn memory_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    //! The bounds, and that what rekeyfs makes is within them.

    use super::*;
    use crate::unlock::{KdfChoice, calibrate};

    #[test]
    fn what_rekeyfs_makes_is_tried_without_a_say_so() {
        let most = calibrate(KdfChoice::MemoryMib(4096)).unwrap();
        assert!(SlotCost::of(most) <= MAX_OF_ONE);
        // The most that calibration comes to: its most memory, then more passes for a second's worth of it.
        let calibrated = super::super::calibrate::scaled(std::time::Duration::from_micros(1), u32::MAX);
        assert!(SlotCost::of(calibrated).mib_passes <= 64 * 1024);
    }

    #[test]
    fn a_slot_that_the_machine_has_no_memory_for_is_not_tried() {
        let kdf = KdfParams { memory_kib: 1 << 20, passes: 1, lanes: 1 };
        assert!(fits(kdf, Some(2 << 20)) && !fits(kdf, Some(1 << 20)) && fits(kdf, None));
    }
}
