//! What a file's header says, without opening the file for use.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use super::load::unwrap;
use super::{Body, OpenFile};
use crate::content::{block, layout};
use crate::crypto::suite::Suite;
use crate::header::{self, Header, SLOTS, SlotKeys, UnverifiedSlot};
use crate::ids::{FileId, Ino, LowerOffset, Sequence};
use crate::storage::{self, Access};
use crate::vault::tree::inode::Inode;
use crate::vault::{Damage, Error, FileKind, HeaderInfo, Result, Vault};

impl Vault {
    /// What a file's header says, without opening the file for use: also of a file whose key can't be used.
    /// `None` for an empty file.
    ///
    /// # Errors
    /// Those of reading the lower file; a damaged header has no info and is EIO.
    pub fn file_header_info(&self, ino: Ino) -> Result<Option<HeaderInfo>> {
        let inode = self.inode(ino)?;
        if inode.kind == FileKind::Regular { self.header_info_of(&inode) } else { Ok(None) }
    }

    pub(in crate::vault) fn header_info(&self, stated: Stated) -> HeaderInfo {
        let Stated { keys, suite, sequence } = stated;
        let (stale, belonging) = (self.rewrap_target(&keys).is_some(), self.keys.follow(&keys).belonging);
        HeaderInfo {
            backing: keys.backing,
            other: keys.other,
            tag: keys.tag,
            belonging,
            suite,
            sequence,
            stale,
        }
    }

    fn header_info_of(&self, inode: &Inode) -> Result<Option<HeaderInfo>> {
        let found = {
            // Held while the lower file is opened, as opening asks.
            let slot = inode.file.lock();
            match slot.upgrade() {
                Some(file) => {
                    drop(slot);
                    file.stated()?
                }
                None => self.claimed_or_open(self.tree.open_lower(inode, Access::ReadOnly)?.0.as_fd())?,
            }
        };
        Ok(found.map(|stated| self.header_info(stated)))
    }

    /// What the newest slot says or, where the keyring lacks its key, the slot that opens instead, if one does.
    fn claimed_or_open(&self, fd: BorrowedFd<'_>) -> Result<Option<Stated>> {
        let newest = claimed(fd)?;
        if !newest.is_some_and(|stated| self.keys.state_of(stated.keys.backing).is_missing()) {
            return Ok(newest);
        }
        let mut slots = [0; SLOTS];
        storage::pread(fd, &mut slots, LowerOffset(0))?;
        let opened = header::open(&slots, |slot| unwrap(&self.keys, slot)).ok();
        Ok(opened.as_ref().map(Stated::of).or(newest))
    }

    /// What a file's header says: verified, or, where its key can't be used, unverified. `None` for an empty file. `act` is
    /// called with it under the locks that a change of the header takes, so that an older state can't be recorded after
    /// a newer one.
    ///
    /// # Errors
    /// EIO for a file without a header that opens; those of reading the lower file.
    pub(in crate::vault) fn with_stated(
        &self,
        inode: &Inode,
        act: impl FnOnce(SlotKeys),
    ) -> Result<Option<Stated>> {
        let slot = inode.file.lock();
        if let Some(file) = slot.upgrade() {
            drop(slot);
            let state = file.state.read();
            let found = match &state.body {
                Body::KeyEvicted(_) => Some(claimed(file.fd.as_fd())?.ok_or(Damage::Header)?),
                _ => state.sealed()?.map(|sealed| Stated::of(&sealed.header)),
            };
            found.inspect(|stated| act(stated.keys));
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
                self.report_if_newer(inode.ino, &sealed.header.keys());
                Stated::of(&sealed.header)
            }
            Ok(Body::NoHeader) => return Ok(None),
            Ok(Body::Unreadable(damage)) => return Err(damage.into()),
            Ok(Body::Unsynced) => return Err(Damage::Header.into()),
            Ok(Body::Unknown | Body::KeyEvicted(_)) | Err(Error::KeyNotUsable(_)) => {
                claimed(fd.as_fd())?.ok_or(Damage::Header)?
            }
            Err(e) => return Err(e),
        };
        act(found.keys);
        Ok(Some(found))
    }
}

impl OpenFile {
    /// What its header says; unverified once its key has gone.
    fn stated(&self) -> Result<Option<Stated>> {
        if self.must_reload.load(Ordering::Relaxed) {
            return claimed(self.fd.as_fd());
        }
        Ok(self.state.read().sealed()?.map(|sealed| Stated::of(&sealed.header)))
    }
}

/// What a header says of itself, verified or not.
#[derive(Clone, Copy)]
pub(in crate::vault) struct Stated {
    pub(super) keys: SlotKeys,
    suite: Suite,
    sequence: Sequence,
}

impl Stated {
    fn of(header: &Header) -> Self {
        Self { keys: header.keys(), suite: header.suite(), sequence: header.sequence() }
    }
}

/// What the slot says, unverified, that a mount would try first; `None` if there is neither.
fn claimed(fd: BorrowedFd<'_>) -> Result<Option<Stated>> {
    let mut slots = [0; SLOTS];
    if storage::pread(fd, &mut slots, LowerOffset(0))? == 0 || block::is_zero(&slots) {
        return Ok(None);
    }
    let [first, _] = UnverifiedSlot::parse_both(&slots);
    let slot = first.ok_or(Damage::Header)?;
    let suite = Suite::from_number(slot.suite_number()).ok_or(Error::Newer("an unknown content suite"))?;
    Ok(Some(Stated { keys: slot.keys(&slots), suite, sequence: slot.sequence() }))
}

/// Whether a lower file has a slot that states this file id, verified or not.
///
/// # Errors
/// What the lower filesystem says.
pub fn states_file_id(fd: BorrowedFd<'_>, id: FileId) -> storage::Result<bool> {
    let mut slots = [0; SLOTS];
    storage::pread(fd, &mut slots, LowerOffset(0))?;
    Ok(UnverifiedSlot::parse_both(&slots).iter().flatten().any(|slot| slot.file() == id))
}
