//! Where helpers are. Never `$PATH`: mount(8), sudo and cron each have another one, and anybody may set it.

use std::path::{Path, PathBuf};

use rekeyfs_format::unlock::CustodianName;

use super::refusal::{Refusal, RefusalKind};
use crate::printable;
use crate::storage::trusted_file;

/// The directories of helpers: that of packages, and the administrator's own.
pub const HELPER_DIRS: [&str; 2] = ["/usr/lib/rekeyfs/custodians", "/usr/local/lib/rekeyfs/custodians"];

/// The helper of a custodian, in the first of these directories that has it.
///
/// # Errors
/// [`RefusalKind::Missing`], or [`RefusalKind::Untrusted`] if somebody else than root and the user `uid` could change it.
pub(super) fn find(name: &CustodianName, dirs: &[PathBuf], uid: u32) -> Result<PathBuf, Refusal> {
    let file = format!("rekeyfs-custodian-{name}");
    for dir in dirs {
        let path = dir.join(&file);
        match trusted_file(&path, uid) {
            Ok((_, path)) => return Ok(path),
            Err(distrust) if distrust.is_absence() => {}
            Err(distrust) => {
                let cause = format!("{}: {distrust}", printable::path(&path));
                return Err(Refusal::new(RefusalKind::Untrusted, cause));
            }
        }
    }
    let dirs: Vec<String> = dirs.iter().map(|dir: &PathBuf| printable::path(Path::new(dir))).collect();
    Err(Refusal::new(RefusalKind::Missing, format!("no {file} in {}; install it", dirs.join(" or "))))
}
