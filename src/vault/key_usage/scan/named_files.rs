//! The files that a count names, since they are in the way or what they need is unknown. Someone who can write the
//! ciphertext can make as many as he likes, with headers that claim whatever he likes: so some are named for each
//! reason, and no more. The reasons are the keyring's own keys and versions: files that name others keep nothing from
//! going, and crowd out none that do.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::ids::{BackingKeyId, KeyId, KeyVersion, PathText};
use crate::keyring::Keys;
use crate::vault::lower_path::encoded;

/// Files named for each reason.
pub const NAMED_FILES_MAX: usize = 20;
/// Reasons for which files are named: more than a keyring has versions, most often.
const REASONS: usize = 4096;
/// The longest lower path that is reported, in bytes.
const PATH: usize = 4096;

/// A file or directory that a count names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamedFile {
    /// Its path from the vault's directory on, `tree/…`; bytes that aren't printable ASCII, and `%`, percent-encoded.
    pub lower: String,
    /// Its path from the mount's root on, if it can be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathText>,
    /// Its inode number, below and in the mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// Why it is named.
    pub why: String,
}

/// Why files are named.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Reason {
    /// They need this backing key, or say so.
    Needs(BackingKeyId),
    /// What they need is unknown.
    Unreadable,
    /// They lie elsewhere.
    Elsewhere,
}

/// The keyring's keys, with the highest version of each that wraps files.
pub(super) struct KnownKeys(HashMap<KeyId, KeyVersion>);

impl KnownKeys {
    pub(super) fn of(keys: &Keys) -> Self {
        Self(keys.keys().into_iter().map(|key| (key.id, key.current)).collect())
    }

    /// What counts of the backing keys that a header names: those of keys that the keyring has. Versions that a key has
    /// never had are one, so that nobody can have more of them counted than there are.
    pub(super) fn counted(&self, named: &[BackingKeyId]) -> Vec<BackingKeyId> {
        let counted = named.iter().filter_map(|backing| {
            let beyond = backing.version > *self.0.get(&backing.key)?;
            Some(BackingKeyId {
                version: if beyond { KeyVersion(u32::MAX) } else { backing.version },
                ..*backing
            })
        });
        let mut counted: Vec<_> = counted.collect();
        counted.dedup();
        counted
    }
}

/// Files by the reason for which they are named.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct NamedFiles(BTreeMap<Reason, Vec<NamedFile>>);

impl NamedFiles {
    /// Names a file, unless enough are named for that reason.
    pub(super) fn add(
        &mut self,
        reason: Reason,
        path: &[u8],
        inode: Option<u64>,
        why: impl FnOnce() -> String,
    ) {
        if self.0.len() >= REASONS && !self.0.contains_key(&reason) {
            return;
        }
        let files = self.0.entry(reason).or_default();
        if files.len() < NAMED_FILES_MAX {
            let mut lower = "tree/".to_owned();
            lower.extend(encoded(&path[..path.len().min(PATH)]));
            files.push(NamedFile { lower, path: None, inode, why: why() });
        }
    }

    /// Names a file by each backing key that it needs, `counted`, of those that its header names.
    pub(super) fn add_needs(
        &mut self,
        counted: &[BackingKeyId],
        named: &[BackingKeyId],
        path: &[u8],
        inode: u64,
    ) {
        for backing in counted {
            self.add(Reason::Needs(*backing), path, Some(inode), || NamedFile::needs(named));
        }
    }

    /// Those of the reasons that are chosen, of each kind some.
    pub(super) fn of(&self, chosen: impl Fn(&Reason) -> bool) -> Vec<NamedFile> {
        let mut files: Vec<NamedFile> = Vec::new();
        for file in self.0.iter().filter(|(reason, _)| chosen(reason)).flat_map(|(_, files)| files) {
            // One whose slots bear two of the keys is named by each.
            if files.len() < NAMED_FILES_MAX && !files.contains(file) {
                files.push(file.clone());
            }
        }
        files
    }
}

impl NamedFile {
    /// The reason given for a file that needs, or claims to need, these.
    pub fn needs(backings: &[BackingKeyId]) -> String {
        let versions: Vec<String> = backings
            .iter()
            .map(|backing| format!("version {} of key {}", backing.version, backing.key))
            .collect();
        format!("its header names {}", versions.join(" and "))
    }
}
