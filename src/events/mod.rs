//! The audit log: `events.jsonl` in the vault, one JSON object a line, in the shape of EventBridge events.
//! Each line ends in an HMAC over the line before it and itself, so that changed, removed or reordered lines
//! show; the keyring's anchor (count, last MAC) limits how much can be cut off the end unnoticed.
//! Plain file names never go into it: it lies beside the ciphertext, readable without a key.

mod actor;
mod anchor;
mod append;
mod chain;
mod detail;
mod doubtful;
mod event;
mod evidence;
mod failed;
mod file;
mod file_names;
mod files;
mod filter;
mod first_uses;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
mod lines;
mod log;
mod notice;
mod pages;
mod pending;
mod preallocate;
mod rate_limit;
mod rotate;
mod subject;
mod verdict;
mod verify;

pub use actor::{Acting, Actor, NoPrincipal, Principal};
pub use anchor::Anchor;
pub use chain::Verification;
pub use doubtful::Doubtful;
pub use event::{ARN_PREFIX, Event, arn};
pub use evidence::Evidence;
pub use failed::{FAILURES_NAME, record_failed_unlock, take_failed_unlocks};
pub use file_names::{FILE_NAME, closed_at};
pub use files::{LogFile, log_files};
pub use filter::{EventFilter, EventKey, EventName, LogTime, Who};
pub use first_uses::RequestKind;
pub use keys::{FormerKey, LogKeys};
pub use lines::{Line, Lines};
pub use log::EventLog;
pub use notice::{NOTICES, log_change};
pub use pages::{EventPage, EventQuery, LoggedEvent, PagePlace};
pub use pending::Backlog;
pub use rate_limit::RateLimits;
pub use subject::{Class, FailedUnlock, FileRef, RefusalReason, UnmountReason};

#[cfg(test)]
mod tests;
