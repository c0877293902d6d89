//! Holding one inode still while something beside the mount looks at its ciphertext: a check of a mounted vault
//! reads lower files without locks, and what it finds wrong it looks at once more in here before it is reported.

use std::os::fd::BorrowedFd;

use crate::storage;
use crate::vault::tree::locks::Mode;
use crate::vault::{FileKind, Result, Vault};

impl Vault {
    /// Calls `act` while no operation of the mount reads or writes the regular file that `fd`, a descriptor of the
    /// lower file, stands for: with its inode lock held exclusively, or, where no one has it open, with its `file`
    /// slot held, so that no one can open it. A re-wrap of the file is waited for. `act` must not call into the vault.
    ///
    /// # Errors
    /// EXDEV for a file of another filesystem; what `fstat(2)` says.
    pub fn with_file_quiesced<T>(&self, fd: BorrowedFd<'_>, act: impl FnOnce() -> T) -> Result<T> {
        let stat = storage::fstat_born(fd)?;
        let ino = self.tree.ino(&stat)?;
        let generation = self.tree.generation(ino, fd, b"", &stat)?;
        let inode = self.tree.inodes.adopt(ino, FileKind::Regular, generation);
        let done = {
            let slot = inode.file.lock();
            match slot.upgrade() {
                Some(file) => {
                    drop(slot);
                    file.exclusively(act)
                }
                None => act(),
            }
        };
        self.tree.inodes.forget(ino, 1);
        Ok(done)
    }

    /// Calls `act` while no operation of the mount removes, renames or stores anything of rekeyfs's own in the
    /// directory that `fd`, a descriptor of the lower directory, stands for. `act` must not call into the vault.
    ///
    /// # Errors
    /// As [`Vault::with_file_quiesced`].
    pub fn with_dir_quiesced<T>(&self, fd: BorrowedFd<'_>, act: impl FnOnce() -> T) -> Result<T> {
        let ino = self.tree.ino(&storage::fstat(fd)?)?;
        let _lock = self.tree.locks.one(ino, Mode::Exclusive);
        Ok(act())
    }
}
