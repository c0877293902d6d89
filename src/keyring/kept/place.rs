//! Where a kept backup lies: a file outside the vault, on a disk that may not be there and in a directory that others may
//! write. It is reached by its directory's descriptor; nothing on the way there or at its end is followed elsewhere.
//!
//! A backup is replaced as the keyring is: a new file beside it, its sync, the rename, the sync of the directory. A crash
//! leaves the old backup or the new one, whole, and perhaps the new file under its temporary name, which a later replacement
//! removes.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::crypto::sha256;
use crate::ids::{LowerOffset, Time, VaultId};
use crate::keyring::format::key_backups::Kept;
use crate::keyring::store::vault_dir::MAX_FILE_LEN;
use crate::storage::{self, Access, DirStream, Errno, FileKind, RenameFlags};

/// The permissions of a backup.
const MODE: u32 = 0o600;
/// Age of a temporary file, in seconds, from which on no program is writing it any more.
const ABANDONED: i64 = 10 * 60;

/// The place of a backup, reached.
pub(super) struct Place {
    dir: OwnedFd,
    name: Vec<u8>,
    /// The beginning of the names of this backup's temporary files; those of another one in the directory have another.
    temporary: Vec<u8>,
}

/// What tells whether a file is still the one that was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: Time,
    ctime: Time,
}

/// What is at the place.
pub(super) enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// A file.
    File(Vec<u8>, Mark),
}

/// Why a place can't be used: follows the backup's path in a message.
type Result<T> = std::result::Result<T, String>;

/// The absolute path of a backup that is to be kept, without symlinks, and how much of it names its mount point.
pub(super) fn resolve(to: &Path) -> Result<(PathBuf, usize)> {
    let absolute = std::path::absolute(to).map_err(|e| format!("can't be used: {e}"))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err("names no file".to_owned());
    };
    let (_, parent) = storage::open_walked(parent).map_err(|e| unreached(&e))?;
    let mount = parent.ancestors().find(|above| is_mount_point(above));
    let mount = mount.map_or(0, |above| above.as_os_str().len());
    Ok((parent.join(name), mount))
}

fn is_mount_point(path: &Path) -> bool {
    let dir = storage::open_walked(path).ok();
    dir.and_then(|(dir, _)| storage::stat(dir.as_fd(), b".").ok()).is_some_and(|stat| stat.mount_root)
}

fn unreached(error: &std::io::Error) -> String {
    format!("can't be reached, its directory can't be opened: {error}; is its disk mounted?")
}

impl Place {
    /// Reaches it.
    pub(super) fn open(vault: VaultId, kept: &Kept) -> Result<Self> {
        let (Some(parent), Some(name)) = (kept.to.parent(), kept.to.file_name()) else {
            return Err("names no file".to_owned());
        };
        let (dir, walked) = storage::open_walked(parent).map_err(|e| unreached(&e))?;
        if walked != parent {
            return Err(format!(
                "isn't where it was: its directory is a symlink to {} now",
                walked.display()
            ));
        }
        if kept.mount > 0 && !is_mount_point(kept.mount_point()) {
            let mount = kept.mount_point().display();
            return Err(format!("can't be reached: nothing is mounted at {mount}; mount its disk"));
        }
        let name = name.as_bytes().to_vec();
        let of_this_backup = sha256(&[vault.as_bytes(), name.as_slice()].concat());
        let tag: String = of_this_backup[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { dir, name, temporary: format!(".rekeyfs-{tag}-").into_bytes() })
    }

    /// The mark of what is there, if something is.
    pub(super) fn mark(&self) -> Option<Mark> {
        storage::stat(self.dir.as_fd(), &self.name).ok().map(|stat| Mark::of(&stat))
    }

    /// Reads what is there.
    pub(super) fn read(&self) -> Result<Found> {
        let failed = |e: Errno| format!("can't be read: {}", std::io::Error::from(e));
        let file = match storage::open_file(self.dir.as_fd(), &self.name, Access::ReadOnly) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(Errno::LOOP) => return Err("is a symlink, which is not followed; remove it".to_owned()),
            Err(e) => return Err(failed(e)),
        };
        let stat = storage::fstat(file.as_fd()).map_err(failed)?;
        if stat.kind() != FileKind::Regular || stat.size > MAX_FILE_LEN {
            return Err(NO_BACKUP.to_owned());
        }
        if stat.size == 0 {
            return Ok(Found::Nothing);
        }
        let bytes = storage::read_all(file.as_fd(), stat.size as usize).map_err(failed)?;
        Ok(Found::File(bytes, Mark::of(&stat)))
    }

    /// Puts a backup there, in place of what is there. When this returns it is durable, and was read back.
    pub(super) fn replace(&self, bytes: &[u8]) -> Result<Option<Mark>> {
        self.remove_abandoned();
        let mut temporary = self.temporary.clone();
        temporary.extend_from_slice(&storage::temporary_name()[crate::names::TEMPORARY_PREFIX.len()..]);
        let written = self.write(&temporary, bytes);
        if written.is_err() {
            // The first error is the one to report; what stays is removed later.
            let _ = storage::unlink(self.dir.as_fd(), &temporary);
        }
        written.map_err(|e| format!("can't be written: {}", std::io::Error::from(e)))?;
        Ok(self.mark())
    }

    fn write(&self, temporary: &[u8], bytes: &[u8]) -> storage::Result<()> {
        let dir = self.dir.as_fd();
        let file = storage::create_for_owner(dir, temporary, MODE)?;
        storage::pwrite_all(file.as_fd(), bytes, LowerOffset(0))?;
        storage::fsync(file.as_fd())?;
        if storage::read_all(file.as_fd(), bytes.len())? != bytes {
            return Err(Errno::IO);
        }
        storage::rename(dir, temporary, dir, &self.name, RenameFlags::empty())?;
        storage::fsync_dir(dir)
    }

    /// Removes the temporary files of writers that were killed.
    fn remove_abandoned(&self) {
        let Ok(fd) = storage::open_dir(self.dir.as_fd(), b".") else { return };
        let (mut entries, mut abandoned) = (DirStream::new(fd), Vec::new());
        let old = |name: &[u8]| {
            let stat = storage::stat(self.dir.as_fd(), name).ok();
            stat.is_some_and(|stat| now().is_some_and(|now| stat.mtime.secs < now - ABANDONED))
        };
        while let Ok(Some(entry)) = entries.next() {
            if entry.name.starts_with(&self.temporary) && old(entry.name) {
                abandoned.push(entry.name.to_vec());
            }
        }
        for name in abandoned {
            let _ = storage::unlink(self.dir.as_fd(), &name);
        }
    }
}

/// By the clock that files have their times from.
fn now() -> Option<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// The refusal to replace another file.
pub(super) const NO_BACKUP: &str =
    "is something else than a key backup, and is not overwritten; move it away";

impl Mark {
    fn of(stat: &storage::Stat) -> Self {
        let storage::Stat { dev, ino, size, mtime, ctime, .. } = *stat;
        Self { dev, ino, size, mtime, ctime }
    }
}
