//! What the kernel could not write back because the key couldn't be used. It keeps such pages, clean, as if they were
//! on disk, and the size that goes with them; fsync has reported the error. Once the key is usable again, the kernel
//! must show what the file holds, whether that has a header or not: its pages are dropped, and what is missing of the
//! size that it has is zeros, as the lower file is made to say.

use super::{OpenFile, Purpose};
use crate::ids::{Ino, PlainOffset};
use crate::vault::tree::inode::Inode;
use crate::vault::{Error, Privileges, Result, Vault};

impl Vault {
    /// As [`Vault::write`], of pages that the kernel has in its cache and keeps there whatever becomes of them.
    ///
    /// # Errors
    /// As [`Vault::write`].
    pub fn write_back(
        &self,
        ino: Ino,
        offset: PlainOffset,
        data: &[u8],
        privileges: Privileges,
    ) -> Result<usize> {
        let end = PlainOffset(offset.0.saturating_add(data.len() as u64));
        self.recording_unwritten(ino, end, || self.write(ino, offset, data, privileges))
    }

    /// Records a write up to `end` that fails because its key can't be used, and tries it once more: a thread that made
    /// the key usable before that was recorded has not seen it.
    pub(super) fn recording_unwritten(
        &self,
        ino: Ino,
        end: PlainOffset,
        write: impl Fn() -> Result<usize>,
    ) -> Result<usize> {
        match write() {
            Err(Error::KeyNotUsable(why)) => {
                let Ok(inode) = self.inode(ino) else { return Err(Error::KeyNotUsable(why)) };
                self.unwritten.note(&inode, end);
                write()
            }
            written => written,
        }
    }

    /// Makes the kernel show what is in the files that it could not write. Also of a file whose key still can't be used:
    /// it stays recorded.
    pub(super) fn show_what_was_not_written(&self) {
        for inode in self.unwritten.inodes() {
            self.drop_pages(inode.ino);
            if let Err(error) = self.grow_as_the_kernel_has_it(&inode) {
                tracing::info!(ino = inode.ino.0, "a file keeps its size: {error}");
            }
        }
    }

    fn grow_as_the_kernel_has_it(&self, inode: &Inode) -> Result<()> {
        let _gate = self.gates.enter(inode.ino);
        let file = self.file_of(inode, Purpose::Write)?;
        self.ensure_writable(inode, &file)?;
        file.begin_edit();
        let grown = self.grow_to_what_was_written(inode, &file);
        file.end_edit();
        grown?;
        self.mtime_moved(&file);
        Ok(())
    }

    fn grow_to_what_was_written(&self, inode: &Inode, file: &OpenFile) -> Result<()> {
        let mut state = file.state.write();
        // Not if it was truncated since: under the lock that a truncate takes.
        let Some(end) = self.unwritten.end_of(inode.ino).filter(|end| *end > state.size) else {
            self.unwritten.forget(inode.ino);
            return Ok(());
        };
        self.changing(file, &mut state, |state| {
            self.give_up_unsynced(file, state)?;
            self.grow(inode, file, state, end)
        })?;
        self.unwritten.forget(inode.ino);
        Ok(())
    }
}
