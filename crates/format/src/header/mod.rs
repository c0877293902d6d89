//! A file's header: two slots of 512 bytes in page 0, of which the valid one with the higher sequence
//! counts (docs/format.md, "The header"). Bytes from disk are an [`UnverifiedSlot`]; only [`open`], which
//! unwraps the DEK and checks the MAC that commits to it, makes a [`Header`], and only a `Header` yields
//! content keys. No I/O.

mod layout;
mod open;
mod slot_keys;
mod tag;
mod unverified;
mod verified;

pub use layout::{AUTHENTICATED, SLOT, SLOTS, SlotIndex};
pub use open::{OpenError, UnwrapFailure, open};
pub use slot_keys::{OtherSlot, SlotKeys};
pub use tag::AliasTag;
pub use unverified::UnverifiedSlot;
pub use verified::{Header, NextSlot, Rewrapped};

#[cfg(test)]
mod tests;
