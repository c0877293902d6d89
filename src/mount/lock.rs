//! The vault's lock: its holder is the vault's only user. It is an flock, so it is released however the holder ends. The file
//! records the holder, for the message to a process that is refused, and is emptied when the lock is released.
//!
//! The file lies beside the ciphertext, where others may read and write it. So it holds no more than the holder's process,
//! host and subcommand. The time to wait for the holder depends on its content, and whether a host that ended without unmounting
//! is in the way (`lost_host`); nothing else does. Only the vault's owner can
//! open it (0600), so that nobody else can hold the lock. In a vault that this program may only read (`storage::Writable`)
//! it is locked and not written.

mod lost_host;
mod record;
mod taken_over;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use super::error::MountError;
use super::mountinfo::Mount;
use super::mountpoint::is_dead;
use crate::keyring::{KeyringDir, KeyringFile};
use crate::storage::{self, Access, Errno, Walked, Writable, walk};

pub use lost_host::{Fencing, LostHost, SharedFilesystem};
pub(super) use record::host;
use record::{Holder, NAME, Record};
pub use taken_over::TakeOverWatch;

/// How long one holder is waited for. A daemon that is ending has unmounted and syncs the lower filesystem; a command derives
/// its key and saves.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// The lock of a vault, held by this process and its forked children.
#[derive(Debug)]
pub struct VaultLock {
    vault: PathBuf,
    dir: OwnedFd,
    file: File,
    writable: Option<Writable>,
    /// Whether other hosts may see it: the record is durable then.
    shared: bool,
    /// This host's name when the lock was taken. It may be given another one meanwhile, and what this process wrote is of this
    /// host still.
    host: String,
    /// Whether the record is there, as this process wrote it.
    recorded: AtomicBool,
    /// The process that wrote the record, and that empties it; 0: none.
    signed: AtomicU32,
}

impl VaultLock {
    /// Takes the lock of the vault in this directory. Waits up to 5 s for a holder that serves no mount (it is starting or ending,
    /// or a command at work), and as long for each further holder, if many commands run at once.
    ///
    /// # Errors
    /// [`MountError::InUse`], naming the holder; [`MountError::HostLost`] if another host ended without unmounting;
    /// [`MountError::Vault`] if the lock file can't be opened.
    pub fn take(vault: &Path) -> Result<Self, MountError> {
        Self::take_within(vault, PATIENCE)
    }

    /// As [`VaultLock::take`], for a directory whose keyring was read: `writable`, if this program may write the vault.
    ///
    /// # Errors
    /// As [`VaultLock::take`].
    pub fn take_in(dir: &KeyringDir, writable: Option<Writable>) -> Result<Self, MountError> {
        Self::take_from(dir.path(), dir.descriptor()?, writable, PATIENCE)
    }

    fn take_within(vault: &Path, patience: Duration) -> Result<Self, MountError> {
        let failed = |error| cannot_open(vault, error);
        let dir = open_vault(vault).map_err(failed)?;
        Self::take_from(vault, dir, KeyringFile::writable(vault).ok(), patience)
    }

    fn take_from(
        vault: &Path,
        dir: OwnedFd,
        writable: Option<Writable>,
        patience: Duration,
    ) -> Result<Self, MountError> {
        let failed = |error| cannot_open(vault, error);
        let (lock, shared) = Self::hold(vault, dir, writable, patience)?;
        if let Some(shared) = shared {
            match lock.other_host()?.filter(|lost| lost.changes) {
                Some(lost) => {
                    lost.allow(vault, &shared)?;
                    if !lost.stands_still(lock.dir()).map_err(|error| failed(error.into()))? {
                        return Err(lock.renewed_by(&lost));
                    }
                }
                None => lock.write_remains(),
            }
        }
        lock.write(None, false);
        Ok(lock)
    }

    /// Takes the lock and leaves the record as it is.
    fn hold(
        vault: &Path,
        dir: OwnedFd,
        writable: Option<Writable>,
        patience: Duration,
    ) -> Result<(Self, Option<SharedFilesystem>), MountError> {
        let failed = |error| cannot_open(vault, error);
        let mut file = open(dir.as_fd(), writable).map_err(|error| failed(error.into()))?;
        wait(vault, &mut file, FlockOperation::NonBlockingLockExclusive, patience)?;
        let shared = SharedFilesystem::of(dir.as_fd());
        let (vault, host) = (vault.to_owned(), host());
        let (recorded, signed) = (AtomicBool::new(false), AtomicU32::new(0));
        let lock = Self { vault, dir, file, writable, shared: shared.is_some(), host, recorded, signed };
        Ok((lock, shared))
    }

    /// As [`VaultLock::take`], and a host that ended without unmounting is no obstacle: returned, its record stays until
    /// [`VaultLock::forget_lost_host`].
    ///
    /// # Errors
    /// [`MountError::InUse`], [`MountError::Vault`].
    pub fn take_over(vault: &Path) -> Result<(Self, Option<LostHost>), MountError> {
        let failed = |error| cannot_open(vault, error);
        let dir = open_vault(vault).map_err(failed)?;
        let (lock, _) = Self::hold(vault, dir, KeyringFile::writable(vault).ok(), PATIENCE)?;
        let lost = lock.other_host()?.filter(|lost| lost.changes);
        if lost.is_none() {
            lock.write_remains();
            lock.write(None, false);
        }
        Ok((lock, lost))
    }

    /// How long what a lost host's client of the cluster has still to send is waited for: as long as somebody says, and at least until
    /// a lease that it had is over.
    ///
    /// # Errors
    /// [`MountError::Vault`] if the records can't be read.
    pub fn drain_time(&self, lost: &LostHost, asked: Option<Duration>) -> Result<Duration, MountError> {
        let usual = || SharedFilesystem::of(self.dir()).map_or(Duration::ZERO, |shared| shared.drain());
        let least = lost.least_drain(self.dir());
        let least = least.map_err(|error| self.failed("cannot read the records in hosts", error.into()))?;
        Ok(asked.unwrap_or_else(usual).max(least))
    }

    /// Waits for so long, that what a lost host's client of the cluster has still to send arrives before anybody changes the vault. The
    /// host's record stands meanwhile, and others are refused.
    ///
    /// # Errors
    /// [`MountError::InUse`] if it renews its lease: it lives; or if the record is another one by now; [`MountError::Vault`].
    pub fn drain(&self, lost: &LostHost, time: Duration) -> Result<(), MountError> {
        let still = lost.stands_still_for(self.dir(), time);
        let still = still.map_err(|error| self.failed("cannot read the records in hosts", error.into()))?;
        if still { self.still_of(lost) } else { Err(self.renewed_by(lost)) }
    }

    /// The record is still the lost host's: the lock may have been lost in what was waited for, and another host have taken over.
    fn still_of(&self, lost: &LostHost) -> Result<(), MountError> {
        if self.other_host()?.as_ref() == Some(lost) {
            return Ok(());
        }
        let holder = "another host, which has taken it over".to_owned();
        Err(MountError::InUse { path: self.vault.clone(), holder })
    }

    fn renewed_by(&self, lost: &LostHost) -> MountError {
        let holder = format!("host {}, which renews its lease of it", lost.name.escape_default());
        MountError::InUse { path: self.vault.clone(), holder }
    }

    fn failed(&self, action: &'static str, error: io::Error) -> MountError {
        MountError::Vault { path: self.vault.clone(), action, error }
    }

    /// Has what an earlier process of this host wrote, and didn't live to sync, sent to the cluster, before the record says that
    /// this host is in nobody's way: another one would go on without this host's being evicted.
    fn write_remains(&self) {
        let left = Record::of(self.dir());
        let left_something = matches!(&left, Ok(Record::Of(holder)) if holder.changes);
        if !self.shared || self.writable.is_none() || !left_something {
            return;
        }
        if let Err(error) = storage::syncfs(self.dir()) {
            tracing::warn!(
                "{}: what an earlier process of this host wrote last can't be written to its filesystem, and is lost: {error}",
                self.vault.display()
            );
        }
    }

    /// Empties the record of a host that is dead, durably.
    ///
    /// # Errors
    /// [`MountError::InUse`] if the record is another one by now; [`MountError::Vault`].
    pub fn forget_lost_host(&self, lost: &LostHost) -> Result<(), MountError> {
        // A mount whose record is emptied ends.
        self.still_of(lost)?;
        let emptied = self.file.set_len(0).and_then(|()| self.file.sync_all());
        emptied.map_err(|error| self.failed("cannot empty the record in its lock", error))
    }

    /// No lock: of a mount that reads beside one that has it.
    ///
    /// # Errors
    /// [`MountError::Vault`] if the vault's directory can't be opened.
    pub fn beside(vault: &Path) -> Result<Self, MountError> {
        let failed = |error| cannot_open(vault, error);
        let dir = open_vault(vault).map_err(failed)?;
        // Nothing is locked, and nothing is written, for want of leave.
        let file = dir.try_clone().map_err(failed)?.into();
        let (vault, host) = (vault.to_owned(), String::new());
        let (recorded, signed) = (AtomicBool::new(false), AtomicU32::new(0));
        Ok(Self { vault, dir, file, writable: None, shared: false, host, recorded, signed })
    }

    /// Keeps mounts away from a vault that is only read, such as a copy, or one on a read-only medium. Nothing is written, not
    /// even the holder. Others may read at the same time. `None`: it has no lock file, so it was never mounted there.
    ///
    /// # Errors
    /// As [`VaultLock::take`].
    pub fn look(vault: &Path) -> Result<Option<Self>, MountError> {
        let failed = |error| cannot_open(vault, error);
        let dir = open_vault(vault).map_err(failed)?;
        let mut file: File = match storage::open_file(dir.as_fd(), NAME, Access::ReadOnly) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        wait(vault, &mut file, FlockOperation::NonBlockingLockShared, PATIENCE)?;
        let (vault, host) = (vault.to_owned(), String::new());
        let (recorded, signed) = (AtomicBool::new(false), AtomicU32::new(0));
        Ok(Some(Self { vault, dir, file, writable: None, shared: false, host, recorded, signed }))
    }

    /// Records that this process may change the vault from now on: the secret was given. Until then a host that is lost is in nobody's
    /// way.
    ///
    /// # Errors
    /// [`MountError::InUse`] if another host has taken the vault over meanwhile, for the lock was lost.
    pub fn sign(&self) -> Result<(), MountError> {
        self.sign_as(None)
    }

    /// Records that this process serves the mount with this device number.
    ///
    /// # Errors
    /// As [`VaultLock::sign`].
    pub fn serves(&self, device: u64) -> Result<(), MountError> {
        self.sign_as(Some(device))
    }

    /// Records that another secret is waited for: the one that was given opened nothing, so nothing was changed.
    pub fn await_secret(&self) {
        if self.recorded.load(Ordering::Relaxed) && matches!(self.other_host(), Ok(Some(_)) | Err(_)) {
            // Another host that has the vault by now is named at the next attempt.
            return;
        }
        self.write(None, false);
    }

    fn sign_as(&self, serves: Option<u64>) -> Result<(), MountError> {
        // Its record stands: by it the other host sees that it has the vault.
        if self.recorded.load(Ordering::Relaxed)
            && let Some(other) = self.other_host()?
        {
            let holder = format!("host {}, which has taken it over", other.name.escape_default());
            return Err(MountError::InUse { path: self.vault.clone(), holder });
        }
        self.write(serves, true);
        Ok(())
    }

    /// The other host whose record is there, where several hosts can have the vault.
    fn other_host(&self) -> Result<Option<LostHost>, MountError> {
        if !self.shared {
            return Ok(None);
        }
        LostHost::of(self.dir(), &self.host)
            .map_err(|error| self.failed("cannot read the record in its lock", error))
    }

    fn write(&self, serves: Option<u64>, changes: bool) {
        if self.writable.is_none() {
            return;
        }
        let holder = Holder::this_process(&self.host, serves, changes);
        self.signed.store(holder.pid, Ordering::Relaxed);
        let written = holder.write(&self.file).and_then(|()| self.make_durable());
        self.recorded.store(written.is_ok(), Ordering::Relaxed);
        let Err(error) = written else { return };
        let vault = self.vault.display();
        // On a read-only filesystem, where the file is open to be read, it stays as it is.
        if self.shared && error.raw_os_error() != Some(Errno::BADF.raw_os_error()) {
            tracing::warn!(
                "{vault}: that this host has it in use can't be recorded ({error}): if it is lost, no other host is kept away"
            );
        } else {
            tracing::debug!(%error, %vault, "the lock's holder is not written down");
        }
    }

    /// What the record says, for other hosts.
    fn make_durable(&self) -> io::Result<()> {
        if self.shared { self.file.sync_data() } else { Ok(()) }
    }

    /// Leaves the lock to the forked child.
    pub fn leave_to_child(&self) {
        self.signed.store(0, Ordering::Relaxed);
    }

    /// Watches whether another host takes the vault over, where one can: then this process ends.
    ///
    /// # Errors
    /// If no descriptor or thread can be had.
    pub fn watch(&self) -> io::Result<Option<TakeOverWatch>> {
        // Who doesn't write the record can't see that it was replaced.
        if !self.shared || self.writable.is_none() {
            return Ok(None);
        }
        let (dir, recorded) = (self.dir.try_clone()?, self.recorded.load(Ordering::Relaxed));
        TakeOverWatch::start(dir, self.vault.clone(), self.host.clone(), recorded).map(Some)
    }

    /// Empties the record, if this process wrote it and no other host has done so since. It holds the lock still, as far as it knows.
    pub fn clear(&self) {
        let taken_over = || !matches!(self.other_host(), Ok(None));
        if self.signed.swap(0, Ordering::Relaxed) == std::process::id() && !taken_over() {
            let _ = self.file.set_len(0).and_then(|()| self.make_durable());
        }
    }

    /// The vault's directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Drop for VaultLock {
    /// The lock itself is released with its last descriptor.
    fn drop(&mut self) {
        self.clear();
    }
}

/// The mount that the holder of this vault's lock serves, by its own record, if it is there and its daemon lives. The record is
/// no proof: it may only decide what is waited for.
pub fn served_mount(vault: BorrowedFd<'_>) -> Option<Mount> {
    let mut file = storage::open_file(vault, NAME, Access::ReadOnly).ok()?.into();
    Holder::read(&mut file)?.mount().filter(|mount| !is_dead(mount))
}

/// Who has a vault's lock, or ended without giving it back, by the record.
#[derive(Debug)]
pub struct LockHolder {
    /// The host's name; `None`: an older program, or the record isn't whole.
    pub host: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// Its subcommand.
    pub command: Option<String>,
    /// Whether it serves a mount.
    pub mount: bool,
    /// Whether that is this host.
    pub here: bool,
    /// Whether it holds the lock.
    pub holds: bool,
}

/// Who uses a vault, as far as can be known without a secret. Takes no lock for longer than it looks.
///
/// # Errors
/// [`MountError::Vault`] if the lock file can't be opened.
pub fn lock_holder(vault: &Path) -> Result<(Option<LockHolder>, Option<SharedFilesystem>), MountError> {
    let failed = |error| cannot_open(vault, error);
    let dir = open_vault(vault).map_err(failed)?;
    let shared = SharedFilesystem::of(dir.as_fd());
    let mut file: File = match storage::open_file(dir.as_fd(), NAME, Access::ReadOnly) {
        Ok(file) => file.into(),
        Err(Errno::NOENT) => return Ok((None, shared)),
        Err(error) => return Err(failed(error.into())),
    };
    // What only reads shares the lock, and isn't told of.
    let holds = !is_looked_at(&file);
    let record = match Record::read(&mut file).map_err(failed)? {
        Record::Empty if !holds => return Ok((None, shared)),
        // It waited for a secret, and is in nobody's way.
        Record::Of(holder) if !holds && !holder.changes => return Ok((None, shared)),
        Record::Of(holder) => Some(holder),
        Record::Empty | Record::Torn => None,
    };
    let holder = LockHolder {
        host: record.as_ref().map(|record| record.host.clone()).filter(|host| !host.is_empty()),
        pid: record.as_ref().map(|record| record.pid),
        command: record.as_ref().and_then(Holder::command).map(str::to_owned),
        mount: record.as_ref().is_some_and(Holder::serves_a_mount),
        here: record.as_ref().is_some_and(|record| !record.is_of_another_host()),
        holds,
    };
    Ok((Some(holder), shared))
}

/// Locks the file as `how` says. Waits for each of its holders.
fn wait(vault: &Path, file: &mut File, how: FlockOperation, patience: Duration) -> Result<(), MountError> {
    let mut deadline = Instant::now() + patience;
    let mut waited_for = None;
    loop {
        match flock(&*file, how) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = Holder::read(file);
                // An empty record is just being written: that is no new holder.
                if let Some(pid) = holder.as_ref().map(|holder| holder.pid)
                    && waited_for.replace(pid).is_some_and(|before| before != pid)
                {
                    deadline = Instant::now() + patience;
                }
                let over = Instant::now() >= deadline;
                if over || holder.as_ref().is_some_and(|holder| holder.mount().is_some()) {
                    // A process that only reads the vault shares the lock and writes no record: the record is an old one.
                    let looked_at = is_looked_at(file);
                    if over || !looked_at {
                        let described = holder.filter(|_| !looked_at).map(|holder| holder.describe());
                        let another =
                            if looked_at { "`rekeyfs fsck`, which reads it" } else { "another process" };
                        let holder = described.unwrap_or_else(|| another.to_owned());
                        return Err(MountError::InUse { path: vault.to_owned(), holder });
                    }
                }
                std::thread::sleep(POLL);
            }
            Err(error) => {
                let (path, action) = (vault.to_owned(), "cannot take its lock");
                return Err(MountError::Vault { path, action, error: error.into() });
            }
        }
    }
}

/// Whether the lock is held shared.
fn is_looked_at(file: &File) -> bool {
    let shared = flock(file, FlockOperation::NonBlockingLockShared).is_ok();
    // Released at once: two processes that wait for the exclusive lock would wait for each other.
    shared && flock(file, FlockOperation::Unlock).is_ok()
}

fn cannot_open(vault: &Path, error: io::Error) -> MountError {
    MountError::Vault { path: vault.to_owned(), action: "cannot open its lock", error }
}

fn open_vault(vault: &Path) -> io::Result<OwnedFd> {
    let dir = walk(vault, geteuid().as_raw()).and_then(Walked::there)?;
    Ok(storage::open_dir(dir.fd(), b".")?)
}

fn open(dir: BorrowedFd<'_>, writable: Option<Writable>) -> storage::Result<File> {
    let opened = match writable {
        Some(_) => storage::open_lock(dir, NAME),
        None => storage::open_file(dir, NAME, Access::ReadOnly),
    };
    match opened {
        // A copy without a lock file, on a read-only medium or in a vault that may only be read: readers lock its directory
        // instead. Nobody can hold a lock file that doesn't exist.
        Err(Errno::ROFS) => storage::open_dir(dir, b".").map(File::from),
        Err(Errno::NOENT) if writable.is_none() => storage::open_dir(dir, b".").map(File::from),
        opened => opened.map(File::from),
    }
}

#[cfg(test)]
mod tests;
