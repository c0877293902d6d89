//! Directory records: the id, once it must not depend on the name any more, and the alias that new files below
//! the directory use.
//!
//! ```text
//! record    0 version u8 (1) | 1 incompat u8 (0) | 2 sealed (crypto/seal.rs), the first two bytes being the AAD
//! sealed    0 directory id (16) | 16 length of the alias u16 | 18 alias, if it has one
//! ```

use super::OpenError;
use crate::crypto::keys::{SealKey, TreeKey};
use crate::crypto::seal;
use crate::ids::{AliasName, DirId};

/// Version and incompat bits.
const HEAD: [u8; 2] = [1, 0];
const ID: usize = 16;
const ALIAS_LEN: usize = 2;

/// What a directory's record holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirRecord {
    /// The directory's id.
    pub id: DirId,
    /// The alias that new files below it use; `None`: the parent's.
    pub alias: Option<AliasName>,
}

impl DirRecord {
    /// The longest record in bytes.
    pub const MAX_LEN: usize = HEAD.len() + seal::OVERHEAD + ID + ALIAS_LEN + AliasName::MAX_LEN;
}

/// Seals and opens the directory records of a tree.
pub struct RecordCipher(SealKey);

impl RecordCipher {
    /// Under the record key of this tree key.
    pub fn new(tree: &TreeKey) -> Self {
        Self(tree.dir_record_key())
    }

    /// The record as it is on disk.
    pub fn encode(&self, record: &DirRecord) -> Vec<u8> {
        let alias = record.alias.as_ref().map_or("", AliasName::as_str);
        let mut plain = Vec::with_capacity(ID + ALIAS_LEN + alias.len());
        plain.extend_from_slice(&record.id.0);
        // At most 256: AliasName checks it.
        plain.extend_from_slice(&(alias.len() as u16).to_le_bytes());
        plain.extend_from_slice(alias.as_bytes());
        [&HEAD[..], &self.0.seal(&HEAD, &plain)].concat()
    }

    /// The inverse of [`RecordCipher::encode`].
    ///
    /// # Errors
    /// [`OpenError`]; never to be taken for "no record".
    pub fn decode(&self, lower: &[u8]) -> Result<DirRecord, OpenError> {
        let (head, sealed) = lower.split_first_chunk::<2>().ok_or(OpenError::Damaged)?;
        if *head != HEAD {
            return Err(OpenError::Newer);
        }
        let plain = self.0.open(&HEAD, sealed)?;
        let (id, rest) = plain.split_first_chunk::<ID>().ok_or(OpenError::Damaged)?;
        let (len, alias) = rest.split_first_chunk::<ALIAS_LEN>().ok_or(OpenError::Damaged)?;
        if alias.len() != usize::from(u16::from_le_bytes(*len)) {
            return Err(OpenError::Damaged);
        }
        let alias = match alias {
            b"" => None,
            text => {
                Some(std::str::from_utf8(text).ok().and_then(|s| s.parse().ok()).ok_or(OpenError::Damaged)?)
            }
        };
        Ok(DirRecord { id: DirId(*id), alias })
    }
}
