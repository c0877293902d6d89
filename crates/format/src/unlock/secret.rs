//! What a user gives to unlock a vault.

use std::fmt;
use std::io::{self, Read};

use zeroize::Zeroizing;

use super::custody::{HeldKek, KIND as CUSTODIAN};
use super::recovery::RecoveryKey;

/// Length of a key file, in bytes.
pub const KEY_FILE_LEN: usize = 32;

/// A secret that opens an unlock slot. Wiped when dropped; no Debug.
pub enum Secret {
    /// A passphrase, as typed, without the line end.
    Passphrase(Zeroizing<Vec<u8>>),
    /// The content of a key file.
    KeyFile(Zeroizing<[u8; KEY_FILE_LEN]>),
    /// A recovery key.
    Recovery(RecoveryKey),
    /// The KEK of a custodian's slot.
    Custodian(HeldKek),
}

/// The kind of a secret, and of the slot that it opens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SecretKind {
    /// A passphrase, run through Argon2id.
    Passphrase,
    /// A key file of exactly 32 random bytes.
    KeyFile,
    /// A recovery key: 32 random bytes, written as base32.
    Recovery,
    /// 32 random bytes that a custodian has wrapped.
    Custodian,
}

impl SecretKind {
    /// The slot's `type` in the keyring header, and the word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "keyfile",
            Self::Recovery => "recovery",
            Self::Custodian => CUSTODIAN,
        }
    }

    /// The kind's number in a slot's AAD.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Passphrase => 1,
            Self::KeyFile => 2,
            Self::Recovery => 3,
            Self::Custodian => 4,
        }
    }
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key file",
            Self::Recovery => "recovery key",
            Self::Custodian => "custodian's key",
        })
    }
}

/// Why a key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It has another length.
    #[error("a key file has exactly 32 bytes, this one doesn't; `head -c 32 /dev/urandom` makes one")]
    Length,
    /// It can't be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Secret {
    /// Reads a key file to its end.
    ///
    /// # Errors
    /// [`KeyFileError`]; the message doesn't name the file.
    pub fn read_key_file(mut file: impl Read) -> Result<Self, KeyFileError> {
        let mut key = Zeroizing::new([0; KEY_FILE_LEN]);
        file.read_exact(&mut *key).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => KeyFileError::Length,
            _ => KeyFileError::Io(e),
        })?;
        match file.read(&mut [0])? {
            0 => Ok(Self::KeyFile(key)),
            _ => Err(KeyFileError::Length),
        }
    }

    /// Its kind.
    pub const fn kind(&self) -> SecretKind {
        match self {
            Self::Passphrase(_) => SecretKind::Passphrase,
            Self::KeyFile(_) => SecretKind::KeyFile,
            Self::Recovery(_) => SecretKind::Recovery,
            Self::Custodian(_) => SecretKind::Custodian,
        }
    }
}
