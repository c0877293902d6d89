//! Counting a file in the census: which backing key it needs, by its header as it is on disk.

use crate::header::SlotKeys;
use crate::ids::Ino;
use crate::vault::tree::inode::Inode;
use crate::vault::{FileKind, HeaderInfo, Result, Vault};

impl Vault {
    /// What wraps a file, recorded in the census. The header is verified; where its key can't be used, it is what
    /// the header claims that counts. `None` for an empty file and for what isn't a regular one.
    ///
    /// # Errors
    /// EIO for a file without a header that opens; those of reading the lower file.
    pub fn count_file(&self, ino: Ino) -> Result<Option<HeaderInfo>> {
        let inode = self.inode(ino)?;
        if inode.kind != FileKind::Regular {
            return Ok(None);
        }
        let found = self.with_header_fields(&inode, |keys| self.record_in_census(&inode, keys))?;
        Ok(found.map(|fields| self.header_info(fields)))
    }

    /// Records in the census what wraps a file. One without a name, which is as good as gone, isn't counted:
    /// nothing would count it out again.
    pub(in crate::vault) fn record_in_census(&self, inode: &Inode, keys: SlotKeys) {
        if inode.parent().is_some() {
            self.census.note(inode.ino, keys, self.tag_generation(&keys));
        }
    }
}
