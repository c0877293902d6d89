//! What a check can find. The codes are stable, since scripts read them; docs/fsck.md explains each.

use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, KeyVersion, PageCount, PageIndex, PathText};
use crate::keyring::VersionState;

/// What is wrong. In JSON, and for people, by its name in kebab-case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// No slot of a file's header opens.
    HeaderDamaged,
    /// A file has no header, and data.
    HeaderMissing,
    /// Another file has the same file id.
    FileIdTwice,
    /// One slot doesn't verify; the other one does.
    SlotDamaged,
    /// One slot bears another backing key than the slot in force: with that key the file can be opened.
    SlotOld,
    /// A lower size that no file has.
    SizeImpossible,
    /// Fewer pages than the header's floor.
    SizeBelowFloor,
    /// Pages at or above the floor whose tag doesn't fit.
    PageDamaged,
    /// Pages below the floor whose tag doesn't fit.
    PageDamagedBelowFloor,
    /// Pages below the floor that are zero.
    PageMissing,
    /// Bytes behind the last page that aren't zero.
    DataPastEnd,
    /// A lower name that doesn't decrypt.
    NameDamaged,
    /// A long name whose companion is gone.
    LongNameLost,
    /// A long name whose companion isn't its own, or doesn't decrypt.
    LongNameDamaged,
    /// A companion without its entry.
    LongNameOrphan,
    /// A directory's record doesn't open.
    DirRecordDamaged,
    /// A symlink's target doesn't open.
    SymlinkDamaged,
    /// An attribute's name doesn't decrypt.
    XattrNameDamaged,
    /// An attribute's value doesn't open.
    XattrDamaged,
    /// A temporary file of an interrupted change.
    Temporary,
    /// An entry that rekeyfs doesn't know, and keeps.
    UnknownEntry,
    /// Something of another filesystem, or mounted over the tree: it can't be used, and what it hides wasn't seen.
    OtherDevice,
    /// A file has more hard links than names in the tree.
    LinkCount,
    /// The lower filesystem reports an error.
    Unreadable,
    /// This user may not read it.
    NotPermitted,
    /// The file's key is disabled, retired, pending deletion, or without material.
    KeyNotUsable,
    /// The keyring doesn't know the file's key or its version.
    KeyUnknown,
    /// The file's key version was in a newer keyring that isn't there any more.
    KeyLost,
    /// The material of the file's key version was deleted by `key retire --trim`.
    KeyTrimmed,
    /// A slot's key or version is unknown or lost; the other slot opens.
    SlotKeyMissing,
    /// Written by a newer program.
    Newer,
    /// `keyring.prev` doesn't open.
    KeyringPrevDamaged,
    /// Others than the owner may write the keyring, or everyone may read it.
    KeyringExposed,
    /// Beside a mount: no keyring that may take the place of the one that the mount uses.
    KeyringReplaced,
    /// A keyring other than the one that this host has seen, or a copy without a keyring that can be compared with the one given.
    KeyringDiffers,
    /// The keyring of a copy can't open files of the copy that the given one opens.
    KeyringLacks,
    /// An empty copy.
    CopyEmpty,
    /// An unlock slot of a kind that this program doesn't know.
    SlotUnknown,
    /// Lines of the event log were changed, removed or moved.
    EventsBroken,
    /// The event log ends before the place that the keyring remembers.
    EventsCut,
    /// The last line of the event log was torn by a crash.
    EventsTorn,
}

/// How bad a finding is: what it means for the exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something isn't what was written.
    Error,
    /// Harmless remains of an interrupted change.
    Leftover,
    /// It can't be opened with this keyring, which lacks the key; it isn't known to be damaged.
    KeyMissing,
    /// It can't be checked; it isn't known to be damaged.
    Unchecked,
    /// Worth knowing; nothing is wrong with what is stored.
    Warning,
}

impl Code {
    /// Every code, in the order of docs/fsck.md.
    pub const ALL: [Self; 41] = [
        Self::HeaderDamaged,
        Self::HeaderMissing,
        Self::FileIdTwice,
        Self::SlotDamaged,
        Self::SlotOld,
        Self::SizeImpossible,
        Self::SizeBelowFloor,
        Self::PageDamaged,
        Self::PageDamagedBelowFloor,
        Self::PageMissing,
        Self::DataPastEnd,
        Self::NameDamaged,
        Self::LongNameLost,
        Self::LongNameDamaged,
        Self::LongNameOrphan,
        Self::DirRecordDamaged,
        Self::SymlinkDamaged,
        Self::XattrNameDamaged,
        Self::XattrDamaged,
        Self::Temporary,
        Self::UnknownEntry,
        Self::OtherDevice,
        Self::LinkCount,
        Self::Unreadable,
        Self::NotPermitted,
        Self::KeyNotUsable,
        Self::KeyUnknown,
        Self::KeyLost,
        Self::KeyTrimmed,
        Self::SlotKeyMissing,
        Self::Newer,
        Self::KeyringPrevDamaged,
        Self::KeyringExposed,
        Self::KeyringReplaced,
        Self::KeyringDiffers,
        Self::KeyringLacks,
        Self::CopyEmpty,
        Self::SlotUnknown,
        Self::EventsBroken,
        Self::EventsCut,
        Self::EventsTorn,
    ];

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Self::HeaderDamaged
            | Self::HeaderMissing
            | Self::FileIdTwice
            | Self::SlotDamaged
            | Self::SizeImpossible
            | Self::SizeBelowFloor
            | Self::PageDamaged
            | Self::PageDamagedBelowFloor
            | Self::PageMissing
            | Self::NameDamaged
            | Self::LongNameLost
            | Self::LongNameDamaged
            | Self::DirRecordDamaged
            | Self::SymlinkDamaged
            | Self::XattrNameDamaged
            | Self::XattrDamaged
            | Self::OtherDevice
            | Self::Unreadable
            | Self::KeyringPrevDamaged
            | Self::KeyringReplaced
            | Self::KeyringLacks
            | Self::CopyEmpty
            | Self::EventsBroken
            | Self::EventsCut => Severity::Error,
            Self::DataPastEnd | Self::LongNameOrphan | Self::Temporary => Severity::Leftover,
            Self::KeyUnknown | Self::KeyLost | Self::KeyTrimmed => Severity::KeyMissing,
            Self::NotPermitted | Self::KeyNotUsable | Self::SlotKeyMissing | Self::Newer => {
                Severity::Unchecked
            }
            Self::SlotOld
            | Self::UnknownEntry
            | Self::LinkCount
            | Self::KeyringExposed
            | Self::KeyringDiffers
            | Self::SlotUnknown
            | Self::EventsTorn => Severity::Warning,
        }
    }

    /// Its name, as in JSON.
    pub fn name(self) -> String {
        // A unit variant is a string in JSON.
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// A run of pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pages {
    /// The first.
    pub first: PageIndex,
    /// How many; at least 1.
    pub count: PageCount,
}

impl std::fmt::Display for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count.0 {
            1 => write!(f, "page {}", self.first.0),
            n => write!(f, "pages {}-{}", self.first.0, self.first.0 + n - 1),
        }
    }
}

/// What became of a finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "kebab-case")]
pub enum Disposition {
    /// Nothing was changed.
    Left,
    /// It was repaired.
    Repaired {
        /// How.
        how: String,
    },
    /// It was moved out of the vault.
    Quarantined {
        /// Where it is now.
        into: PathText,
        /// Pages of it that can be read.
        saved: Vec<Pages>,
    },
    /// It should have been repaired, and could not be.
    Refused {
        /// Why.
        why: String,
    },
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The path as a user of the mount sees it, from the mount's root on. A name that doesn't decrypt is `.rekeyfs-bad.` and the
    /// lower name. Empty for what lies beside the tree.
    pub path: PathText,
    /// The path in the vault's directory.
    pub lower: PathText,
    /// Which pages, if it is about some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<Pages>,
    /// More about it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What became of it.
    #[serde(flatten)]
    pub disposition: Disposition,
}

/// Files of one version of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionCount {
    /// The key.
    pub key_id: KeyId,
    /// Its version.
    pub version: KeyVersion,
    /// How many files' headers name it. For files that weren't opened this is the newest slot, unverified.
    pub files: u64,
    /// Its state in the keyring.
    #[serde(flatten)]
    pub state: VersionState,
}

/// The result of a check.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Whether it checked everything; false: it was stopped.
    pub complete: bool,
    /// Regular files, each once however many names it has.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// FIFOs, sockets and device nodes.
    pub others: u64,
    /// Lower bytes of file content that were read and checked; holes aren't read.
    pub bytes: u64,
    /// Findings of each severity that were left.
    pub errors: u64,
    /// See `errors`.
    pub leftovers: u64,
    /// See `errors`.
    #[serde(default)]
    pub keys_missing: u64,
    /// See `errors`.
    pub unchecked: u64,
    /// See `errors`.
    pub warnings: u64,
    /// Findings that were repaired.
    pub repaired: u64,
    /// Findings whose file was moved out of the vault.
    pub quarantined: u64,
    /// Files by key and version.
    pub versions: Vec<VersionCount>,
    /// Files for which the keyring has no key that may be used now, by key and version.
    #[serde(default)]
    pub unopened: Vec<VersionCount>,
}

impl Summary {
    /// Counts a finding.
    pub fn count(&mut self, finding: &Finding) {
        let counter = match (&finding.disposition, finding.severity) {
            (Disposition::Repaired { .. }, _) => &mut self.repaired,
            (Disposition::Quarantined { .. }, _) => &mut self.quarantined,
            (Disposition::Left | Disposition::Refused { .. }, Severity::Error) => &mut self.errors,
            (Disposition::Left | Disposition::Refused { .. }, Severity::Leftover) => &mut self.leftovers,
            (Disposition::Left | Disposition::Refused { .. }, Severity::KeyMissing) => &mut self.keys_missing,
            (Disposition::Left | Disposition::Refused { .. }, Severity::Unchecked) => &mut self.unchecked,
            (Disposition::Left | Disposition::Refused { .. }, Severity::Warning) => &mut self.warnings,
        };
        *counter += 1;
    }

    /// The exit status, as fsck(8) has it: the sum of 1 (something was repaired), 4 (something was left) and 32 (stopped).
    pub fn status(&self) -> u8 {
        let corrected = u8::from(self.repaired + self.quarantined > 0);
        let left = if self.errors + self.leftovers + self.keys_missing > 0 { 4 } else { 0 };
        let stopped = if self.complete { 0 } else { 32 };
        corrected | left | stopped
    }
}
