//! From the bytes of both slots to a header: which slot counts.

use super::layout::SLOTS;
use super::slot_keys::OtherSlot;
use super::unverified::UnverifiedSlot;
use super::verified::Header;
use crate::crypto::keys::Dek;

/// Why a keyring did not unwrap a slot's DEK. `E` is the error for the user.
pub enum UnwrapFailure<E> {
    /// The key is known, but must not be used now: no fallback to the other slot.
    NotUsable(E),
    /// The keyring doesn't know the key or the version.
    Unknown(E),
    /// The unwrap failed.
    Failed,
}

/// Why no slot opened.
#[derive(Debug, PartialEq, Eq)]
pub enum OpenError<E> {
    /// The key can't be used, or is unknown: ENOKEY.
    Key(E),
    /// Damaged: EIO.
    Damaged,
    /// Written by a newer program: EOPNOTSUPP. Never guessed, so without fallback.
    Newer(&'static str),
    /// Both slots are all zeros: never written, or never durable.
    Missing,
}

/// Opens a header: the slot with the highest sequence first; the other one only if the first one's key is
/// unknown, its unwrap or its MAC fails.
///
/// # Errors
/// See [`OpenError`]. Unwrap and MAC failures are one error.
pub fn open<E>(
    bytes: &[u8; SLOTS],
    mut unwrap: impl FnMut(&UnverifiedSlot) -> Result<Dek, UnwrapFailure<E>>,
) -> Result<Header, OpenError<E>> {
    if bytes.iter().all(|b| *b == 0) {
        return Err(OpenError::Missing);
    }
    let mut unknown = None;
    for slot in UnverifiedSlot::parse_both(bytes).into_iter().flatten() {
        if let Some(what) = slot.newer() {
            return Err(OpenError::Newer(what));
        }
        match unwrap(&slot) {
            Ok(dek) => {
                let other = OtherSlot::of(bytes, slot.index.other());
                if let Ok(header) = Header::verify(slot, dek, other) {
                    return Ok(header);
                }
            }
            Err(UnwrapFailure::NotUsable(e)) => return Err(OpenError::Key(e)),
            Err(UnwrapFailure::Unknown(e)) => unknown = Some(e),
            Err(UnwrapFailure::Failed) => {}
        }
    }
    Err(unknown.map_or(OpenError::Damaged, OpenError::Key))
}
