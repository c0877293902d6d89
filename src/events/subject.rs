//! What events are about: a file, a failed attempt, the reason of a refusal; and the classes of events that have limits.

use serde_json::{Value, json};
use signal_hook::low_level::signal_name;

use super::Actor;
use crate::ids::{BackingKeyId, FileId, Ino, Timestamp};

/// Which file an event is about. Never by its plain name: the log lies beside the ciphertext.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileRef {
    /// The inode number.
    pub ino: Ino,
    /// The id in its header, where that was read.
    pub file: Option<FileId>,
    /// A path of it in the vault directory, by lower names: `tree/…`. Bytes that aren't printable ASCII, and
    /// `%`, are percent-encoded. None if it has no name any more.
    pub path: Option<String>,
}

/// A secret that opened no slot, as its process recorded it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedUnlock {
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: Actor,
}

impl FailedUnlock {
    pub(super) fn detail(&self) -> Value {
        json!({"time": self.time.to_string(), "uid": self.actor.uid, "pid": self.actor.pid})
    }
}

/// Why a mount ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnmountReason {
    /// A signal asked for it.
    Signal(i32),
    /// Nobody used it for as long as `--idle` says.
    Idle,
    /// It was unmounted: by `rekeyfs umount`, umount(8) or fusermount3.
    Umount,
    /// The session ended with an error: the kernel aborted the connection, or a request could not be read.
    Failed,
}

impl UnmountReason {
    /// As the event and the log say it.
    pub fn name(self) -> String {
        match self {
            Self::Signal(number) => {
                signal_name(number).map_or_else(|| format!("signal {number}"), str::to_owned)
            }
            Self::Idle => "idle".to_owned(),
            Self::Umount => "umount".to_owned(),
            Self::Failed => "failed".to_owned(),
        }
    }
}

/// Why a file was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalReason {
    /// Its key isn't usable: disabled, pending deletion, without material, or unknown.
    KeyState,
    /// The key's policy doesn't allow it.
    Policy,
    /// Its header failed authentication.
    Authentication,
}

impl RefusalReason {
    /// All of them, in their order.
    pub const ALL: &[Self] = &[Self::KeyState, Self::Policy, Self::Authentication];

    /// The word for it in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyState => "key-state",
            Self::Policy => "key-policy",
            Self::Authentication => "authentication",
        }
    }
}

/// Events that users of a mount can cause as fast as they like. Each class has limits of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// [`Event::AccessRefused`](super::Event::AccessRefused).
    Refusals,
    /// [`Event::Damage`](super::Event::Damage), and what else files on disk show.
    Damage,
    /// [`Event::FileReencrypted`](super::Event::FileReencrypted).
    Reencryptions,
    /// [`Event::DirectoryAlias`](super::Event::DirectoryAlias).
    DirectoryAliases,
    /// [`Event::KmsRequest`](super::Event::KmsRequest).
    Requests,
}

impl Class {
    /// All of them, each at the place of its number.
    pub(super) const ALL: [Self; 5] =
        [Self::Refusals, Self::Damage, Self::Reencryptions, Self::DirectoryAliases, Self::Requests];

    /// As the log names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refusals => "refusals",
            Self::Damage => "damage",
            Self::Reencryptions => "re-encryptions",
            Self::DirectoryAliases => "directory-aliases",
            Self::Requests => "kms-requests",
        }
    }
}

/// How many events of each class were held back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct HeldBack([u64; Class::ALL.len()]);

impl HeldBack {
    /// So many of each class, as `count` says.
    pub(super) fn of_each(count: impl FnMut(Class) -> u64) -> Self {
        Self(Class::ALL.map(count))
    }

    /// The classes, with how many of each.
    pub(super) fn each(self) -> impl Iterator<Item = (Class, u64)> {
        Class::ALL.into_iter().zip(self.0)
    }

    /// Of all classes.
    pub(super) fn total(self) -> u64 {
        self.0.into_iter().fold(0, u64::saturating_add)
    }
}

pub(super) fn with_file(mut detail: Value, file: &FileRef) -> Value {
    detail["inode"] = file.ino.0.into();
    detail["file-id"] = file.file.map(|id| id.to_string()).into();
    detail["lower-path"] = file.path.clone().into();
    detail
}

pub(super) fn with_backing(mut detail: Value, backing: Option<BackingKeyId>) -> Value {
    if let Some(backing) = backing {
        detail["key-id"] = backing.key.to_string().into();
        detail["version"] = backing.version.0.into();
    }
    detail
}
