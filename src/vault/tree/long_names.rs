//! Long names: the companion file that holds the whole lower name. Durable before the entry, removed after it,
//! all under the directory's exclusive lock; one without an entry is ignored.

use std::os::fd::{AsFd, BorrowedFd};

use super::Tree;
use super::dir_cache::Dir;
use crate::names::LowerName;
use crate::storage::{self, Access, Errno};
use crate::vault::{Damage, Result};

const MODE: u32 = 0o600;

impl Tree {
    /// Makes a long name's companion durable, unless it is there; true if it was made now. Short names have none.
    pub(super) fn put_companion(&self, dir: &Dir, name: &LowerName) -> Result<bool> {
        let LowerName::Long { entry, companion, full } = name else { return Ok(false) };
        if read(dir.fd(), entry).is_ok_and(|there| there == *full) {
            // It may be one whose directory was never synced: left by a creation that failed.
            storage::fsync_dir(dir.fd())?;
            return Ok(false);
        }
        storage::replace_durably(dir.fd(), companion, full, MODE)?;
        Ok(true)
    }

    /// Removes a long name's companion, once the entry is gone. A failure leaves an orphan, which is harmless.
    pub(super) fn drop_companion(&self, dir: &Dir, name: &LowerName) {
        if let LowerName::Long { companion, .. } = name {
            let _ = storage::unlink(dir.fd(), companion);
        }
    }

    /// The plaintext name of a long entry; `None` if it doesn't decrypt.
    pub(in crate::vault) fn long_name(&self, dir: &Dir, entry: &[u8]) -> Result<Vec<u8>> {
        let full = read(dir.fd(), entry)?;
        Ok(self.names.names.decrypt_long(dir.id, entry, &full).map_err(|_| Damage::LongName)?)
    }
}

/// The companion's content.
pub(in crate::vault) fn read(dir: BorrowedFd<'_>, entry: &[u8]) -> Result<Vec<u8>> {
    let companion = LowerName::companion_of(entry);
    let file = match storage::open_file(dir, &companion, Access::ReadOnly) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Err(Damage::LongName.into()),
        Err(e) => return Err(e.into()),
    };
    match storage::read_all(file.as_fd(), LowerName::MAX_FULL) {
        Ok(full) => Ok(full),
        Err(Errno::FBIG | Errno::ISDIR | Errno::SPIPE) => Err(Damage::LongName.into()),
        Err(e) => Err(e.into()),
    }
}
