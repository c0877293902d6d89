//! Newtypes for everything that is an identifier or a number with a meaning of its own, so that one kind
//! can't be passed for another. Integers are little-endian on disk, UUIDs raw (docs/format.md).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

mod path;
mod prefix;
mod timestamp;
pub use path::PathText;
pub use prefix::{IdPrefix, NoId, NotOne, named};
pub use timestamp::Timestamp;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// The version 4 identifier made of these random bytes.
            pub const fn from_random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }

            /// The identifier whose raw bytes these are.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(uuid::Uuid::from_bytes(bytes))
            }

            /// The 16 raw bytes, as they are on disk.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, uuid::Error> {
                s.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// A vault.
    VaultId
);
uuid_id!(
    /// A file's content since it was last empty; a new one comes with each DEK.
    FileId
);
uuid_id!(
    /// A key (KMS: `KeyId`).
    KeyId
);
uuid_id!(
    /// An unlock slot.
    SlotId
);
uuid_id!(
    /// A tree key, under which names, symlinks, xattrs and directory records are encrypted.
    TreeKeyId
);
uuid_id!(
    /// A mount among those that share a vault; a new one comes with each.
    MemberId
);

/// A directory's id: the AAD of the names in it. Derived, or stored in its record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DirId(pub [u8; 16]);

/// An alias since it was made: the same when it is pointed at another key, another one when it is deleted and made
/// again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AliasId(pub [u8; 16]);

/// The version of a key: which of its backing keys. The first is 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyVersion(pub u32);

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One backing key: a key and a version of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BackingKeyId {
    /// The key.
    pub key: KeyId,
    /// Its version.
    pub version: KeyVersion,
}

/// The format of a lower file. Only [`Format::CURRENT`] is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format(pub u16);

impl Format {
    /// The format this program writes.
    pub const CURRENT: Self = Self(1);
}

/// A slot's sequence: the higher of two valid slots counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Sequence(pub u64);

/// The index of a 4096-byte lower page, and of the block inside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PageIndex(pub u64);

/// A count of pages, as in a header's floor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PageCount(pub u64);

/// The index of a segment of 2^14 pages: what one content key seals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SegmentIndex(pub u64);

/// A byte offset in a file as its users see it; also a plaintext size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PlainOffset(pub u64);

/// A byte offset in a lower file; also a lower size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LowerOffset(pub u64);

/// An inode number: the lower one, but 1 for the root.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory of a vault.
    pub const ROOT: Self = Self(1);
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Distinguishes inodes that have one number one after the other; constant while an inode lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct NodeGeneration(pub u32);

/// An open file or directory handle, as given to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Handle(pub u64);

/// A keyring's generation: one more with each save.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// The name of an alias: `alias/` and at least one of `a-z A-Z 0-9 / _ -`, at most 256 bytes in all;
/// case-sensitive. A clone shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AliasName(Arc<str>);

/// A text that isn't an alias name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no alias name: it takes alias/ and then letters, digits, / _ -, at most 256 bytes in all")]
pub struct InvalidAliasName(pub String);

impl AliasName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 256;
    /// What every name begins with.
    pub const PREFIX: &'static str = "alias/";

    /// The alias whose key wraps new files where the directory names no other: `alias/default`.
    pub fn default_alias() -> Self {
        Self("alias/default".into())
    }

    /// The alias of the service-managed key that wraps the tree keys: `alias/rekeyfs/tree`.
    pub fn tree() -> Self {
        Self("alias/rekeyfs/tree".into())
    }

    /// The name as text, with its prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether users may neither create, move nor delete it (`alias/aws/…`, `alias/rekeyfs/…`).
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("alias/aws/") || self.0.starts_with("alias/rekeyfs/")
    }
}

impl std::str::FromStr for AliasName {
    type Err = InvalidAliasName;
    fn from_str(s: &str) -> Result<Self, InvalidAliasName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-');
        match s.strip_prefix(Self::PREFIX) {
            Some(rest) if !rest.is_empty() && s.len() <= Self::MAX_LEN && rest.bytes().all(allowed) => {
                Ok(Self(s.into()))
            }
            _ => Err(InvalidAliasName(s.to_owned())),
        }
    }
}

impl TryFrom<String> for AliasName {
    type Error = InvalidAliasName;
    fn try_from(s: String) -> Result<Self, InvalidAliasName> {
        s.parse()
    }
}

impl From<AliasName> for String {
    fn from(name: AliasName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AliasName({})", self.0)
    }
}

#[cfg(test)]
mod tests;

/// A time stamp: seconds since 1970 (negative before) and nanoseconds, 0..1e9, counted forward from them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// Nanoseconds after `secs`.
    pub nanos: u32,
}

/// A change of a time stamp, as in `utimensat(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeChange {
    /// Keep it (UTIME_OMIT).
    Keep,
    /// Set it to the present (UTIME_NOW).
    Now,
    /// Set it.
    At(Time),
}
