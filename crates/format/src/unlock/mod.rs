//! Unlock slots: each seals the vault's root key under a secret of its own (passphrase, key file, recovery key,
//! or what a custodian keeps), with AES-256-GCM under a key derived from the secret's KEK, vault id and slot id
//! (docs/format.md, "Unlock slots"). Slot KEKs are stored nowhere.

mod age;
mod base64;
mod cost;
mod custody;
mod error;
mod limit;
mod recovery;
mod secret;
mod slot;

pub use age::{AGE_PAYLOAD, AgeOpened, AgeSlot, MAX_AGE_FILE};
pub use cost::{MAX_SLOTS, SlotCost, in_place_of};
pub use custody::{
    CustodianName, Custody, CustodyError, CustodyParams, HeldKek, MAX_CUSTODIAN_SLOTS, MAX_CUSTODY_BLOB,
};
pub use error::UnlockError;
pub use limit::CostBounds;
pub use recovery::{RecoveryKey, RecoveryKeyError};
pub use secret::{KEY_FILE_LEN, KeyFileError, Secret, SecretKind};
pub use slot::{Slot, SlotInfo, Slots};

#[cfg(test)]
mod tests;
