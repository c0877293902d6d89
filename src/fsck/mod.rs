//! Checking a vault: every header, page, name, record, symlink and attribute of its tree, its keyring and its
//! event log (docs/fsck.md lists what can be found). Reading never changes anything, and works beside a mount: what
//! looks wrong is looked at once more while the mount holds the inode still. Rules of the format stay where they
//! are (`header`, `content`, `names`); here they are only asked.

mod copy;
mod dir;
mod file;
mod finding;
mod ids;
mod mend;
mod pages;
mod quarantine;
mod repair;
mod run;
mod sink;
mod undo;
mod vault_dir;
mod walk;

pub use finding::{Code, Fate, Finding, Pages, Severity, Summary, VersionCount};
pub use mend::{Mend, mend};
pub use run::{CheckError, CopiedTree, Options, check};
pub use sink::{Progress, Watch};
pub use undo::UNDO_NAME;

#[cfg(test)]
mod tests;
