//! What comes before the pages of a file: its size, its two slots, and whether anything stands behind its end.

use std::os::fd::BorrowedFd;

use super::finding::Code;
use crate::content::block;
use crate::content::layout::{self, PAGE};
use crate::header::{self, Header, OpenError, OtherSlot, SLOT, SLOTS, SlotIndex, UnverifiedSlot};
use crate::ids::{BackingKeyId, LowerOffset, PageCount, PlainOffset};
use crate::keyring::{KeyError, Keys, Unusable};
use crate::printable::counted;
use crate::storage;
use crate::vault;

/// A file whose pages can be opened.
pub(super) struct Content {
    /// The header in force. Pages below its floor are never zero; the other slot's floor says nothing: a punch
    /// lowers the one in force before it zeroes pages, and leaves the other.
    pub(super) header: Header,
    /// Its pages: as many as the lower size says, whether or not a file can have that size.
    pub(super) pages: PageCount,
}

/// What there is to check after the header.
pub(super) enum Checkable {
    /// Nothing: the file is empty, or all zeros without a header, as one that was never synced may be.
    Nothing,
    /// Pages.
    Sealed(Box<Content>),
    /// Pages that can't be opened.
    Closed,
}

/// What the header, the size and the end of a file show.
pub(super) struct HeaderCheck {
    pub(super) body: Checkable,
    pub(super) found: Vec<(Code, String)>,
    /// Where only the key is missing: the backing key that the newest slot names, unverified.
    pub(super) lacks: Option<BackingKeyId>,
}

/// Checks the header, the size and the end of a lower file.
///
/// # Errors
/// What the lower filesystem says.
pub(super) fn check_header(fd: BorrowedFd<'_>, keys: &Keys) -> storage::Result<HeaderCheck> {
    let lower = storage::fstat(fd)?.lower_size();
    let (mut found, mut lacks) = (Vec::new(), None);
    let body = match layout::plain_size(lower) {
        Ok(PlainOffset(0)) => Checkable::Nothing,
        Ok(size) => {
            let body = body(fd, keys, lower, layout::page_count(size), &mut found, &mut lacks)?;
            // In a file that other tools shortened these bytes are the rest of a page.
            let cut = found.iter().any(|(code, _)| *code == Code::SizeBelowFloor);
            if !cut && matches!(body, Checkable::Sealed(_)) && past_end(fd, lower)? {
                let detail = "nothing reads it: it is of an append that a power cut overtook";
                found.push((Code::DataPastEnd, detail.to_owned()));
            }
            body
        }
        Err(impossible) => {
            let zero = if past_end(fd, lower)? { "hold data" } else { "are zero" };
            let behind = format!(
                "{} in all, of which those behind the last whole page {zero}",
                counted(lower.0, "byte", "bytes")
            );
            let body = match lower.0 / PAGE {
                0 => Checkable::Closed,
                pages => body(fd, keys, lower, PageCount(pages), &mut found, &mut lacks)?,
            };
            // Only a newer program knows what a size means in its files: nothing of them is repaired or moved.
            if !found.iter().any(|(code, _)| *code == Code::Newer) {
                found.insert(0, (Code::SizeImpossible, format!("{impossible}: {behind}")));
            }
            body
        }
    };
    Ok(HeaderCheck { body, found, lacks })
}

fn body(
    fd: BorrowedFd<'_>,
    keys: &Keys,
    lower: LowerOffset,
    pages: PageCount,
    found: &mut Vec<(Code, String)>,
    lacks: &mut Option<BackingKeyId>,
) -> storage::Result<Checkable> {
    let mut slots = [0; SLOTS];
    storage::pread(fd, &mut slots, LowerOffset(0))?;
    let header = match header::open(&slots, |slot| vault::unwrap(keys, slot)) {
        Ok(header) => header,
        Err(OpenError::Missing) => {
            if !vault::holds_data(fd, lower)? {
                return Ok(Checkable::Nothing);
            }
            let detail = "it was never synced; truncate it to 0 or remove it";
            found.push((Code::HeaderMissing, detail.to_owned()));
            return Ok(Checkable::Closed);
        }
        Err(error) => {
            if matches!(error, OpenError::Key(_)) {
                *lacks = UnverifiedSlot::parse_both(&slots)[0].as_ref().map(UnverifiedSlot::backing);
            }
            found.push(why_closed(error, keys));
            return Ok(Checkable::Closed);
        }
    };
    check_other_slot(&slots, &header, keys, found);
    if pages < header.floor() {
        let detail =
            format!("{}, and the header promises {}", counted(pages.0, "page", "pages"), header.floor().0);
        found.push((Code::SizeBelowFloor, detail));
    }
    Ok(Checkable::Sealed(Box::new(Content { header, pages })))
}

fn why_closed(error: OpenError<KeyError>, keys: &Keys) -> (Code, String) {
    match error {
        OpenError::Damaged | OpenError::Missing => (Code::HeaderDamaged, "no slot of it opens".to_owned()),
        OpenError::Newer(what) => (Code::Newer, what.to_owned()),
        OpenError::Key(KeyError::NotUsable { key, state: Unusable::Retired(id) }) if keys.is_trimmed(id) => {
            let detail =
                format!("version {} of key {key} was trimmed; a keyring of before may have it", id.version);
            (Code::KeyTrimmed, detail)
        }
        OpenError::Key(error @ KeyError::NotUsable { .. }) => (Code::KeyNotUsable, error.to_string()),
        OpenError::Key(error @ KeyError::LostVersion(_)) => (Code::KeyLost, error.to_string()),
        OpenError::Key(error) => (Code::KeyUnknown, error.to_string()),
    }
}

/// Checks the slot that isn't in force against the one that is.
fn check_other_slot(slots: &[u8; SLOTS], header: &Header, keys: &Keys, found: &mut Vec<(Code, String)>) {
    let other = header.index().other();
    let range = |slot: SlotIndex| slot.offset().0 as usize..slot.offset().0 as usize + SLOT;
    let mut alone = *slots;
    alone[range(header.index())].fill(0);
    let damaged =
        |what: &str| (Code::SlotDamaged, format!("slot {other:?}: {what}; slot {:?} opens", header.index()));
    if block::is_zero(&alone) {
        // The first slot of a file is A; B is written with the first new header.
        if other == SlotIndex::A {
            found.push(damaged("it is zero"));
        }
        return;
    }
    found.push(match header::open(&alone, |slot| vault::unwrap(keys, slot)) {
        Ok(old) if old.file() != header.file() => damaged("it is of another file"),
        Err(OpenError::Key(error)) if error.is_missing() => {
            (Code::SlotKeyMissing, format!("slot {other:?}: {error}; the other slot opens"))
        }
        // Left behind by a re-wrap that was interrupted; its key may have been disabled or retired since.
        Ok(_) | Err(OpenError::Key(_)) => match header.keys().other {
            OtherSlot::Names(old) if old != header.backing() => {
                (Code::SlotOld, format!("slot {other:?} bears version {} of key {}", old.version, old.key))
            }
            _ => return,
        },
        Err(OpenError::Newer(what)) => (Code::Newer, format!("slot {other:?}: {what}")),
        Err(OpenError::Damaged | OpenError::Missing) => damaged("it doesn't verify"),
    });
}

/// Whether anything but zeros stands behind the last whole page.
fn past_end(fd: BorrowedFd<'_>, lower: LowerOffset) -> storage::Result<bool> {
    let mut rest = [0; PAGE as usize];
    let rest = &mut rest[..(lower.0 % PAGE) as usize];
    storage::pread(fd, rest, LowerOffset(lower.0 / PAGE * PAGE))?;
    Ok(!block::is_zero(rest))
}
