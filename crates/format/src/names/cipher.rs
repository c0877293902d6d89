//! Names: base64url of AES-256-SIV over the name, zero-padded to a multiple of 16, with the directory's id as
//! AAD. The entry of a name whose lower form is over 255 bytes (any of more than 160) is the form's hash; a
//! companion file holds the full form.

use super::kind::{
    BAD_PREFIX, LONG_PREFIX, LONG_SUFFIX, MAX_NAME, NameError, bad_name, check_new, check_plain,
};
use super::{decode64, encode64};
use crate::crypto::keys::TreeKey;
use crate::crypto::siv::{IV, SivKey};
use crate::crypto::{AuthError, sha256};
use crate::ids::DirId;

/// Names are padded to a multiple of this.
const BLOCK: usize = 16;
/// The longest name that lower filesystems take, in bytes.
const LOWER_MAX: usize = 255;

/// A name in the lower directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LowerName {
    /// Under its lower form.
    Short(Vec<u8>),
    /// Under the hash of its lower form.
    Long {
        /// The entry's lower name.
        entry: Vec<u8>,
        /// The lower name of the file whose content is `full`: made durable before the entry, removed after it.
        companion: Vec<u8>,
        /// The lower form.
        full: Vec<u8>,
    },
}

impl LowerName {
    /// The name in the directory of this lower form.
    pub fn from_full(full: Vec<u8>) -> Self {
        if full.len() <= LOWER_MAX {
            return Self::Short(full);
        }
        let entry = [LONG_PREFIX, &encode64(&sha256(&full))].concat();
        let companion = [&entry, LONG_SUFFIX].concat();
        Self::Long { entry, companion, full }
    }

    /// The longest lower form in bytes: what a companion can hold.
    pub const MAX_FULL: usize = ((IV + MAX_NAME.next_multiple_of(BLOCK)) * 4).div_ceil(3);

    /// The lower name of the entry itself.
    pub fn entry(&self) -> &[u8] {
        match self {
            Self::Short(entry) | Self::Long { entry, .. } => entry,
        }
    }

    /// The whole lower form, which [`NameCipher::decrypt`] takes.
    pub fn full(&self) -> &[u8] {
        match self {
            Self::Short(full) | Self::Long { full, .. } => full,
        }
    }

    /// The companion's lower name of a long entry's lower name.
    pub fn companion_of(entry: &[u8]) -> Vec<u8> {
        [entry, LONG_SUFFIX].concat()
    }
}

/// Encrypts and decrypts the names of a tree.
pub struct NameCipher(SivKey);

impl NameCipher {
    /// Under the names key of this tree key.
    pub fn new(tree: &TreeKey) -> Self {
        Self(tree.name_key())
    }

    /// The lower name of a valid plaintext one ([`check_plain`]) in the directory with this id.
    pub fn encrypt(&self, dir: DirId, name: &[u8]) -> LowerName {
        let mut padded = Vec::with_capacity(name.len().next_multiple_of(BLOCK));
        padded.extend_from_slice(name);
        padded.resize(name.len().next_multiple_of(BLOCK), 0);
        LowerName::from_full(encode64(&self.0.encrypt(Some(&dir.0), &padded)))
    }

    /// The plaintext name of a lower form.
    ///
    /// # Errors
    /// [`AuthError`] if it isn't what [`NameCipher::encrypt`] makes, in this directory, of a name that can be
    /// created.
    pub fn decrypt(&self, dir: DirId, full: &[u8]) -> Result<Vec<u8>, AuthError> {
        let sealed = decode64(full).ok_or(AuthError)?;
        let mut name = self.0.decrypt(Some(&dir.0), &sealed)?;
        let padded = name.len();
        let len = padded - name.iter().rev().take_while(|&&b| b == 0).count();
        name.truncate(len);
        if len.next_multiple_of(BLOCK) != padded || check_new(&name).is_err() {
            return Err(AuthError);
        }
        Ok(std::mem::take(&mut *name))
    }

    /// The plaintext name of a long entry, given its companion's content.
    ///
    /// # Errors
    /// [`AuthError`] if the two don't belong together, or as [`NameCipher::decrypt`].
    pub fn decrypt_long(&self, dir: DirId, entry: &[u8], companion: &[u8]) -> Result<Vec<u8>, AuthError> {
        let name = LowerName::from_full(companion.to_vec());
        if name.entry() != entry {
            return Err(AuthError);
        }
        self.decrypt(dir, name.full())
    }

    /// The display name of a lower name that isn't rekeyfs's own: the plaintext, or `.rekeyfs-bad.` and the lower
    /// name.
    pub fn show(&self, dir: DirId, lower: &[u8]) -> Vec<u8> {
        self.decrypt(dir, lower).unwrap_or_else(|AuthError| bad_name(lower))
    }

    /// The lower name under which an existing entry is to be looked for: the inverse of
    /// [`NameCipher::show`]. For what is to be created, [`check_new`](super::check_new) comes first.
    ///
    /// # Errors
    /// [`NameError`] if no entry can have this name.
    pub fn locate(&self, dir: DirId, name: &[u8]) -> Result<LowerName, NameError> {
        let Some(lower) = name.strip_prefix(BAD_PREFIX) else {
            check_plain(name)?;
            return Ok(self.encrypt(dir, name));
        };
        check_plain(lower).map_err(|_| NameError::Absent)?;
        if lower.starts_with(b".") || self.decrypt(dir, lower).is_ok() {
            return Err(NameError::Absent);
        }
        Ok(LowerName::Short(lower.to_vec()))
    }
}
