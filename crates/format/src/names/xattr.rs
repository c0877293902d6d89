//! Extended attributes: `user.rkf.` and base64url of AES-256-SIV over the name (no AAD); the value sealed behind a
//! version byte, with the full plaintext name as AAD. On what can't have `user.` attributes (symlinks, FIFOs, sockets,
//! devices) the lower name begins with `trusted.rkf.` instead.

use super::versioned::{self, OVERHEAD, OpenError};
use super::{TooLong, decode64, encode64};
use crate::crypto::keys::{SealKey, TreeKey};
use crate::crypto::siv::SivKey;

/// The lower namespace of a sealed attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XattrSpace {
    /// Of files and directories.
    User,
    /// Of everything else.
    Trusted,
}

impl XattrSpace {
    const ALL: [Self; 2] = [Self::User, Self::Trusted];

    /// What the lower names of sealed attributes start with.
    fn prefix(self) -> &'static [u8] {
        match self {
            Self::User => b"user.rkf.",
            Self::Trusted => b"trusted.rkf.",
        }
    }

    /// The one that a lower name is in; `None`: it isn't that of a sealed attribute.
    pub fn of(lower: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|space| lower.starts_with(space.prefix()))
    }
}

/// XATTR_NAME_MAX.
const LOWER_MAX: usize = 255;

/// Encrypts the names and seals the values of a tree's extended attributes.
pub struct XattrCipher {
    names: SivKey,
    values: SealKey,
}

impl XattrCipher {
    /// Under the xattr keys of this tree key.
    pub fn new(tree: &TreeKey) -> Self {
        Self { names: tree.xattr_name_key(), values: tree.xattr_value_key() }
    }

    /// The lower name of the attribute whose full plaintext name (`user.…`) is `name`.
    ///
    /// # Errors
    /// [`TooLong`] over 168 bytes (166 for a `trusted.` one): ERANGE.
    pub fn lower_name(&self, space: XattrSpace, name: &[u8]) -> Result<Vec<u8>, TooLong> {
        let lower = [space.prefix(), &encode64(&self.names.encrypt(None, name))].concat();
        if lower.len() > LOWER_MAX { Err(TooLong) } else { Ok(lower) }
    }

    /// The full plaintext name of a lower attribute; `None`: it isn't one of rekeyfs's, or its name is damaged.
    pub fn plain_name(&self, lower: &[u8]) -> Option<Vec<u8>> {
        let sealed = decode64(lower.strip_prefix(XattrSpace::of(lower)?.prefix())?)?;
        let mut name = self.names.decrypt(None, &sealed).ok()?;
        Some(std::mem::take(&mut *name))
    }

    /// The lower value of the attribute with this full plaintext name.
    pub fn seal_value(&self, name: &[u8], value: &[u8]) -> Vec<u8> {
        versioned::seal(&self.values, name, value)
    }

    /// The inverse of [`XattrCipher::seal_value`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_value(&self, name: &[u8], lower: &[u8]) -> Result<Vec<u8>, OpenError> {
        versioned::open(&self.values, name, lower)
    }

    /// The length of the value whose lower form has `lower_len` bytes; `None`: no value's has.
    pub fn plain_len(lower_len: usize) -> Option<usize> {
        lower_len.checked_sub(OVERHEAD)
    }
}
