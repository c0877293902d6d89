//! Counting a file: which backing key it needs, by its header as it is on disk.

use std::os::fd::AsFd;

use super::Body;
use super::load::{Stated, claimed};
use crate::content::layout;
use crate::ids::Ino;
use crate::storage::Access;
use crate::vault::tree::inode::Inode;
use crate::vault::{Damage, Error, FileKind, HeaderInfo, Result, Vault};

impl Vault {
    /// What wraps a file, noted in the census. The header is verified; where its key can't be used, it is what
    /// the header claims that counts. `None` for an empty file and for what isn't a regular one.
    ///
    /// # Errors
    /// EIO for a file without a header that opens; those of reading the lower file.
    pub fn count_file(&self, ino: Ino) -> Result<Option<HeaderInfo>> {
        let inode = self.inode(ino)?;
        if inode.kind != FileKind::Regular {
            return Ok(None);
        }
        Ok(self.count_inode(&inode)?.map(|stated| self.header_info(stated)))
    }

    /// Under the locks that a change of the header takes, so that an older state can't be noted after a newer.
    fn count_inode(&self, inode: &Inode) -> Result<Option<Stated>> {
        let slot = inode.file.lock();
        if let Some(file) = slot.upgrade() {
            drop(slot);
            let state = file.state.read();
            let found = match &state.body {
                Body::Shut(_) => Some(claimed(file.fd.as_fd())?.ok_or(Damage::Header)?),
                _ => state.sealed()?.map(|sealed| Stated::of(&sealed.header)),
            };
            found.inspect(|stated| self.count_wrapped(inode, stated.keys));
            return Ok(found);
        }
        let (fd, stat) = self.tree.open_lower(inode, Access::ReadOnly)?;
        let lower = stat.lower_size();
        let size = layout::plain_size(lower).map_err(|_| Damage::Size)?;
        if size.0 == 0 {
            return Ok(None);
        }
        let found = match self.load_body_of(inode.ino, &fd, lower, layout::page_count(size)) {
            Ok(Body::Sealed(sealed)) => {
                self.note_if_newer(inode.ino, &sealed.header.keys());
                Stated::of(&sealed.header)
            }
            Ok(Body::Bare) => return Ok(None),
            Ok(Body::Unreadable(damage)) => return Err(damage.into()),
            Ok(Body::Unsynced) => return Err(Damage::Header.into()),
            Ok(Body::Unknown | Body::Shut(_)) | Err(Error::KeyNotUsable(_)) => {
                claimed(fd.as_fd())?.ok_or(Damage::Header)?
            }
            Err(e) => return Err(e),
        };
        self.count_wrapped(inode, found.keys);
        Ok(Some(found))
    }
}
