//! Files that another host writes while they are used here ([`Sharing::Reader`]). Promised is close-to-open: what was
//! written and closed, or synced, before an open or a stat begins is what that sees; and whatever the writer is doing,
//! every block opens.
//!
//! - **An open** loads the file from scratch, through a descriptor of its own: on some clusters one that was open before shows
//!   old bytes for good. It loads once more if the file was emptied meanwhile, so that size and header belong together. The handles
//!   that are out go over to what was loaded ([`Handles::pass_on`]).
//! - **A stat or a lookup** compares: if size, mtime or ctime are others than when the file was loaded, the next read
//!   loads it again ([`Vault::note_attributes`]).
//! - **A read** that finds a tag that doesn't fit, a zero page below the floor, or an end of the lower file that isn't where it was when
//!   the file was loaded, may have met the writer between two steps, or have an old header. It loads the file again and reads
//!   again, after a pause ([`PAUSES`]) if nothing of the file has changed; only what stays wrong then is damage. The tags are
//!   what makes it safe to look without a lock: bytes that don't belong together don't open. Zeros have no tag, so those of a
//!   file that is shorter by then are none of its bytes.
//! - A file that was removed, or replaced, while it is open here is read through the descriptor that there is, as far as the
//!   lower filesystem lets it.
//! - When a key becomes unusable, **each** open file is loaded again before more of it is shown, and the kernel's pages of it are
//!   dropped: the writer may have re-wrapped it since under that key, which changes neither its size nor its mtime.
//! - A version of a key that isn't known yet was made by the writer just now: the keyring is read again before that is an error.
//!
//! Nothing here waits for the writer, and nothing is written. No event is recorded: a reader has no part in the audit log.
//!
//! [`Handles::pass_on`]: crate::vault::ops::handles::Handles::pass_on

use std::cell::Cell;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::looks::Looks;
use super::{Body, OpenFile, Purpose};
use crate::content::layout;
use crate::ids::PlainOffset;
use crate::storage::{self, Errno};
use crate::vault::tree::PAUSES;
use crate::vault::tree::inode::Inode;
use crate::vault::{Attr, Damage, Error, FileKind, Result, Sharing, Vault};

/// How often a file is read again at once that changes all the time.
const CHANGES: usize = 100;

/// For how long a file that changes all the time is tried, all attempts of one request together. A reader that is slower than the
/// writer meets it at each.
const LONGEST: Duration = Duration::from_secs(10);

/// What an attempt came to.
enum Attempt<T> {
    Done(Result<T>),
    /// It may have met the writer between two steps.
    InTheMiddle(Result<T>),
}

impl Vault {
    pub(super) fn others_write(&self) -> bool {
        self.sharing == Sharing::Reader
    }

    /// Notes attributes that were read just now.
    pub(in crate::vault) fn note_attributes(&self, attr: &Attr) {
        if !self.others_write() || attr.kind != FileKind::Regular {
            return;
        }
        let looks = Looks::shown(attr.size, attr.mtime, attr.ctime);
        // One that holds the slot is loading the file.
        if let Some(file) = self.tree.inodes.find(attr.ino).and_then(|inode| inode.file.try_lock()?.upgrade())
            && file.loaded_as != Some(looks)
        {
            file.must_reload.store(true, Relaxed);
        }
    }

    /// The file as it is now, loaded from scratch; with the keyring as it is now, if that in use doesn't open it.
    pub(super) fn current_file(&self, inode: &Inode, purpose: Purpose) -> Result<Arc<OpenFile>> {
        self.current_file_until(inode, purpose, Instant::now() + LONGEST)
    }

    fn current_file_until(&self, inode: &Inode, purpose: Purpose, until: Instant) -> Result<Arc<OpenFile>> {
        match self.load_current(inode, purpose, until) {
            Err(Error::KeyNotUsable(why)) => match self.keys.read_again() {
                Ok(true) => self.load_current(inode, purpose, until),
                Ok(false) => Err(Error::KeyNotUsable(why)),
                Err(error) => {
                    tracing::warn!("the keyring that another host has saved can't be used: {error}");
                    Err(Error::KeyNotUsable(why))
                }
            },
            done => done,
        }
    }

    fn load_current(&self, inode: &Inode, purpose: Purpose, until: Instant) -> Result<Arc<OpenFile>> {
        self.check_lease()?;
        let generation = self.keys.generation();
        let mut slot = inode.file.lock();
        let before = slot.upgrade();
        let loaded = self.load_settled(inode, purpose, until);
        let file = match (loaded, &before) {
            (Err(Error::Stale), Some(before)) => return self.removed_file(before, until),
            (loaded, _) => loaded?,
        };
        self.note_loaded(inode, &file)?;
        if let Some(before) = &before {
            self.handles.pass_on(before, &file);
        }
        *slot = Arc::downgrade(&file);
        // Its header may have been read before a key became unusable, and it was none of the open files when that was dealt with.
        if self.keys.generation() != generation {
            file.must_reload.store(true, Relaxed);
        }
        self.evict_if_over(&file)?;
        // Behind the slot: it may be the last owner of what was open.
        drop(slot);
        drop(before);
        Ok(file)
    }

    /// A file that is open here and can't be reached by a name any more.
    fn removed_file(&self, file: &Arc<OpenFile>, until: Instant) -> Result<Arc<OpenFile>> {
        if file.must_reload.load(Relaxed) {
            let looks = Cell::new(None);
            let act = || {
                let loaded = storage::fstat(file.fd()).map_err(Error::from).and_then(|stat| {
                    let now = Looks::of(&stat);
                    looks.set(Some(now));
                    self.load_again(file, &mut file.state.write())?;
                    self.is_of_one_version(file, now)
                });
                match loaded {
                    Ok(true) => Attempt::Done(Ok(())),
                    Ok(false) => Attempt::InTheMiddle(Ok(())),
                    Err(error) => Attempt::Done(Err(error)),
                }
            };
            attempts(until, act, || looks.get())?;
            self.evict_if_over(file)?;
        }
        Ok(Arc::clone(file))
    }

    /// The open file, loaded again if it has changed since.
    pub(super) fn current_if_changed(&self, inode: &Inode) -> Result<Arc<OpenFile>> {
        self.current_if_changed_until(inode, Instant::now() + LONGEST)
    }

    fn current_if_changed_until(&self, inode: &Inode, until: Instant) -> Result<Arc<OpenFile>> {
        let open = inode.file.lock().upgrade();
        match open {
            Some(file) if !file.must_reload.load(Relaxed) => Ok(file),
            _ => self.current_file_until(inode, Purpose::Read, until),
        }
    }

    /// The caller holds the inode's slot.
    fn load_settled(&self, inode: &Inode, purpose: Purpose, until: Instant) -> Result<Arc<OpenFile>> {
        let looks = Cell::new(None);
        let act = || {
            let loaded = self.open_data(inode).and_then(|(fd, stat, access)| {
                // The pages below may be those of before, where the cluster's client doesn't drop them at an open.
                storage::drop_cached(fd.as_fd());
                let stat = self.tree.settled(stat, || Ok(storage::fstat(fd.as_fd())?))?;
                let now = Looks::of(&stat);
                looks.set(Some(now));
                let file = self.load_unreported(inode.ino, (fd, stat, access), purpose)?;
                Ok((self.is_of_one_version(&file, now)?, file))
            });
            match loaded {
                Ok((true, file)) => Attempt::Done(Ok(file)),
                Ok((false, file)) => Attempt::InTheMiddle(Ok(file)),
                Err(Error::Corrupt(damage)) if !matches!(damage, Damage::FileId(_)) => {
                    Attempt::InTheMiddle(Err(damage.into()))
                }
                // Replaced since it was opened: the kernel looks the name up again.
                Err(Error::Lower(Errno::BADF)) => Attempt::Done(Err(Error::Stale)),
                Err(error) => Attempt::Done(Err(error)),
            }
        };
        // Of what was opened: a stat of the inode would wait for the slot.
        self.reporting_damage(inode.ino, attempts(until, act, || looks.get()))
    }

    /// Whether the size and the header of a file that was just loaded, when it looked so, belong together. They don't if it was emptied in between:
    /// its size is then that of before, and its header that of what was written afterwards, or none, as of a file that
    /// holds nothing but zeros.
    fn is_of_one_version(&self, file: &OpenFile, loaded_as: Looks) -> Result<bool> {
        let state = file.state.read();
        if matches!(state.body, Body::NoHeader) && state.size.0 > 0 {
            // A first write that has begun is seen by then.
            std::thread::sleep(PAUSES[1]);
            let now = storage::fstat(file.fd())?;
            let again = self.load_state(file.ino, file.fd(), now.lower_size())?;
            return Ok(loaded_as == Looks::of(&now) && matches!(again.body, Body::NoHeader));
        }
        Ok(file.size_now()? >= state.size)
    }

    /// Has `act` read an open file, and again as it is then if it may have met the writer in the middle.
    pub(super) fn reading_current<T>(
        &self,
        inode: &Inode,
        act: impl FnMut(&OpenFile) -> Result<T>,
    ) -> Result<T> {
        self.reading_until(inode, Instant::now() + LONGEST, act)
    }

    fn reading_until<T>(
        &self,
        inode: &Inode,
        until: Instant,
        mut act: impl FnMut(&OpenFile) -> Result<T>,
    ) -> Result<T> {
        let mut anew = false;
        let act = || {
            let file = if std::mem::replace(&mut anew, true) {
                self.current_file_until(inode, Purpose::Read, until)
            } else {
                self.current_if_changed_until(inode, until)
            };
            let file = match file.map_err(forgotten) {
                Ok(file) => file,
                Err(error @ (Error::Corrupt(_) | Error::Lower(Errno::STALE))) => {
                    return Attempt::InTheMiddle(Err(error));
                }
                Err(error) => return Attempt::Done(Err(error)),
            };
            match act(&file).map_err(forgotten) {
                done @ Err(Error::Corrupt(_) | Error::Lower(Errno::STALE)) => {
                    // One that has no name any more is loaded again by its descriptor.
                    file.must_reload.store(true, Relaxed);
                    Attempt::InTheMiddle(done)
                }
                // Evicted since it was looked up: what its key is now is in its header.
                done @ Err(Error::KeyNotUsable(_)) if file.must_reload.load(Relaxed) => {
                    Attempt::InTheMiddle(done)
                }
                done => Attempt::Done(done),
            }
        };
        let looks = || self.tree.stat(inode).ok().map(|stat| Looks::of(&stat));
        self.reporting_damage(inode.ino, attempts(until, act, looks))
    }

    /// As [`Vault::read`].
    pub(super) fn read_current(&self, inode: &Inode, offset: PlainOffset, out: &mut [u8]) -> Result<usize> {
        let until = Instant::now() + LONGEST;
        let read = |out: &mut [u8]| {
            self.reading_until(inode, until, |file| {
                let state = file.state.read();
                let got = file.read(&state, offset, out)?;
                if offset.0 + (got as u64) < state.size.0 {
                    return Ok((got, false));
                }
                let now = file.size_now()?;
                if now < state.size {
                    // What is behind the new end are no zeros of the file.
                    return Err(Damage::Size.into());
                }
                Ok((got, now > state.size))
            })
        };
        let (mut got, has_grown) = read(out)?;
        if has_grown {
            self.current_file_until(inode, Purpose::Read, until)?;
            (got, _) = read(out)?;
        }
        self.check_lease()?;
        Ok(got)
    }
}

/// What a file that is open here can't be read for any more: on JuiceFS a client that has forgotten it says EBADF, which would tell a
/// program that its own descriptor is none.
fn forgotten(error: Error) -> Error {
    match error {
        Error::Lower(Errno::BADF) => Error::Lower(Errno::STALE),
        error => error,
    }
}

/// Calls `act`, again and again while it may be in the middle of a change: at once if what it looks at has changed since, for then
/// it was met by another change, unless it is later than `until`; else with growing pauses.
fn attempts<T>(
    until: Instant,
    mut act: impl FnMut() -> Attempt<T>,
    mut looks: impl FnMut() -> Option<Looks>,
) -> Result<T> {
    let (mut pauses, mut before, mut changes) = (PAUSES.iter(), None, 0);
    loop {
        let done = match act() {
            Attempt::Done(done) => return done,
            Attempt::InTheMiddle(done) => done,
        };
        let now = looks();
        if std::mem::replace(&mut before, now) != now && Instant::now() < until {
            pauses = PAUSES.iter();
            changes += 1;
            if changes < CHANGES {
                continue;
            }
        }
        match pauses.next() {
            Some(pause) => std::thread::sleep(*pause),
            None => return done,
        }
    }
}

impl OpenFile {
    /// The size of the file by now.
    ///
    /// # Errors
    /// [`Damage::Size`] in the middle of a change; what the lower filesystem says.
    fn size_now(&self) -> Result<PlainOffset> {
        let lower = storage::fstat(self.fd())?.lower_size();
        layout::plain_size(lower).map_err(|_| Damage::Size.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Time;

    #[test]
    fn a_file_that_the_cluster_has_forgotten_is_stale_and_no_bad_descriptor_of_the_program() {
        assert!(matches!(forgotten(Error::Lower(Errno::BADF)), Error::Lower(Errno::STALE)));
        assert!(matches!(forgotten(Error::Lower(Errno::IO)), Error::Lower(Errno::IO)));
        assert!(matches!(forgotten(Error::Stale), Error::Stale));
    }

    /// How often it is tried, and whether it is damage in the end, if the file changes so often and is whole after so many attempts.
    fn tried(changes: u64, whole_after: u64, until: Instant) -> (u64, bool) {
        let (mut tries, mut looked) = (0, 0);
        let done = attempts(
            until,
            || {
                tries += 1;
                if tries > whole_after {
                    Attempt::Done(Ok(()))
                } else {
                    Attempt::InTheMiddle(Err(Error::Corrupt(Damage::Page(0))))
                }
            },
            || {
                looked = changes.min(looked + 1);
                let time = Time { secs: looked as i64, nanos: 0 };
                Some(Looks::shown(1, time, time))
            },
        );
        (tries, done.is_err())
    }

    #[test]
    fn what_changes_all_the_time_is_read_until_it_can_be_and_what_stays_wrong_is_damage() {
        let soon = Instant::now() + LONGEST;
        // The first attempt has nothing to compare with.
        let pauses = PAUSES.len() as u64;
        assert_eq!(tried(0, u64::MAX, soon), (1 + pauses + 1, true));
        assert_eq!(tried(30, u64::MAX, soon), (30 + pauses + 1, true));
        assert_eq!(tried(200, 100, soon), (101, false));
    }

    #[test]
    fn once_the_time_is_over_changes_make_no_more_attempts() {
        let attempts = PAUSES.len() as u64 + 1;
        assert_eq!(tried(200, u64::MAX, Instant::now()), (attempts, true));
    }
}
