//! Which backing keys one file's slots bear, read from its header without regard to whether they may be used. Both
//! slots count: a file has not left a backing key as long as that key opens one of them.

use std::os::fd::BorrowedFd;

use crate::content::block;
use crate::crypto::suite::Suite;
use crate::header::{self, OpenError, OtherSlot, SLOTS, SlotKeys, UnverifiedSlot, UnwrapFailure};
use crate::ids::{BackingKeyId, Format, Ino, LowerOffset};
use crate::keyring::KeyError;
use crate::storage;
use crate::vault::{Result, Vault};

/// What a file needs.
pub(super) enum FileKeys {
    /// No key: it is empty, or has no header.
    Nothing,
    /// These, in order: one, or the two that its slots name.
    Backings {
        /// The backing keys.
        backings: Vec<BackingKeyId>,
        /// Whether it stays under its key when an alias is pointed at another one.
        stays: bool,
    },
    /// Unknown, for this reason.
    Unknown(&'static str),
}

impl FileKeys {
    fn of(keys: SlotKeys, vault: &Vault) -> Self {
        let mut backings = vec![keys.backing];
        match keys.other {
            OtherSlot::Empty => {}
            OtherSlot::Names(other) => backings.push(other),
            OtherSlot::Unknown => {
                return Self::Unknown("one slot of its header is damaged or was not written out; re-wrap it");
            }
        }
        backings.sort();
        backings.dedup();
        Self::Backings { backings, stays: !vault.keys.follow(&keys).belonging.moves_by_itself() }
    }
}

impl Vault {
    /// What the file behind a readable descriptor needs. An open one is asked, under its lock.
    pub(super) fn read_file_keys(&self, ino: Ino, fd: BorrowedFd<'_>) -> Result<FileKeys> {
        let open = self.tree.inodes.find(ino).and_then(|inode| inode.file.lock().upgrade());
        match open {
            Some(file) => file.with_slot_keys(|keys| match keys {
                Some(keys) => Ok(FileKeys::of(keys, self)),
                None => self.read_slots(ino, fd),
            }),
            None => self.read_slots(ino, fd),
        }
    }

    fn read_slots(&self, ino: Ino, fd: BorrowedFd<'_>) -> Result<FileKeys> {
        let mut slots = [0; SLOTS];
        storage::pread(fd, &mut slots, LowerOffset(0))?;
        Ok(match header::open(&slots, |slot| self.try_slot(slot)) {
            Ok(mut header) => {
                if self.stale.has_unsynced_slot(ino) {
                    header.other_is_unknown();
                }
                FileKeys::of(header.keys(), self)
            }
            Err(OpenError::Missing) => FileKeys::Nothing,
            Err(OpenError::Key(())) => match UnverifiedSlot::parse_both(&slots) {
                [Some(slot), _] => FileKeys::of(slot.keys(&slots), self),
                [None, _] => FileKeys::Unknown("its header is damaged"),
            },
            Err(OpenError::Newer(what)) => FileKeys::Unknown(what),
            Err(OpenError::Damaged) => FileKeys::Unknown("its header is damaged"),
        })
    }

    /// What the file of a copy of this vault needs: what either of its slots names. None of it is verified: that
    /// could only make it less.
    pub(super) fn read_copied_file_keys(&self, fd: BorrowedFd<'_>) -> Result<FileKeys> {
        let mut slots = [0; SLOTS];
        storage::pread(fd, &mut slots, LowerOffset(0))?;
        if block::is_zero(&slots) {
            return Ok(FileKeys::Nothing);
        }
        let slots = UnverifiedSlot::parse_both(&slots).into_iter().flatten();
        let mut backings: Vec<_> = slots.map(|slot| slot.backing()).collect();
        backings.sort();
        backings.dedup();
        let unknown = |backing: &BackingKeyId| !self.keys.has_version(*backing);
        Ok(match backings.iter().find(|backing| unknown(backing)) {
            _ if backings.is_empty() => FileKeys::Unknown("its header is damaged"),
            Some(_) => FileKeys::Unknown("this vault's keyring doesn't know its key or the version"),
            None => FileKeys::Backings { backings, stays: false },
        })
    }

    fn try_slot(
        &self,
        slot: &UnverifiedSlot,
    ) -> std::result::Result<crate::crypto::keys::Dek, UnwrapFailure<()>> {
        let suite = Suite::from_number(slot.suite_number()).ok_or(UnwrapFailure::Failed)?;
        let opened =
            self.keys.unwrap_to_count(slot.backing(), slot.file(), suite, Format::CURRENT, &slot.wrapped());
        opened.map_err(|e| match e {
            KeyError::Auth => UnwrapFailure::Failed,
            KeyError::NotUsable { .. } => UnwrapFailure::NotUsable(()),
            KeyError::UnknownKey(_)
            | KeyError::UnknownVersion(_)
            | KeyError::LostVersion(_)
            | KeyError::UnknownAlias(_) => UnwrapFailure::Unknown(()),
        })
    }
}
