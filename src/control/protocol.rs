//! The messages. Every line is one JSON object with the protocol's number beside the request or reply; a
//! number this program doesn't know is refused before anything else of the line is looked at.

use serde::{Deserialize, Serialize};

use crate::events::{EventPage, EventQuery, Principal, Verification};
use crate::fsck::{self, Finding};
use crate::ids::{AliasName, KeyId, KeyVersion, PathText, SlotId, Timestamp};
use crate::keyring::{SlotLabel, VersionState};
use crate::kms::Call;
use crate::metrics::MetricsReport;
use crate::monitor::Progress;
use crate::service::{
    ErrorReply, FileReencrypted, Inspected, KeyBackupStatus, KeyRef, KmsReply, ManualRotation,
    ReencryptionEnded, Retire, RetireReport, Rewrap, RewrapReport, Rotation, SlotStatus, Status,
};

/// The protocol's number. It goes up when an old client or daemon would misunderstand a new message.
pub const PROTOCOL: u32 = 1;

/// The longest request, in bytes, the line feed included. A daemon keeps that much of each client.
pub const MAX_REQUEST: usize = 1 << 20;

/// The longest reply. A status names all keys with what describes them, and they come from a keyring of up to 64 MiB.
pub const MAX_REPLY: usize = 64 << 20;

/// What a client may ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The state of vault and mount.
    Status,
    /// What a monitoring system reads.
    Metrics,
    /// How true the key backups are.
    KeyBackup,
    /// A new version of a key, in use when the reply comes.
    Rotate {
        /// Which key.
        target: KeyRef,
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
        /// On whose behalf, where the client serves others and has found out who they are; else it asks for itself. A daemon
        /// that doesn't know of principals refuses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<Principal>,
    },
    /// Retire, restore or trim old versions of a key. The reply is preceded by progress lines; hanging up stops it.
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
    /// Take a host's readers that are gone out of those that changes of keys wait for.
    EvictReader {
        /// The host's name.
        host: String,
    },
    /// The labels of the unlock slots.
    SlotLabels,
    /// The unlock slots.
    Slots,
    /// A page of the event log.
    Events {
        /// Which.
        query: EventQuery,
    },
    /// Continue the event log in a new file.
    RotateEvents,
    /// Remove closed files of the event log.
    PruneEvents {
        /// So many of the newest stay.
        keep: usize,
    },
    /// Count all files, then the state. The reply is preceded by progress lines; hanging up stops it.
    Count,
    /// Re-encrypt a file that the kernel holds. The reply is preceded by progress lines; hanging up stops it.
    Reencrypt {
        /// Its inode number.
        ino: u64,
        /// Not if it was made at or after this time.
        before: Option<Timestamp>,
    },
    /// Record in the event log that the client re-encrypts all files below directories, one by one.
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
    /// The headers of files that the kernel holds.
    InspectFiles {
        /// Their inode numbers, at most [`INSPECTED_TOGETHER`](crate::service::INSPECTED_TOGETHER).
        inos: Vec<u64>,
    },
    /// The state of a key version.
    VersionState {
        /// The key.
        key_id: KeyId,
        /// Its version.
        version: KeyVersion,
    },
}

/// What a daemon answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// To [`Request::Status`] and [`Request::Count`].
    Status(Box<Status>),
    /// To [`Request::Metrics`].
    Metrics(MetricsReport),
    /// To [`Request::KeyBackup`].
    KeyBackup(KeyBackupStatus),
    /// To [`Request::Rotate`].
    Rotated(Rotation),
    /// To [`Request::RotateNewKey`].
    #[serde(rename = "renewed")]
    KeyReplaced(ManualRotation),
    /// To [`Request::RotateDue`].
    RotatedDue {
        /// The rotations; may be none.
        rotated: Vec<Rotation>,
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
    /// To [`Request::EvictReader`].
    ReaderEvicted {
        /// The slots that are free now.
        slots: Vec<u8>,
    },
    /// To [`Request::SlotLabels`].
    SlotLabels {
        /// By slot.
        labels: Vec<(SlotId, SlotLabel)>,
    },
    /// To [`Request::Slots`].
    Slots {
        /// The slots, in their order.
        slots: Vec<SlotStatus>,
    },
    /// To [`Request::Events`].
    Events(Box<EventPage>),
    /// To [`Request::VerifyEvents`].
    EventsVerified(Verification),
    /// To [`Request::RotateEvents`].
    EventsRotated {
        /// The closed file.
        closed: String,
    },
    /// To [`Request::PruneEvents`].
    EventsPruned {
        /// The files that are gone.
        removed: Vec<String>,
    },
    /// To [`Request::Reencrypt`].
    Reencrypted {
        /// What became of the file.
        outcome: FileReencrypted,
    },
    /// To [`Request::NoteReencryption`].
    Noted,
    /// To [`Request::Inspect`].
    Inspected(Inspected),
    /// To [`Request::InspectFiles`].
    InspectedFiles {
        /// For each file what its header says; none if it isn't held any more, or has no header that opens.
        files: Vec<Option<Inspected>>,
    },
    /// To [`Request::VersionState`].
    VersionState(VersionState),
    /// It could not be done.
    Refused(ErrorReply),
}
