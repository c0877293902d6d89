//! Why an unlock slot wasn't opened.

use super::cost::{MAX_SLOTS, SlotCost};
use super::custody::MAX_CUSTODIAN_SLOTS;
use super::secret::SecretKind;
use crate::ids::SlotId;

/// Why a secret yields no root key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnlockError {
    /// No slot opens with it. A changed slot looks the same.
    #[error("wrong {0}")]
    WrongSecret(SecretKind),
    /// The vault has no slot of that kind.
    #[error("this vault has no {0}; `rekeyfs unlock list` shows what it has")]
    NoSuchSlot(SecretKind),
    /// The slot asks for more than this program runs, so it wasn't tried.
    #[error(
        "unlock slot {0} asks for Argon2id costs beyond 4 GiB, 64 passes or 16 lanes: the keyring is damaged"
    )]
    CostBeyondCaps(SlotId),
    /// One slot asks for more than rekeyfs makes slots with, or than the machine has memory for: it wasn't tried.
    #[error(
        "unlock slot {slot} asks for {passes} passes over {memory_mib} MiB of memory, more than is spent on a slot \
         that nobody vouches for, and wasn't tried; if it is yours, give --any-cost, else the keyring was changed"
    )]
    TooCostly {
        /// The slot.
        slot: SlotId,
        /// The memory that it asks for.
        memory_mib: u32,
        /// The passes that it asks for.
        passes: u32,
    },
    /// More slots than rekeyfs makes: none was tried.
    #[error(
        "the keyring has {0} unlock slots and rekeyfs makes at most {MAX_SLOTS}, so none was tried; if they are yours, \
         give --any-cost, else the keyring was changed"
    )]
    TooManySlots(usize),
    /// The slots that would be tried ask for too much together: none was tried.
    #[error(
        "{slots} unlock slots ask for {cost} of memory to be gone over, more than is spent on slots that nobody vouches \
         for, and none was tried; if they are yours, give --any-cost, else the keyring was changed"
    )]
    TooCostlyTogether {
        /// How many.
        slots: usize,
        /// What they ask for.
        cost: SlotCost,
    },
    /// As many custodians' slots as are tried.
    #[error(
        "the keyring has {MAX_CUSTODIAN_SLOTS} slots of custodians already, and no more are tried; remove one first"
    )]
    TooManyCustodians,
    /// The key backup isn't sealed for age recipients.
    #[error("this key backup isn't sealed for age recipients; leave --identity out")]
    NoAgeSlot,
    /// What age decrypted was made for another backup's slot.
    #[error("what the identity opens is of another key backup: the header was changed; use another copy")]
    NotOfThisBackup,
    /// Argon2id could not be run with costs within the caps: most often, not enough memory.
    #[error("unlock slot {0} needs {1} MiB of memory for Argon2id and could not have them")]
    NoMemory(SlotId, u32),
}

impl UnlockError {
    /// Whether the secret was tried, or could have been, and isn't one of the vault's.
    pub fn is_wrong_secret(&self) -> bool {
        matches!(self, Self::WrongSecret(_) | Self::NoSuchSlot(_))
    }
}
