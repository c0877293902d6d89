//! Repairs. Each one checks again what it is about to change, saves the bytes it overwrites (`undo`), changes one thing, and
//! makes that durable. So a crash at any point leaves a state that the next check repairs. Whatever could be read before can be
//! read after, and whatever might be saved in another way is kept.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use super::file::{Checkable, Content, check_header};
use super::finding::{Code, Disposition, Finding, Pages};
use super::pages::{Bad, Buffers, Runs, scan};
use super::undo::{UNDO_NAME, Undo};
use crate::content::layout::{self, PAGE};
use crate::header::{SLOT, SLOTS, UnverifiedSlot};
use crate::ids::{LowerOffset, PageIndex, PlainOffset, TimeChange};
use crate::keyring::Keys;
use crate::names::{LONG_SUFFIX, LowerKind};
use crate::storage::{self, Access, Errno, FileKind, Writable};

/// Why something isn't repaired.
#[derive(Debug, thiserror::Error)]
enum NotRepairable {
    #[error("{0}")]
    Why(&'static str),
    #[error("the lower filesystem says: {0}")]
    Lower(#[from] Errno),
    #[error("{0}")]
    Keyring(#[from] crate::keyring::KeyringError),
}

/// Pages saved in one record.
const KEPT_PAGES: u64 = 64;

type Repaired = Result<String, NotRepairable>;

const CHANGED: NotRepairable = NotRepairable::Why("it isn't as it was found any more; check again");

/// Repairs what was found, if there is a repair for it.
pub(super) fn repair(keys: &Keys, writable: Writable, vault: &OwnedFd, finding: &Finding) -> Disposition {
    let repair = Repair { keys, writable, vault, finding };
    let done = match finding.code {
        Code::Temporary | Code::LongNameOrphan => repair.remove(),
        Code::DataPastEnd => repair.clear_past_end(),
        Code::SlotDamaged => repair.restore_slot(),
        Code::PageDamaged => repair.zero_pages(),
        Code::SizeImpossible => repair.set_size(),
        _ => return Disposition::Left,
    };
    match done {
        Ok(how) => Disposition::Repaired { how },
        Err(refusal) => Disposition::Refused { why: refusal.to_string() },
    }
}

/// The lower directory and the entry that a path in the vault's directory leads to. No symlink is followed.
pub(super) fn locate<'a>(vault: &OwnedFd, finding: &'a Finding) -> storage::Result<(OwnedFd, &'a [u8])> {
    let lower = finding.lower.as_path().as_os_str().as_bytes();
    let mut parts = lower.split(|&b| b == b'/').collect::<Vec<_>>();
    let entry = parts.pop().ok_or(Errno::INVAL)?;
    let mut dir = storage::open_dir(vault.as_fd(), b".")?;
    for part in parts {
        dir = storage::open_dir(dir.as_fd(), part)?;
    }
    Ok((dir, entry))
}

struct Repair<'a> {
    keys: &'a Keys,
    writable: Writable,
    vault: &'a OwnedFd,
    finding: &'a Finding,
}

impl Repair<'_> {
    fn remove(&self) -> Repaired {
        let (dir, entry) = locate(self.vault, self.finding)?;
        let dir = dir.as_fd();
        let expendable = || {
            let regular = storage::stat(dir, entry)?.kind() == FileKind::Regular;
            Ok::<_, Errno>(match LowerKind::of(entry) {
                LowerKind::Temporary => regular,
                LowerKind::LongCompanion => {
                    let name = entry.strip_suffix(LONG_SUFFIX).unwrap_or(entry);
                    regular && matches!(storage::stat(dir, name), Err(Errno::NOENT))
                }
                _ => false,
            })
        };
        let remove = || {
            if !expendable()? {
                return Err(CHANGED);
            }
            let before = storage::fstat(dir)?;
            storage::unlink(dir, entry)?;
            // Only the owner may set times; if that is someone else, the removal shows in them.
            let _ = storage::set_times(dir, TimeChange::At(before.atime), TimeChange::At(before.mtime));
            Ok(storage::fsync_dir(dir)?)
        };
        if self.finding.lower.as_path().starts_with("tree") {
            remove()?;
        } else {
            // A temporary file of the keyring: other processes may be saving it.
            self.keys.with_keyring_locked(self.writable, remove)??;
        }
        Ok("removed".to_owned())
    }

    /// Opens the file and calls `change`, which returns what it did. Restores the file's times.
    fn change(&self, change: impl FnOnce(BorrowedFd<'_>) -> Repaired) -> Repaired {
        let (dir, entry) = locate(self.vault, self.finding)?;
        let file = storage::open_file(dir.as_fd(), entry, Access::ReadWrite)?;
        let before = storage::fstat(file.as_fd())?;
        if before.kind() != FileKind::Regular {
            return Err(CHANGED);
        }
        let mtime = storage::LowerFs::probe(file.as_fd())?.mtime_after_hidden_change(before.mtime);
        let how = change(file.as_fd())?;
        let _ = storage::set_times(file.as_fd(), TimeChange::At(before.atime), TimeChange::At(mtime));
        storage::fsync(file.as_fd())?;
        Ok(how)
    }

    /// The file's content, if its header still shows what was found.
    fn content(&self, fd: BorrowedFd<'_>, still: Option<Code>) -> Result<Box<Content>, NotRepairable> {
        let header_check = check_header(fd, self.keys)?;
        if still.is_some_and(|code| !header_check.found.iter().any(|(found, _)| *found == code)) {
            return Err(CHANGED);
        }
        match header_check.body {
            Checkable::Sealed(content) => Ok(content),
            Checkable::Nothing | Checkable::Closed => Err(CHANGED),
        }
    }

    fn keep(&self, fd: BorrowedFd<'_>, at: u64, len: u64) -> Result<(), NotRepairable> {
        let mut bytes = vec![0; len as usize];
        let got = storage::pread(fd, &mut bytes, LowerOffset(at))?;
        Ok(Undo::new(self.vault).keep(&self.finding.lower, LowerOffset(at), &bytes[..got])?)
    }

    fn clear_past_end(&self) -> Repaired {
        self.change(|fd| {
            let pages = self.content(fd, Some(Code::DataPastEnd))?.pages;
            let (at, size) = (pages.0 * PAGE, storage::fstat(fd)?.size);
            self.keep(fd, at, size - at)?;
            storage::punch(fd, LowerOffset(at), PAGE)?;
            Ok(format!("made a hole; what stood there is in {UNDO_NAME}"))
        })
    }

    fn restore_slot(&self) -> Repaired {
        self.change(|fd| {
            let header = self.content(fd, Some(Code::SlotDamaged))?.header;
            let mut slots = [0; SLOTS];
            storage::pread(fd, &mut slots, LowerOffset(0))?;
            for slot in UnverifiedSlot::parse_both(&slots).into_iter().flatten() {
                if slot.file() != header.file() {
                    return Err(NotRepairable::Why(
                        "it claims to be of another file, whose only header it may be; move it elsewhere first",
                    ));
                }
            }
            let (good, bad) = (header.index().offset().0 as usize, header.index().other().offset());
            self.keep(fd, bad.0, SLOT as u64)?;
            storage::pwrite_all(fd, &slots[good..good + SLOT], bad)?;
            Ok(format!("overwritten with the good one; what stood there is in {UNDO_NAME}"))
        })
    }

    fn zero_pages(&self) -> Repaired {
        let Some(Pages { first, count }) = self.finding.pages else { return Err(CHANGED) };
        self.change(|fd| {
            let content = self.content(fd, None)?;
            let range = first.0..first.0 + count.0;
            if range.start < content.header.floor().0 || range.end > content.pages.0 {
                return Err(CHANGED);
            }
            let mut runs = Runs::default();
            scan(fd, &content, range.clone(), &mut Buffers::new(), &mut runs, &mut |_| {
                ControlFlow::Continue(())
            })?;
            if runs.0 != [(Bad::Damaged, Pages { first, count })] {
                return Err(CHANGED);
            }
            for first in range.clone().step_by(KEPT_PAGES as usize) {
                let last = range.end.min(first + KEPT_PAGES) - 1;
                let (from, to) =
                    (layout::block_range(PageIndex(first)).start, layout::block_range(PageIndex(last)).end);
                self.keep(fd, from, to - from)?;
            }
            for page in range {
                let block = layout::block_range(PageIndex(page));
                let len = block.end - block.start;
                match storage::punch(fd, LowerOffset(block.start), len) {
                    // Half a page can't be a hole, and not every filesystem has holes.
                    Err(Errno::OPNOTSUPP) => {
                        storage::pwrite_all(
                            fd,
                            &[0; PAGE as usize][..len as usize],
                            LowerOffset(block.start),
                        )?;
                    }
                    punched => punched?,
                }
            }
            Ok(format!("it reads as zeros now; what stood there is in {UNDO_NAME}"))
        })
    }

    fn set_size(&self) -> Repaired {
        self.change(|fd| {
            let size = storage::fstat(fd)?.lower_size();
            if !check_header(fd, self.keys)?.found.iter().any(|(code, _)| *code == Code::SizeImpossible) {
                return Err(CHANGED);
            }
            let pages = size.0 / PAGE;
            let mut rest = vec![0; (size.0 % PAGE) as usize];
            storage::pread(fd, &mut rest, LowerOffset(pages * PAGE))?;
            if rest.iter().any(|b| *b != 0) {
                return Err(NotRepairable::Why(
                    "what stands behind its last whole page may be a part of a page",
                ));
            }
            let Some(last) = pages.checked_sub(1).map(PageIndex) else {
                storage::truncate(fd, LowerOffset(0))?;
                return Ok("emptied: it held nothing but zeros".to_owned());
            };
            let full = PlainOffset(layout::block_start(last).0 + layout::payload(last));
            storage::truncate(fd, layout::lower_size(full))?;
            Ok(format!("set to {} bytes: all of its pages", full.0))
        })
    }
}
