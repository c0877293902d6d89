//! What the operations answer, as the control protocol writes it and as the commands print it.

use serde::{Deserialize, Serialize};

use super::status::VersionStatus;
use crate::events::Event;
use crate::ids::{KeyId, KeyVersion};
use crate::keyring::{Staying, VersionState};
use crate::kms::KmsError;
use crate::monitor::Progress;
use crate::printable;

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

impl RewrapReport {
    /// What was left as it was, and why; none if nothing was.
    pub fn left(&self) -> Option<String> {
        let failed = self.progress.failed;
        let what = printable::counted(
            failed,
            "file or directory was left as it was",
            "files or directories were left as they were",
        );
        (failed > 0)
            .then(|| format!("{what}: damaged, without a usable key, not writable, or on another filesystem"))
    }
}

impl ReencryptionEnded {
    /// The event of a re-encryption of many files: that it began, or how it ended.
    pub(super) fn event(ended: Option<Self>) -> Event {
        match ended {
            None => Event::ReencryptionBegan,
            Some(Self { files, reencrypted, left, complete }) => {
                Event::ReencryptionEnded { files, reencrypted, left, complete }
            }
        }
    }
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
