//! What can go wrong with keys and keyrings: one line each, with the object, the cause and the remedy.

use std::path::{Path, PathBuf};

use super::format::model::KeyState;
use super::rules::error::RuleError;
use crate::ids::{AliasName, BackingKeyId, Generation, KeyId, SlotId, VaultId};
use crate::printable::shell;
use crate::storage::UnknownFeatures;
use crate::unlock::{SecretKind, UnlockError};

/// Why a key can't be used for a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Its state doesn't allow it.
    #[error("key {key} is {state}")]
    NotUsable {
        /// The key.
        key: KeyId,
        /// Why.
        state: Unusable,
    },
    /// The keyring doesn't have it.
    #[error("the keyring has no key {0}: is it another vault's file or an old keyring?")]
    UnknownKey(KeyId),
    /// The keyring doesn't have this version of it.
    #[error(
        "the keyring has no version {} of key {}: is it an old keyring? If a newer one or a key backup is found, \
         `rekeyfs key-backup merge` brings the version back", .0.version, .0.key
    )]
    UnknownVersion(BackingKeyId),
    /// It was in a keyring that isn't there any more.
    #[error(
        "version {} of key {} is lost with a newer keyring; if that or a backup of it is found, `rekeyfs \
         key-backup merge` brings the version back", .0.version, .0.key
    )]
    LostVersion(BackingKeyId),
    /// The keyring doesn't have it.
    #[error("there is no {0}; `rekeyfs status` lists the aliases")]
    UnknownAlias(AliasName),
    /// The wrapped DEK or its context is another one than was wrapped.
    #[error("a wrapped key failed authentication")]
    Auth,
}

impl KeyError {
    /// Whether the keyring lacks the key or the version: another keyring may have it.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::UnknownKey(_) | Self::UnknownVersion(_) | Self::LostVersion(_))
    }
}

/// Why a key or version, though known, isn't usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// The key's state.
    State(KeyState),
    /// The version is below the key's minimum for unwrapping.
    Retired(BackingKeyId),
    /// The version's material was deleted, or is still to be imported.
    NoMaterial(BackingKeyId),
    /// The version's imported material has expired.
    Expired(BackingKeyId),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::State(state) => state.fmt(f),
            Self::Retired(id) => write!(f, "usable, but its version {} is retired", id.version),
            Self::NoMaterial(id) => write!(f, "usable, but its version {} has no material", id.version),
            Self::Expired(id) => {
                write!(f, "usable, but the material of its version {} has expired", id.version)
            }
        }
    }
}

/// What a directory without a keyring has of a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing: it is none.
    Nothing,
    /// The tree.
    Tree,
    /// The keyring of the generation before.
    Previous,
}

/// Why a keyring can't be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// There is none.
    #[error("{}: {}", .vault.display(), missing_keyring(.vault, *.left))]
    Missing {
        /// The vault directory.
        vault: PathBuf,
        /// What else is there.
        left: Left,
    },
    /// There is one already.
    #[error("{}: there is a vault already", .0.display())]
    Exists(PathBuf),
    /// It is damaged.
    #[error("{}/keyring is damaged ({what}); {}", .vault.display(), restore(.vault, *.prev))]
    Damaged {
        /// The vault directory.
        vault: PathBuf,
        /// What was found.
        what: String,
        /// Whether keyring.prev is there.
        prev: bool,
    },
    /// A newer program wrote it.
    #[error("{}/keyring was written by a newer rekeyfs ({what}); use that one", .vault.display())]
    NewerFormat {
        /// The vault directory.
        vault: PathBuf,
        /// What isn't known.
        what: String,
    },
    /// A newer program wrote it, and the vault with it, in a way that this one may read past but not write.
    #[error(
        "{}: its keyring names features of a newer rekeyfs ({features}), with which this one may read the vault but not \
         write anything in it; use the newer one, or only read: `rekeyfs mount -o ro`",
        .vault.display()
    )]
    MayOnlyRead {
        /// The vault directory.
        vault: PathBuf,
        /// What isn't known.
        features: UnknownFeatures,
    },
    /// Another host has it mounted to write it, and here it is only read.
    #[error(
        "{}: another host has it mounted to write it, and this mount only reads it: change keys there, `rekeyfs hosts` \
         says which host it is",
        .0.display()
    )]
    WrittenElsewhere(PathBuf),
    /// A host to be evicted has no mount that reads the vault.
    #[error("{}: host {host} has no mount that reads it; `rekeyfs hosts` shows those that there are", .vault.display())]
    NoReader {
        /// The vault directory.
        vault: PathBuf,
        /// The host's name, escaped.
        host: String,
    },
    /// A host to be evicted has a mount that reads the vault and lives.
    #[error("{}: host {host} reads it, and renews its lease: unmount it there", .vault.display())]
    ReaderLives {
        /// The vault directory.
        vault: PathBuf,
        /// The host's name, escaped.
        host: String,
    },
    /// A host to be evicted has had its slots taken by other members meanwhile.
    #[error(
        "{}: another eviction of host {host} is under way, or another mount has its place by now; `rekeyfs hosts` shows which",
        .vault.display()
    )]
    ReaderReplaced {
        /// The vault directory.
        vault: PathBuf,
        /// The host's name, escaped.
        host: String,
    },
    /// The eviction of a host was cancelled.
    #[error("{}: host {host} isn't evicted yet, as this mount ends: evict it again", .vault.display())]
    EvictionStopped {
        /// The vault directory.
        vault: PathBuf,
        /// The host's name, escaped.
        host: String,
    },
    /// The secret opens no slot.
    #[error("{}: {source}", .vault.display())]
    Unlock {
        /// The vault directory.
        vault: PathBuf,
        /// Why.
        source: UnlockError,
    },
    /// It is older than this host has seen it.
    #[error(
        "{}/keyring is older (generation {}) than this host has seen it ({}{}): a backup or a sync tool put it \
         back, or one of two copies of the vault was changed; restore the newer one, or give --accept-rollback, which \
         keeps a record for this place alone: key versions \
         made since then are marked lost, and `rekeyfs key-backup merge` brings them back if it is found",
        .vault.display(), .found.0, .seen.0, place(.elsewhere.as_ref())
    )]
    RolledBack {
        /// The vault directory.
        vault: PathBuf,
        /// Its generation.
        found: Generation,
        /// The generation that this host has seen.
        seen: Generation,
        /// Where, if that was another place.
        elsewhere: Option<PathBuf>,
    },
    /// It was changed elsewhere, from an older one than this host has seen.
    #[error(
        "{}/keyring (generation {}) doesn't come from the one this host has seen{}: it was changed in two places; look \
         for a conflict copy, or give --accept-rollback, which keeps a record for this place alone, if the other's \
         changes may be lost here",
        .vault.display(), .found.0, place(.elsewhere.as_ref())
    )]
    Forked {
        /// The vault directory.
        vault: PathBuf,
        /// Its generation.
        found: Generation,
        /// Where the other one was seen, if that was another place.
        elsewhere: Option<PathBuf>,
    },
    /// It is sealed under another root key, and its maker didn't have the one that this host has seen.
    #[error(
        "{}/keyring is sealed under another root key than the one this host has seen{}, and not by `--revoke`: it was \
         imported from a key backup, or someone else made it; if you know which, give --accept-rollback, which keeps \
         a record for this place alone",
        .vault.display(), place(.elsewhere.as_ref())
    )]
    OtherRootKey {
        /// The vault directory.
        vault: PathBuf,
        /// Where the other one was seen, if that was another place.
        elsewhere: Option<PathBuf>,
    },
    /// A custodian's slot opened it, and this host remembers nothing of the vault.
    #[error(
        "{}: this host doesn't know this vault yet, and that a custodian opens it doesn't tell whose it is: who knows the \
         custodian's public key can make a keyring for it; open it once with a passphrase, key file or recovery key, or \
         with `rekeyfs unlock trust {}`",
        .0.display(), shell(.0)
    )]
    FirstUse(PathBuf),
    /// It is that of a copy, and the vault that it is a copy of is there.
    #[error(
        "{}/keyring was not changed: this is a copy of the vault in {}, and both would give the same version numbers to \
         different keys; open it with --accept-rollback, which keeps a record for this place alone, or take the other \
         one away", .vault.display(), .original.display()
    )]
    Copy {
        /// The vault directory.
        vault: PathBuf,
        /// That of the other one.
        original: PathBuf,
    },
    /// Someone else is changing it.
    #[error("{}/keyring is being changed by another process; try again", .0.display())]
    Busy(PathBuf),
    /// The event log doesn't verify, so no file of it is removed.
    #[error("{}: it doesn't verify, so none of its files is removed; `rekeyfs events --verify` says why", .0.display())]
    LogNotGood(PathBuf),
    /// The root key was replaced by another process.
    #[error("{}/keyring has a new root key since it was opened; unlock it again", .0.display())]
    RootKeyReplaced(PathBuf),
    /// A system call failed.
    #[error("{}: can't {what}: {source}{}", .path.display(), remedy(.source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The keyring can't hold more.
    #[error("{0}")]
    Full(String),
    /// The key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Rotation and state of a service-managed key aren't the user's.
    #[error("key {0} is managed by rekeyfs itself; choose a key of your own")]
    ServiceManaged(KeyId),
    /// Imported material is rotated by importing new material first.
    #[error("key {0} has imported material; import new material to rotate it")]
    Imported(KeyId),
    /// These versions of a key can't be retired, or not be opened again.
    #[error("key {key}: {why}")]
    Versions {
        /// The key.
        key: KeyId,
        /// Why, and what can be done.
        why: String,
    },
    /// The force token is for another order, or the keyring was saved since.
    #[error("the unlock secret was given for another order, or the keyring was changed meanwhile; try again")]
    NotAuthorized,
    /// The rules of keys and aliases don't allow it.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A key backup can't be written, read, or used here.
    #[error("{} {what}", .path.display())]
    Backup {
        /// The backup.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A keyring that is to be merged is another vault's.
    #[error("the keyring to be merged is of vault {found}, not of {wanted}")]
    OtherVault {
        /// The one that it is of.
        found: VaultId,
        /// The one that it is to be merged into.
        wanted: VaultId,
    },
    /// A version has one material here and another one in the keyring that is to be merged.
    #[error(
        "version {} of key {} isn't the same in both keyrings: the number was given out twice, by a program that marked \
         no lost versions. Nothing was merged; files of the other one open in a copy of the vault with that keyring",
        .0.version, .0.key
    )]
    TwoMaterials(BackingKeyId),
    /// An import would replace a keyring that looks whole.
    #[error(
        "{}: it has a keyring that isn't visibly damaged; if no secret opens it any more, --force puts it aside and takes the backup",
        .0.display()
    )]
    KeyringThere(PathBuf),
    /// There is no such slot.
    #[error("there is no unlock slot {0}; `rekeyfs unlock list` shows them")]
    UnknownSlot(SlotId),
    /// The last slot stays: without one the vault is lost. Those of custodians don't count, since a custodian may lose its key.
    #[error(
        "unlock slot {0} is the last one that no custodian keeps; add a passphrase, key file or recovery key first"
    )]
    LastSlot(SlotId),
    /// With one slot more, opening the keyring would take `--any-cost`.
    #[error("{}: it has as many unlock slots, or as costly ones, as are tried; remove one first, or give --kdf-memory", .0.display())]
    NoRoomForSlot(PathBuf),
    /// A vault needs a slot.
    #[error("a vault needs a passphrase, key file or recovery key to unlock it")]
    NoSecret,
    /// A new slot didn't open with its own secret.
    #[error("the new unlock slot doesn't open with its {0}, so the old ones were kept: faulty memory?")]
    NotVerified(SecretKind),
    /// Argon2id could not run.
    #[error(transparent)]
    Kdf(#[from] crate::crypto::password::KdfError),
}

impl KeyringError {
    /// Whether this host refuses the keyring for what it remembers, unless the user accepts it.
    pub(super) fn is_rollback(&self) -> bool {
        matches!(self, Self::RolledBack { .. } | Self::Forked { .. } | Self::OtherRootKey { .. })
    }

    /// Whether the secret was a wrong one of a kind that the vault has.
    pub fn is_wrong_secret(&self) -> bool {
        matches!(self, Self::Unlock { source: UnlockError::WrongSecret(_), .. })
    }
}

/// What helps where a system call fails for want of something that the user can give.
fn remedy(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        PermissionDenied => "; do it as the user whose vault it is",
        StorageFull => "; free some there",
        QuotaExceeded => "; free some, or have the quota raised",
        ReadOnlyFilesystem => "; remount it writable",
        _ => "",
    }
}

fn place(elsewhere: Option<&PathBuf>) -> String {
    elsewhere.map_or_else(String::new, |place| format!(", in {}", place.display()))
}

fn missing_keyring(vault: &Path, left: Left) -> String {
    match left {
        Left::Nothing => {
            "no rekeyfs vault: it has no keyring and no tree; name the directory that `rekeyfs init` made, \
                          or make a vault with it"
                .to_owned()
        }
        Left::Tree => format!("the keyring is missing, and keyring.prev too; {}", restore(vault, false)),
        Left::Previous => format!("the keyring is missing; {}", restore(vault, true)),
    }
}

/// How a keyring that is gone or damaged is brought back. The copy leaves keyring.prev as it is.
fn restore(vault: &Path, prev: bool) -> String {
    let import = format!("`rekeyfs key-backup import {} BACKUP` makes one from a key backup", shell(vault));
    if !prev {
        return format!("put back a copy of the file keyring, if there is one, or {import}");
    }
    let file = |name: &str| shell(&vault.join(name));
    format!(
        "keyring.prev is the generation before: `cp {} {}`, then mount with --accept-rollback (a key version made by \
         the last change is marked lost then); or {import}",
        file("keyring.prev"),
        file("keyring"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_keyring_names_the_commands_that_bring_one_back_ready_to_be_pasted() {
        let told = |left| KeyringError::Missing { vault: "/my v".into(), left }.to_string();
        assert_eq!(
            told(Left::Previous),
            "/my v: the keyring is missing; keyring.prev is the generation before: `cp '/my v/keyring.prev' '/my \
             v/keyring'`, then mount with --accept-rollback (a key version made by the last change is marked lost \
             then); or `rekeyfs key-backup import '/my v' BACKUP` makes one from a key backup"
        );
        assert!(told(Left::Tree).contains("`rekeyfs key-backup import '/my v' BACKUP`"));
        assert!(told(Left::Nothing).contains("`rekeyfs init`"));
        let what = "cut".to_owned();
        let damaged = KeyringError::Damaged { vault: "/v".into(), what, prev: false };
        assert!(
            damaged
                .to_string()
                .ends_with("`rekeyfs key-backup import /v BACKUP` makes one from a key backup")
        );
    }
}
