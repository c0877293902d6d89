//! The mount that lines are about, as they name it: a machine may have several.

use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;

use crate::events::NOTICES;

/// Set once this process makes a mount.
static MOUNT: OnceLock<MountNames> = OnceLock::new();

/// A mount, as lines name it.
pub(super) struct MountNames {
    /// Appended to each warning, error and notice.
    pub(super) text: String,
    /// The same as fields of the journal.
    pub(super) fields: [(&'static str, OsString); 2],
}

/// From here on warnings, errors and notices name this mount. Only from here on there are notices: a command shows what it
/// did itself.
pub(in crate::mount) fn name_mount(vault: &Path, mountpoint: &Path) {
    let text = format!(" vault={vault:?} mountpoint={mountpoint:?}");
    let fields = [("REKEYFS_VAULT", vault.into()), ("REKEYFS_MOUNTPOINT", mountpoint.into())];
    let _ = MOUNT.set(MountNames { text, fields });
}

/// The mount of this process, if it makes one.
pub(super) fn of_this_process() -> Option<&'static MountNames> {
    MOUNT.get()
}

/// Whether a line of this target is of interest in this process.
pub(super) fn is_of_interest(target: &str) -> bool {
    target != NOTICES || MOUNT.get().is_some()
}
