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

    pub(in crate::vault) fn header_info(&self, fields: HeaderFields) -> HeaderInfo {
        let HeaderFields { keys, suite, sequence } = fields;
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
                    file.header_fields()?
                }
                None => self.unverified_or_opened(self.open_lower(inode, Access::ReadOnly)?.0.as_fd())?,
            }
        };
        Ok(found.map(|fields| self.header_info(fields)))
    }

    /// What the newest slot says or, where the keyring lacks its key, the slot that opens instead, if one does.
    fn unverified_or_opened(&self, fd: BorrowedFd<'_>) -> Result<Option<HeaderFields>> {
        let newest = unverified(fd)?;
        if !newest.is_some_and(|fields| self.keys.state_of(fields.keys.backing).is_missing()) {
            return Ok(newest);
        }
        let mut slots = [0; SLOTS];
        storage::pread(fd, &mut slots, LowerOffset(0))?;
        let opened = header::open(&slots, |slot| unwrap(&self.keys, slot)).ok();
        Ok(opened.as_ref().map(HeaderFields::of).or(newest))
    }

    /// What a file's header says: verified, or, where its key can't be used, unverified. `None` for an empty file. `act` is
    /// called with it under the locks that a change of the header takes, so that an older state can't be recorded after
    /// a newer one.
    ///
    /// # Errors
    /// EIO for a file without a header that opens; those of reading the lower file.
    pub(in crate::vault) fn with_header_fields(
        &self,
        inode: &Inode,
        act: impl FnOnce(SlotKeys),
    ) -> Result<Option<HeaderFields>> {
        let slot = inode.file.lock();
        if let Some(file) = slot.upgrade() {
            drop(slot);
            let state = file.state.read();
            let found = match &state.body {
                Body::KeyEvicted(_) => Some(unverified(file.fd.as_fd())?.ok_or(Damage::Header)?),
                _ => state.sealed()?.map(|sealed| HeaderFields::of(&sealed.header)),
            };
            found.inspect(|fields| act(fields.keys));
            return Ok(found);
        }
        let (fd, stat) = self.open_lower(inode, Access::ReadOnly)?;
        let lower = stat.lower_size();
        let size = layout::plain_size(lower).map_err(|_| Damage::Size)?;
        if size.0 == 0 {
            return Ok(None);
        }
        let found = match self.load_body_of(inode.ino, &fd, lower, layout::page_count(size)) {
            Ok(Body::Sealed(sealed)) => {
                self.report_if_newer(inode.ino, &sealed.header.keys());
                HeaderFields::of(&sealed.header)
            }
            Ok(Body::NoHeader) => return Ok(None),
            Ok(Body::Unreadable(damage)) => return Err(damage.into()),
            Ok(Body::Unsynced) => return Err(Damage::Header.into()),
            Ok(Body::Unknown | Body::KeyEvicted(_)) | Err(Error::KeyNotUsable(_)) => {
                unverified(fd.as_fd())?.ok_or(Damage::Header)?
            }
            Err(e) => return Err(e),
        };
        act(found.keys);
        Ok(Some(found))
    }
}

impl OpenFile {
    /// What its header says; unverified once its key can't be used.
    fn header_fields(&self) -> Result<Option<HeaderFields>> {
        if self.must_reload.load(Ordering::Relaxed) {
            return unverified(self.fd.as_fd());
        }
        Ok(self.state.read().sealed()?.map(|sealed| HeaderFields::of(&sealed.header)))
    }
}

/// What a header says of itself, verified or not.
#[derive(Clone, Copy)]
pub(in crate::vault) struct HeaderFields {
    pub(super) keys: SlotKeys,
    suite: Suite,
    sequence: Sequence,
}

impl HeaderFields {
    fn of(header: &Header) -> Self {
        Self { keys: header.keys(), suite: header.suite(), sequence: header.sequence() }
    }
}

/// What the slot says, unverified, that a mount would try first; `None` if there is neither.
fn unverified(fd: BorrowedFd<'_>) -> Result<Option<HeaderFields>> {
    let mut slots = [0; SLOTS];
    if storage::pread(fd, &mut slots, LowerOffset(0))? == 0 || block::is_zero(&slots) {
        return Ok(None);
    }
    let [first, _] = UnverifiedSlot::parse_both(&slots);
    let slot = first.ok_or(Damage::Header)?;
    let suite = Suite::from_number(slot.suite_number()).ok_or(Error::Newer("an unknown content suite"))?;
    Ok(Some(HeaderFields { keys: slot.keys(&slots), suite, sequence: slot.sequence() }))
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
