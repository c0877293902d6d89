//! The alias tag: under which alias a file was wrapped, so that it follows that alias wherever its names lie
//! (docs/format.md, "Alias tag"). Programs without tags copy its bytes as reserved ones. So a tag counts only
//! if it names the key of its own slot: otherwise such a program has re-wrapped the file under another key since.
//!
//! ```text
//! slot   136 alias id (16; zeros: pinned) | 152 key id (16) | 168 keyring generation u64
//! ```

use crate::ids::{AliasId, Generation, KeyId};

const LEN: usize = 40;
/// Where its parts begin in it.
const KEY_ID: usize = 16;
const GENERATION: usize = 32;

/// A tag that counts. Authentic where the slot is: the slot's MAC covers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AliasTag {
    /// The alias that the file follows; none: it is pinned to its key.
    pub follows: Option<AliasId>,
    /// The keyring's generation when the tag was written. A newer one than the keyring has is evidence that an older
    /// keyring took its place.
    pub generation: Generation,
}

impl AliasTag {
    /// Its bytes in a slot.
    pub const BYTES: std::ops::Range<usize> = 136..136 + LEN;

    /// The tag in these bytes of a slot that names `key`; `None`: none that counts.
    pub(super) fn read(bytes: &[u8; LEN], key: KeyId) -> Option<Self> {
        let (alias, rest) = bytes.split_first_chunk::<16>()?;
        let (written_with, generation) = rest.split_first_chunk::<16>()?;
        if written_with != key.as_bytes() {
            return None;
        }
        let follows = (*alias != [0; 16]).then_some(AliasId(*alias));
        Some(Self { follows, generation: Generation(u64::from_le_bytes(*generation.first_chunk()?)) })
    }

    /// Its bytes in a slot that names `key`.
    pub(super) fn bytes(self, key: KeyId) -> [u8; LEN] {
        let mut out = [0; LEN];
        if let Some(alias) = self.follows {
            out[..KEY_ID].copy_from_slice(&alias.0);
        }
        out[KEY_ID..GENERATION].copy_from_slice(key.as_bytes());
        out[GENERATION..].copy_from_slice(&self.generation.0.to_le_bytes());
        out
    }
}
