//! Checking a vault: every header, page, name, record, symlink and attribute of its tree, its keyring and its
//! event log (docs/fsck.md lists what can be found). Reading never changes anything, and works beside a mount: what
//! looks wrong is looked at once more while the mount holds the inode still. Rules of the format stay where they
//! are (`header`, `content`, `names`); here they are only asked.

mod apply;
mod copy;
mod dir;
mod file;
mod finding;
mod ids;
mod pages;
mod quarantine;
mod repair;
mod reporter;
mod run;
mod undo;
mod vault_dir;
mod walk;

pub use apply::{RepairOptions, apply};
pub use finding::{Code, Disposition, Finding, Pages, Severity, Summary, VersionCount};
pub use reporter::{CheckObserver, CheckProgress};
pub use run::{CheckError, CopiedTree, Options, check};
pub use undo::UNDO_NAME;

#[cfg(test)]
mod tests;
