//! Re-wrap: moving a file's DEK to the backing key where the file belongs now (`key_usage/wrapping.rs`), and writing its
//! alias tag. Content and DEK stay. Files that came under another key are an event, one for each pair of keys in a batch.
//!
//! Order of writes (docs/format.md, "Order of writes"): data is made durable; the new slot is
//! written beside the old one and made durable; the old slot is overwritten with the same bytes, so that a
//! leaked old version doesn't open the current header, and that is made durable too: only then is the file
//! re-wrapped, and until then it is stale for every caller. Interrupted anywhere, one valid slot is there, and what
//! is left of the other one is found by the next sweep, which writes only that.
//! Each step takes the inode lock exclusively and first checks that file id and sequence are what it saw.
//! A step that fails, and a sync after it, leaves in memory what the lower file shows, as after every error
//! ([`super::reload`]): a new slot that was written counts, durable or not, beside the old one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::filled::Mark;
use super::floor::{Pages, Rewrapping};
use super::{Body, OpenFile, Purpose, Sealed, State};
use crate::events::Event;
use crate::header::{NextSlot, Rewrapped, SLOT, SlotIndex};
use crate::ids::{BackingKeyId, FileId, Ino, KeyId, Sequence};
use crate::storage::{self, Errno};
use crate::vault::key_usage::wrapping::Target;
use crate::vault::tree::inode::Inode;
use crate::vault::{Destination, Error, Result, RewrapCounts, Vault};

/// From this many files on, one syncfs is cheaper than an fdatasync for each.
const SYNCFS_FROM: usize = 8;
/// How often a re-wrap to a key of the caller's choice is tried.
const TRIES: usize = 8;

/// What became of a batch.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct BatchOutcome {
    /// Files whose slots both bear the current backing key now, durably, and did not before.
    pub rewrapped: u64,
    /// These files, each with what wrapped it then.
    pub moved: Vec<(Ino, BackingKeyId)>,
    /// Files that need no re-wrap, or can't be re-wrapped now since a key isn't usable.
    pub skipped: u64,
    /// Files whose re-wrap failed or was overtaken; one of their slots is still the old one, or may be, and they
    /// can be tried again.
    pub failed: Vec<Ino>,
    /// Those of them that were overtaken: no error kept them from it.
    pub overtaken: Vec<Ino>,
}

/// How many files came from one key to another.
type MovedFiles = BTreeMap<(KeyId, KeyId), u64>;

/// A file whose new slot is to be, or has been, written beside the old one.
struct Candidate {
    inode: Arc<Inode>,
    file: Rewrapping,
    seen: (FileId, Sequence),
    /// What it is to be wrapped by; once it is, what wraps it.
    target: Target,
    /// Its key before.
    from: KeyId,
    /// The new slot; none where the one in force is new already, and only the other one is left.
    next: Option<NextSlot>,
    /// What the sync before the new slot covers.
    filled: Mark,
}

impl Vault {
    /// Re-wraps those of these files that are stale: new slots, one sync, old slots, one sync.
    pub fn rewrap_batch(&self, inos: &[Ino]) -> BatchOutcome {
        self.rewrap_batch_to(inos, &Destination::Followed)
    }

    /// As [`Vault::rewrap_batch`], those of these files that aren't at another destination yet.
    pub fn rewrap_batch_to(&self, inos: &[Ino], to: &Destination) -> BatchOutcome {
        let put_off = &mut |ino: Ino, e: Error| tracing::info!(ino = ino.0, "re-wrap put off: {e}");
        self.rewrap_each(inos, to, put_off)
    }

    /// Re-wraps one file; durable when it returns.
    ///
    /// # Errors
    /// ENOKEY if the file's key or that one can't be used, EIO if the header is damaged, what the lower filesystem
    /// says; EAGAIN if others moved it each time that it was tried. The old slot stands then.
    pub fn rewrap_to(&self, ino: Ino, to: &Destination) -> Result<()> {
        self.check_writable()?;
        // A lazy re-wrap, or a rotation, may come in between.
        for _ in 0..TRIES {
            let inode = self.inode(ino)?;
            let file = self.file_of(&inode, Purpose::Read)?;
            self.ensure_writable(&inode, &file)?;
            let slots = file.slot_keys().ok_or(Error::Invalid("the file is empty: it has no data key"))?;
            if self.target_at(to, &inode, &slots)?.is_none() {
                return Ok(());
            }
            let mut failed = None;
            self.rewrap_each(&[ino], to, &mut |_, e| failed = Some(e));
            if let Some(e) = failed {
                return Err(e);
            }
        }
        Err(Error::Lower(Errno::AGAIN))
    }

    /// Re-wraps those of these files that aren't where they are to go. `wrong` receives each that an error kept from it.
    fn rewrap_each(&self, inos: &[Ino], to: &Destination, wrong: &mut dyn FnMut(Ino, Error)) -> BatchOutcome {
        let _counts_wait = self.rewraps.read();
        let mut outcome = BatchOutcome::default();
        // A file with several names may be given once for each.
        let mut inos = inos.to_vec();
        inos.sort_unstable();
        inos.dedup();
        let mut batch: Vec<Candidate> = Vec::with_capacity(inos.len());
        for ino in inos {
            match self.rewrap_candidate(ino, to) {
                Ok(Some(candidate)) => batch.push(candidate),
                Ok(None) => outcome.skipped += 1,
                Err(e) => {
                    wrong(ino, e);
                    outcome.skipped += 1;
                }
            }
        }
        let mut keep = |batch: Vec<Candidate>, step: &dyn Fn(&mut Candidate) -> Result<bool>| {
            let mut kept = Vec::with_capacity(batch.len());
            for mut candidate in batch {
                match step(&mut candidate) {
                    Ok(true) => kept.push(candidate),
                    Ok(false) => {
                        outcome.failed.push(candidate.inode.ino);
                        outcome.overtaken.push(candidate.inode.ino);
                    }
                    Err(e) => {
                        self.take_over(&candidate);
                        outcome.failed.push(candidate.inode.ino);
                        wrong(candidate.inode.ino, e);
                    }
                }
            }
            kept
        };
        let many = batch.len() >= SYNCFS_FROM && sync_together(&batch);
        let batch = keep(batch, &|candidate| Ok(many || candidate.sync()?));
        let batch = keep(batch, &|candidate| self.write_new_slot(candidate));
        let many = batch.len() >= SYNCFS_FROM && sync_together(&batch);
        let batch = keep(batch, &|candidate| Ok(many || candidate.sync()?));
        let moved = RefCell::new(BTreeMap::new());
        let batch = keep(batch, &|candidate| self.overwrite_old_slot(candidate, &moved));
        let many = batch.len() >= SYNCFS_FROM && sync_together(&batch);
        let sync = |candidate: &Candidate| {
            candidate.sync().inspect_err(|_| self.stale.slot_not_synced(candidate.inode.ino))
        };
        let batch = keep(batch, &|candidate| Ok(many || sync(candidate)?));
        let batch = keep(batch, &|candidate| self.confirm_old_slot(candidate));
        for ((from, to), files) in moved.into_inner() {
            self.keys.events().record(&Event::FilesMoved { from, to, files });
        }
        outcome.rewrapped += batch.len() as u64;
        outcome.moved.extend(batch.iter().map(|candidate| (candidate.inode.ino, candidate.target.backing)));
        let (rewrapped, skipped, failed) = (outcome.rewrapped, outcome.skipped, outcome.failed.len() as u64);
        self.counters.rewrapped(RewrapCounts { rewrapped, skipped, failed });
        outcome
    }

    fn rewrap_candidate(&self, ino: Ino, to: &Destination) -> Result<Option<Candidate>> {
        let inode = self.inode(ino)?;
        let file = Rewrapping::of(self.file_of(&inode, Purpose::Read)?);
        file.check_writable()?;
        let (seen, slots) = {
            let state = file.state.read();
            let Some(sealed) = state.sealed()? else { return Ok(None) };
            ((sealed.header.file(), sealed.header.sequence()), sealed.header.keys())
        };
        // Without the inode lock: where the file lies is asked for. Each step sees whether the header is still that one.
        let Some(target) = self.target_at(to, &inode, &slots)? else { return Ok(None) };
        let mut state = file.state.write();
        // The sync that follows promises these pages.
        state.synced = state.pages();
        file.look_for_data(&state, Pages::OnDisk);
        let filled = state.filled.mark();
        drop(state);
        Ok(Some(Candidate { inode, file, seen, target, from: slots.backing.key, next: None, filled }))
    }

    /// After an error.
    fn take_over(&self, candidate: &Candidate) {
        let mut state = candidate.file.state.write();
        self.reload(&candidate.file, &mut state);
        if let Body::Sealed(sealed) = &state.body {
            self.record_in_census(&candidate.inode, sealed.header.keys());
        }
    }

    fn write_new_slot(&self, candidate: &mut Candidate) -> Result<bool> {
        let file = &candidate.file;
        let mut state = file.state.write();
        state.filled.is_durable(candidate.filled);
        let floor = file.floor_known(&state);
        let Some(sealed) = candidate.unchanged(&mut state) else { return Ok(false) };
        let Target { backing, follows } = candidate.target;
        if sealed.header.backing() == backing && candidate.target.is_tagged(sealed.header.keys().tag) {
            return Ok(true);
        }
        let guard = self.keys.begin_wrap_key(backing.key).map_err(super::load::key_error)?;
        // Pointed elsewhere while the data was synced: the caller who did that has its answer, so it is in force.
        if let Some(Some(alias)) = follows
            && !self.keys.points_at(alias, backing.key)
        {
            return Ok(false);
        }
        let header = &sealed.header;
        let wrapped = &guard.wrap(header.file(), header.suite(), header.dek());
        let tag = follows.map(|follows| guard.tag_following(follows));
        let floor = floor.max(header.floor());
        let wrap = Rewrapped { backing: guard.backing(), wrapped, tag };
        let next = sealed.header.next_slot(Some(&wrap), floor);
        drop(guard);
        self.write_slot_keeping_times(file, next.index(), next.bytes())?;
        candidate.next = Some(next);
        Ok(true)
    }

    fn write_slot_keeping_times(&self, file: &OpenFile, index: SlotIndex, slot: &[u8; SLOT]) -> Result<()> {
        let before = storage::fstat(file.fd.as_fd())?;
        let written = file.write_slot(index, slot);
        let mtime = self.lower.mtime_after_hidden_change(before.mtime);
        storage::put_times_back(file.fd.as_fd(), before.atime, mtime)?;
        written
    }

    /// The slot in force is durable: from here on that is the header, whatever becomes of the other one.
    /// `moved` counts those that came under another key by it.
    fn overwrite_old_slot(&self, candidate: &mut Candidate, moved: &RefCell<MovedFiles>) -> Result<bool> {
        let file = candidate.file.clone();
        let next = candidate.next.take();
        let mut state = file.state.write();
        let Some(sealed) = candidate.unchanged(&mut state) else { return Ok(false) };
        if let Some(next) = next {
            sealed.header.advance(next);
        }
        candidate.seen.1 = sealed.header.sequence();
        candidate.target.backing = sealed.header.backing();
        let to = candidate.target.backing.key;
        let from = std::mem::replace(&mut candidate.from, to);
        if from != to {
            *moved.borrow_mut().entry((from, to)).or_default() += 1;
        }
        let copy = sealed.header.copy_for_other();
        self.record_in_census(&candidate.inode, sealed.header.keys());
        let written = self.write_slot_keeping_times(&file, sealed.header.index().other(), &copy);
        if written.is_err() {
            self.stale.slot_not_synced(candidate.inode.ino);
        }
        // The key that it moved to may have become unusable since, when the file was none of its files yet.
        if self.keys.usable(candidate.target.backing).is_err() {
            file.evict(&mut state.body, candidate.target.backing);
        }
        written.map(|()| true)
    }

    /// The other slot is durable too. Who came in between has emptied the file, or written that slot himself and
    /// made it durable, or has evicted the file's DEK.
    fn confirm_old_slot(&self, candidate: &mut Candidate) -> Result<bool> {
        let mut state = candidate.file.state.write();
        self.stale.slot_synced(candidate.inode.ino);
        if let Some(sealed) = candidate.unchanged(&mut state) {
            sealed.header.copy_is_durable();
            self.record_in_census(&candidate.inode, sealed.header.keys());
            return Ok(!sealed.header.keys().differ());
        }
        Ok(true)
    }
}

/// Makes what was written to all of these files durable with one call.
fn sync_together(batch: &[Candidate]) -> bool {
    batch.first().is_some_and(|one| storage::syncfs(one.file.fd.as_fd()).is_ok())
}

impl Candidate {
    fn sync(&self) -> Result<bool> {
        self.file.flush()?;
        Ok(true)
    }

    /// The header, if it is still the one that was seen: not truncated to zero and written again, not re-sealed.
    fn unchanged<'a>(&self, state: &'a mut State) -> Option<&'a mut Sealed> {
        match &mut state.body {
            Body::Sealed(sealed) if (sealed.header.file(), sealed.header.sequence()) == self.seen => {
                Some(sealed)
            }
            Body::Sealed(_)
            | Body::NoHeader
            | Body::KeyEvicted(_)
            | Body::Unreadable(_)
            | Body::Unsynced
            | Body::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests;
