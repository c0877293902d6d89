//! Checking a vault: every header, page, name, record, symlink and attribute of its tree, its keyring and its
//! event log (docs/fsck.md lists what can be found). Reading never changes anything, and works beside a mount: what
//! looks wrong is looked at once more while the mount holds the inode still. Rules of the format stay where they
//! are (`header`, `content`, `names`); here they are only asked.

mod dir;
mod file;
mod finding;
mod pages;
mod run;
mod sink;
mod vault_dir;
mod walk;

pub use finding::{Code, Fate, Finding, Pages, Severity, Summary, VersionCount};
pub use run::{CheckError, Options, check};
pub use sink::{Progress, Watch};

/// The file in a vault's directory that keeps what a repair overwrote.
pub const UNDO_NAME: &str = "fsck-undo.jsonl";

#[cfg(test)]
mod tests;
