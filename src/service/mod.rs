//! What can be done to a vault: the trait [`Operations`], its orders, reports and errors, and the open vault behind
//! it, which a mount serves on its socket and a command uses on a vault that isn't mounted.
//!
//! A report is a type of its own only where no lower layer has one: a rotation is the keyring's, a summary fsck's.

mod blocked_deletions;
mod copies;
mod errors;
mod files;
mod kept_counts;
mod key_backup;
mod key_removal;
mod keys;
mod local;
mod metrics;
mod operations;
mod orders;
mod reports;
mod status;
mod tree;

pub use blocked_deletions::DueDeletion;
pub use errors::{ErrorKind, ErrorReply};
pub use kept_counts::{CountToKeep, distrust_count, take_up_count};
pub use key_backup::{KeptState, KeptStatus, KeyBackupStatus, OpenedBy};
pub use local::OpenVault;
pub use metrics::report_lower;
pub use operations::{INSPECTED_TOGETHER, Operations, Result};
pub use orders::{CopyPlace, Retire, Rewrap, RewrapDestination};
pub use reports::{
    FileReencrypted, Inspected, InspectedHeader, KmsReply, ReencryptionEnded, RetireReport, RewrapReport,
};
pub use status::{
    AliasStatus, KeyStatus, KeyVersionStatus, LeaseStatus, MountStatus, PendingStatus, SlotStatus, Status,
    TagStatus, VersionStatus,
};
pub use tree::{TreeError, open_tree};

pub use crate::events::{EventFilter, EventPage, EventQuery, LoggedEvent, PagePlace, Verification};
pub use crate::keyring::{KeyRef, ManualRotation, Retirement, Rotation, VersionState};
pub use crate::vault::NamedFile;
