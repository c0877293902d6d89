//! What a lower name can be, and which plaintext names there are.

use crate::ids::Ino;

/// The longest plaintext name, in bytes.
pub const MAX_NAME: usize = 255;
/// The lower name of a directory's record.
pub const DIR_RECORD: &[u8] = b".dir";
/// What the entry of a long name starts with; 43 characters of base64url follow.
pub const LONG_PREFIX: &[u8] = b".long.";
/// What is appended to a long name's entry for its companion, the file that holds the full lower name.
pub const LONG_SUFFIX: &[u8] = b".name";
/// What the names of temporary files start with. The holder of the vault's lock may remove one that a
/// crash left.
pub const TEMPORARY_PREFIX: &[u8] = b".tmp.";
/// Prefix of the display name of a lower name that can't be decrypted.
pub const BAD_PREFIX: &[u8] = b".rekeyfs-bad.";

/// A SHA-256 in base64url.
const HASH_LEN: usize = 43;

/// What a lower name is, by its spelling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LowerKind {
    /// An encrypted name, or one that something else put there.
    Name,
    /// The entry of a long name.
    LongEntry,
    /// The companion of a long name.
    LongCompanion,
    /// A directory's record.
    DirRecord,
    /// A temporary file.
    Temporary,
    /// Made by a newer program or by another one: hidden and kept. `.` and `..` are such.
    Unknown,
}

/// What follows the prefix of temporary files in the name of one that takes a whole file's new encryption; the
/// inode number comes after it.
const REENCRYPT: &[u8] = b"reencrypt.";

impl LowerKind {
    /// The name of the temporary file that is to replace the inode with this number.
    pub fn reencryption_of(ino: Ino) -> Vec<u8> {
        [TEMPORARY_PREFIX, REENCRYPT, ino.to_string().as_bytes()].concat()
    }

    /// Whether a temporary file is to replace another file.
    pub fn is_reencryption(lower: &[u8]) -> bool {
        lower.strip_prefix(TEMPORARY_PREFIX).is_some_and(|rest| rest.starts_with(REENCRYPT))
    }

    /// Classifies a lower name.
    pub fn of(lower: &[u8]) -> Self {
        if lower.first() != Some(&b'.') {
            return Self::Name;
        }
        if lower == DIR_RECORD {
            return Self::DirRecord;
        }
        if lower.starts_with(TEMPORARY_PREFIX) {
            return Self::Temporary;
        }
        let Some((hash, suffix)) = lower.strip_prefix(LONG_PREFIX).and_then(|h| h.split_at_checked(HASH_LEN))
        else {
            return Self::Unknown;
        };
        let spelled = hash.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        match suffix {
            b"" if spelled => Self::LongEntry,
            LONG_SUFFIX if spelled => Self::LongCompanion,
            _ => Self::Unknown,
        }
    }
}

/// Why a plaintext name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Over 255 bytes: ENAMETOOLONG.
    #[error("the name is longer than 255 bytes")]
    TooLong,
    /// Empty, `.`, `..`, or with a `/` or NUL in it: EINVAL.
    #[error("no file can have this name")]
    Invalid,
    /// To be created with the prefix that marks names that can't be decrypted: EINVAL.
    #[error("names that start with .rekeyfs-bad. are shown for what can't be decrypted; choose another name")]
    Reserved,
    /// With that prefix, but there is no such lower name, or it does decrypt: ENOENT.
    #[error("no such entry")]
    Absent,
}

/// Whether `name` can be looked up.
///
/// # Errors
/// [`NameError::TooLong`], [`NameError::Invalid`].
pub fn check_plain(name: &[u8]) -> Result<(), NameError> {
    if name.is_empty() || name == b"." || name == b".." || name.iter().any(|&b| b == b'/' || b == 0) {
        return Err(NameError::Invalid);
    }
    if name.len() > MAX_NAME { Err(NameError::TooLong) } else { Ok(()) }
}

/// Whether `name` can be created.
///
/// # Errors
/// As [`check_plain`], and [`NameError::Reserved`].
pub fn check_new(name: &[u8]) -> Result<(), NameError> {
    if name.starts_with(BAD_PREFIX) {
        return Err(NameError::Reserved);
    }
    check_plain(name)
}

/// The display name of a lower name that can't be decrypted.
pub fn bad_name(lower: &[u8]) -> Vec<u8> {
    [BAD_PREFIX, lower].concat()
}
