//! Bounds on the work for unlock slots that may be forged. An attacker who can write the keyring can write slots into
//! its header, and nothing in it is authentic before a slot has opened. So the number of slots, and the memory and time
//! that Argon2id takes for all that would be tried, are bounded before the first one is tried. All slots that rekeyfs
//! makes are within the bounds; a caller who vouches for the header lifts them ([`CostBounds::None`]).

use super::cost::{MAX_OF_ALL, MAX_SLOTS, SlotCost};
use super::error::UnlockError;
use crate::crypto::password::KdfParams;
use crate::ids::SlotId;

/// How much may be spent on slots that may be forged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CostBounds {
    /// What the slots that rekeyfs makes cost.
    Usual {
        /// The machine's memory in KiB, if that is known: no slot may need more than it has.
        memory_kib: Option<u64>,
    },
    /// None but the caps of each slot's parameters: the caller vouches for the header.
    None,
}

impl CostBounds {
    /// Whether the slot `id` is tried at all. Only passphrases have costs.
    ///
    /// # Errors
    /// [`UnlockError::TooCostly`].
    pub fn admits(self, id: SlotId, kdf: Option<KdfParams>) -> Result<(), UnlockError> {
        let (Self::Usual { memory_kib }, Some(kdf)) = (self, kdf) else { return Ok(()) };
        if SlotCost::of(kdf).is_usual() && fits(kdf, memory_kib) {
            return Ok(());
        }
        Err(UnlockError::TooCostly { slot: id, memory_mib: kdf.memory_kib >> 10, passes: kdf.passes })
    }

    /// Whether slots with the costs `tried` are tried, one after the other, of a header that has `all` slots.
    ///
    /// # Errors
    /// [`UnlockError::TooManySlots`], [`UnlockError::TooCostlyTogether`].
    pub(super) fn admits_all(
        self,
        all: usize,
        tried: impl Iterator<Item = Option<KdfParams>>,
    ) -> Result<(), UnlockError> {
        if self == Self::None {
            return Ok(());
        }
        if all > MAX_SLOTS {
            return Err(UnlockError::TooManySlots(all));
        }
        let (slots, cost) = tried.fold((0, 0), |(slots, cost), kdf| {
            (slots + 1, cost + kdf.map_or(0, |kdf| SlotCost::of(kdf).mib_passes))
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

#[cfg(test)]
mod tests {
    //! What a machine has memory for.

    use super::*;

    #[test]
    fn a_slot_that_the_machine_has_no_memory_for_is_not_tried() {
        let kdf = KdfParams { memory_kib: 1 << 20, passes: 1, lanes: 1 };
        for (memory_kib, admitted) in [(Some(2 << 20), true), (Some(1 << 20), false), (None, true)] {
            let bounds = CostBounds::Usual { memory_kib };
            assert_eq!(bounds.admits(SlotId::random(), Some(kdf)).is_ok(), admitted, "{memory_kib:?}");
        }
    }
}
