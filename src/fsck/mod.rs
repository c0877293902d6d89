//! Checks a vault: each header, page, name, record, symlink and attribute of its tree, its keyring and its event log
//! (docs/fsck.md lists the findings). A check changes nothing, and works beside a mount: whatever looks wrong is read again
//! while the mount keeps the inode quiesced. The rules of the format are those of `header`, `content` and `names`.

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
