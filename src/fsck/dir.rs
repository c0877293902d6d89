//! Lower directories: those that a walk holds open, and what is in them besides content: names, records, symlinks,
//! attributes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::finding::Code;
use super::reporter::Location;
use crate::ids::DirId;
use crate::names::{DIR_RECORD, DirRecord, LowerKind, LowerName, OpenError, TreeCiphers, XattrSpace};
use crate::storage::{self, Access, Errno};

/// A directory in which the walk is.
pub(super) struct Dir {
    pub(super) fd: OwnedFd,
    /// As it is derived from where the directory lies; unknown below one whose id is unknown.
    pub(super) derived: Option<DirId>,
    /// `None`: its record is damaged.
    pub(super) id: Option<DirId>,
    pub(super) place: Location,
}

/// A directory that the walk has yet to enter.
pub(super) struct PendingDir {
    pub(super) parent: Arc<Dir>,
    pub(super) entry: Vec<u8>,
    pub(super) name: Vec<u8>,
}

/// What was found, and more about it.
pub(super) type Found = (Code, String);

/// Checks whether entries are whole.
pub(super) struct EntryChecker(pub(super) TreeCiphers);

impl EntryChecker {
    /// The id that a directory's record holds; `None`: it has no record.
    pub(super) fn stored_id(&self, dir: BorrowedFd<'_>) -> Result<Option<DirId>, Found> {
        let damaged = |what: &str| (Code::DirRecordDamaged, what.to_owned());
        let raw = match storage::open_file(dir, DIR_RECORD, Access::ReadOnly) {
            Ok(file) => storage::read_all(file.as_fd(), DirRecord::MAX_LEN),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => Err(e),
        };
        match raw {
            Ok(raw) => match self.0.records.decode(&raw) {
                Ok(record) => Ok(Some(record.id)),
                Err(OpenError::Damaged) => Err(damaged("its record doesn't open")),
                Err(OpenError::Newer) => Err((Code::Newer, "the directory record".to_owned())),
            },
            Err(Errno::FBIG | Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::SPIPE) => {
                Err(damaged("its record is no file, or too long"))
            }
            Err(e) => Err(lower(e, "its record")),
        }
    }

    /// The plaintext name of an entry of the directory `dir` with this id.
    pub(super) fn name(&self, dir: BorrowedFd<'_>, id: DirId, entry: &[u8]) -> Result<Vec<u8>, Found> {
        if LowerKind::of(entry) != LowerKind::LongEntry {
            let bad = "it doesn't decrypt: changed, moved here with other tools, or not rekeyfs's";
            return self.0.names.decrypt(id, entry).map_err(|_| (Code::NameDamaged, bad.to_owned()));
        }
        let companion = LowerName::companion_of(entry);
        let full = match storage::open_file(dir, &companion, Access::ReadOnly) {
            Ok(file) => storage::read_all(file.as_fd(), LowerName::MAX_FULL),
            Err(Errno::NOENT) => {
                let lost = "the file that holds its name is gone; it is in no listing, but opens by its name";
                return Err((Code::LongNameLost, lost.to_owned()));
            }
            Err(e) => Err(e),
        };
        let damaged = |what: &str| (Code::LongNameDamaged, what.to_owned());
        match full {
            Ok(full) => self
                .0
                .names
                .decrypt_long(id, entry, &full)
                .map_err(|_| damaged("the file that holds its name doesn't fit it")),
            Err(Errno::FBIG | Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::SPIPE) => {
                Err(damaged("what should hold its name is no file, or too long"))
            }
            Err(e) => Err(lower(e, "the file that holds its name")),
        }
    }

    /// Checks the symlink `entry`. It may have been removed.
    pub(super) fn symlink(&self, dir: BorrowedFd<'_>, entry: &[u8]) -> Result<(), Found> {
        match storage::readlink(dir, entry) {
            Ok(target) => match self.0.symlinks.decode(&target) {
                Ok(_) => Ok(()),
                Err(OpenError::Damaged) => Err((Code::SymlinkDamaged, "its target doesn't open".to_owned())),
                Err(OpenError::Newer) => Err((Code::Newer, "the symlink target".to_owned())),
            },
            Err(Errno::NOENT | Errno::INVAL) => Ok(()),
            Err(e) => Err(lower(e, "its target")),
        }
    }

    /// Checks the attributes that `list` names and `get` yields.
    pub(super) fn xattrs(
        &self,
        list: storage::Result<Vec<Vec<u8>>>,
        get: impl Fn(&[u8]) -> storage::Result<Option<Vec<u8>>>,
        found: &mut Vec<Found>,
    ) {
        let names = match list {
            Ok(names) => names,
            Err(Errno::OPNOTSUPP | Errno::NOENT) => return,
            Err(e) => return found.push(lower(e, "its attributes")),
        };
        for name in names.iter().filter(|name| XattrSpace::of(name).is_some()) {
            let shown = String::from_utf8_lossy(name);
            let Some(plain) = self.0.xattrs.plain_name(name) else {
                found.push((Code::XattrNameDamaged, format!("attribute {shown}: its name doesn't decrypt")));
                continue;
            };
            match get(name) {
                Ok(None) | Err(Errno::NOENT) => {}
                Ok(Some(value)) => match self.0.xattrs.open_value(&plain, &value) {
                    Ok(_) => {}
                    Err(OpenError::Damaged) => {
                        found
                            .push((Code::XattrDamaged, format!("attribute {shown}: its value doesn't open")));
                    }
                    Err(OpenError::Newer) => found.push((Code::Newer, format!("attribute {shown}"))),
                },
                Err(e) => found.push(lower(e, &format!("attribute {shown}"))),
            }
        }
    }
}

/// The finding for an error of the lower filesystem.
pub(super) fn lower(e: Errno, what: &str) -> Found {
    match e {
        Errno::ACCESS | Errno::PERM => {
            (Code::NotPermitted, format!("{what}: {e}; check it as its owner or as root"))
        }
        e => (Code::Unreadable, format!("{what}: the lower filesystem says: {e}")),
    }
}
