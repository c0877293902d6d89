//! The messages. Every line is one JSON object with the protocol's number beside the request or reply; a
//! number this program doesn't know is refused before anything else of the line is looked at.

mod state;

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

pub use super::refusals::{Refusal, RefusalKind};
use crate::events::Verification;
use crate::fsck::{self, Finding};
pub use crate::ids::PathText;
use crate::ids::{AliasName, KeyId, KeyVersion, Timestamp};
use crate::keyring::kms::{Call, KmsError};
use crate::keyring::{Authority, Retirement, Staying, VersionState};
pub use state::{
    AliasStatus, KeyStatus, KeyVersionStatus, MountStatus, PendingStatus, Status, VersionStatus,
};

/// The protocol's number. It goes up when an old client or daemon would misunderstand a new message.
pub const PROTOCOL: u32 = 1;

/// The longest line either side accepts, in bytes, the line feed included.
pub const MAX_MESSAGE: usize = 1 << 20;

/// What a client may ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The state of vault and mount.
    Status,
    /// A new version of a key, in use when the reply comes.
    Rotate {
        /// Which key.
        target: RotateTarget,
    },
    /// Make a new key in the place of the one that an alias points at.
    RotateNewKey {
        /// The alias.
        alias: AliasName,
    },
    /// Rotate every key whose schedule says so.
    RotateDue,
    /// An operation of the KMS interface.
    Kms {
        /// Which, and its parameters.
        call: Call,
    },
    /// Shut, open or trim old versions of a key. The reply is preceded by progress lines; hanging up stops it.
    Retire {
        /// What.
        asked: Retire,
    },
    /// Re-wrap files. The reply is preceded by progress lines; hanging up stops the sweep.
    Rewrap(Rewrap),
    /// Check what is stored. The reply is preceded by findings and progress lines; hanging up stops it.
    Fsck {
        /// Only what lies here, from the mount's root on.
        path: Option<PathText>,
    },
    /// The plain names of lower paths in the event log.
    PlainNames {
        /// As the log states them.
        paths: Vec<String>,
    },
    /// A check of the event log.
    VerifyEvents,
    /// Count all files, then the state. The reply is preceded by progress lines; hanging up stops it.
    Count,
    /// Re-encrypt a file that the kernel holds. The reply is preceded by progress lines; hanging up stops it.
    Reencrypt {
        /// Its inode number.
        ino: u64,
        /// Not if it was made at or after this time.
        before: Option<Timestamp>,
    },
    /// Note in the event log that all files below directories are re-encrypted, one by one, by whoever asks.
    NoteReencryption {
        /// What came of it, once it has ended.
        ended: Option<ReencryptionEnded>,
    },
    /// Re-wrap the DEK of a file that the kernel holds under a key of the caller's choice: KMS's ReEncrypt.
    RewrapTo {
        /// Its inode number.
        ino: u64,
        /// Which key: its id or ARN, an alias or its ARN.
        key_id: String,
    },
    /// The header of a file that the kernel holds.
    Inspect {
        /// Its inode number.
        ino: u64,
    },
    /// The state of a key version.
    VersionState {
        /// The key.
        key_id: KeyId,
        /// Its version.
        version: KeyVersion,
    },
}

/// Which key to rotate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotateTarget {
    /// The one this alias points at.
    Alias(AliasName),
    /// This one.
    Key(KeyId),
}

/// An order to re-wrap files: without more, all that are stale.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrap {
    /// Files looked at in a second, at most.
    pub max_rate: Option<NonZeroU32>,
    /// Where to.
    #[serde(default, skip_serializing_if = "RewrapDestination::is_followed")]
    pub to: RewrapDestination,
    /// The inode number of a file or directory that the kernel holds: it, or what is below it, and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<u64>,
}

/// Where files are re-wrapped to.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewrapDestination {
    /// Where the alias that each follows points.
    #[default]
    Followed,
    /// The same, and files that don't say which alias they follow get that of their directory, if it points at their key.
    Adopted,
    /// Where this alias points, which they follow from then on.
    Alias(AliasName),
}

impl RewrapDestination {
    fn is_followed(&self) -> bool {
        *self == Self::Followed
    }
}

/// An order to retire versions of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retire {
    /// Which key: its id or ARN, an alias or its ARN.
    pub key_id: String,
    /// Versions below this one.
    pub below: KeyVersion,
    /// What becomes of them.
    pub what: Retirement,
    /// Do it though files need them, and without counting.
    pub insist: Option<Authority>,
    /// Copies of the vault whose files count too. A daemon that doesn't know of them refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<CopyPlace>,
}

/// A directory that holds a copy of a vault, or of its tree alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyPlace {
    /// Its absolute path.
    pub path: PathText,
    /// Which directory the client found there: the daemon may see another one.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
}

/// What a daemon answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// To [`Request::Status`] and [`Request::Count`].
    Status(Box<Status>),
    /// To [`Request::Rotate`].
    Rotated(Rotated),
    /// To [`Request::RotateNewKey`].
    Renewed(Renewed),
    /// To [`Request::RotateDue`].
    RotatedDue {
        /// The rotations; may be none.
        rotated: Vec<Rotated>,
    },
    /// To [`Request::Kms`] and [`Request::RewrapTo`].
    Kms(KmsReply),
    /// To [`Request::Retire`].
    Retired(RetireReport),
    /// Before the reply to a request that looks at all files, any number of times.
    Progress(Progress),
    /// To [`Request::Rewrap`].
    Rewrapped(RewrapReport),
    /// Before the reply to [`Request::Fsck`], any number of times.
    Found(Box<Finding>),
    /// Before the reply to [`Request::Fsck`], any number of times.
    Checking(fsck::CheckProgress),
    /// To [`Request::Fsck`].
    Checked(Box<fsck::Summary>),
    /// To [`Request::PlainNames`].
    PlainNames {
        /// For each path its plain one, relative to the mountpoint; none if it can't be known any more.
        names: Vec<Option<PathText>>,
    },
    /// To [`Request::VerifyEvents`].
    EventsVerified(Verification),
    /// To [`Request::Reencrypt`].
    Reencrypted {
        /// What became of the file.
        outcome: FileReencrypted,
    },
    /// To [`Request::NoteReencryption`].
    Noted,
    /// To [`Request::Inspect`].
    Inspected(Inspected),
    /// To [`Request::VersionState`].
    VersionState(VersionState),
    /// It could not be done.
    Refused(Refusal),
}

/// What came of a re-encryption of all files below directories.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReencryptionEnded {
    /// Files looked at.
    pub files: u64,
    /// Of these, those that have a new DEK.
    pub reencrypted: u64,
    /// Files left as they were, and directories that could not be read.
    pub left: u64,
    /// Whether it saw all of them.
    pub complete: bool,
}

/// What became of a file that was to be re-encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileReencrypted {
    /// It has a new DEK, and is this inode now.
    Done {
        /// Its inode number.
        ino: u64,
    },
    /// It is empty, and has none.
    Empty,
    /// Left: it was made after the time that was given.
    Newer,
    /// Left: it has several names.
    Linked,
    /// Left: it is open, or was changed meanwhile.
    InUse,
    /// Left: the client hung up, or the mount ends.
    Stopped,
}

/// What an operation of the KMS interface came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum KmsReply {
    /// It was done.
    Done {
        /// The answer as AWS shapes it; null where there is none.
        answer: serde_json::Value,
    },
    /// KMS refuses it.
    Failed {
        /// With AWS's name for the reason.
        error: KmsError,
    },
}

/// A rotation that is durable and in use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rotated {
    /// The alias it was asked by, or one that points at the key, if any.
    pub alias: Option<AliasName>,
    /// The key.
    pub key_id: KeyId,
    /// Its current version before.
    pub old_version: KeyVersion,
    /// Its current version now.
    pub new_version: KeyVersion,
}

/// A key that took another's place at an alias.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Renewed {
    /// The alias.
    pub alias: AliasName,
    /// The key that it pointed at.
    pub old_key_id: KeyId,
    /// The key that it points at now.
    pub new_key_id: KeyId,
    /// Another alias, by which the old key is found.
    pub dated_alias: AliasName,
}

/// How far a sweep is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Files looked at.
    pub seen: u64,
    /// Of these, re-wrapped by this sweep.
    pub rewrapped: u64,
    /// Of these, stale and left so: the key isn't usable, or the file couldn't be written.
    pub failed: u64,
    /// How many files there are, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// Versions of a key that were retired, or are open again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RetireReport {
    /// The key.
    pub key_id: KeyId,
    /// Versions below this one unwrap nothing now.
    pub min_decryption: KeyVersion,
    /// How many versions lost their material by this.
    pub trimmed: u32,
    /// How many are open again but have no material.
    pub lost: u32,
}

/// How a sweep ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RewrapReport {
    /// The counts.
    #[serde(flatten)]
    pub progress: Progress,
    /// Whether it saw the whole tree; else it was stopped.
    pub complete: bool,
    /// Files by key and version when it ended, as far as it came.
    pub versions: Vec<VersionStatus>,
    /// Files seen in this mount so far that stay under their key whatever becomes of aliases.
    #[serde(default)]
    pub staying: Staying,
}

/// What a file's header says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inspected {
    /// The header; none: the file is empty.
    pub header: Option<InspectedHeader>,
}

/// The fields of a header that opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InspectedHeader {
    /// The key.
    pub key_id: KeyId,
    /// Its version.
    pub version: KeyVersion,
    /// The content suite.
    pub suite: String,
    /// The slot's sequence.
    pub sequence: u64,
    /// Whether the alias resolves to another backing key now.
    pub stale: bool,
    /// Whether the file opens, and why it doesn't; an older daemon doesn't say.
    #[serde(flatten)]
    pub state: Option<VersionState>,
}
