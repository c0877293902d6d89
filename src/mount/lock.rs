//! The vault's lock: whoever holds it is the vault's only user. An flock, so it goes with its holder, however
//! that ends; the file says who it is, for the one who is refused.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::error::MountError;
use super::mountinfo;

const NAME: &str = "lock";

/// How long one holder is waited for: a daemon on its way out has unmounted, and syncs the lower filesystem; a
/// command derives its key and saves.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// The longest holder record that is read, in bytes.
const RECORD_MAX: u64 = 16 << 10;

/// A vault that this process, and those it splits into, have for themselves.
#[derive(Debug)]
pub struct VaultLock {
    vault: PathBuf,
    file: File,
}

/// What the lock file says of its holder. Only ever shown: nothing depends on it.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    command: String,
    mountpoint: Option<String>,
}

impl VaultLock {
    /// Takes the lock of the vault in this directory. If its holder doesn't serve a mount (it is starting, or
    /// on its way out, or a command that is at work), it is given up to 5 s; so is the next one, where many
    /// commands come at once.
    ///
    /// # Errors
    /// [`MountError::InUse`], naming the holder; [`MountError::Vault`] if the lock file can't be opened.
    pub fn take(vault: &Path) -> Result<Self, MountError> {
        Self::take_within(vault, PATIENCE)
    }

    fn take_within(vault: &Path, patience: Duration) -> Result<Self, MountError> {
        let failed =
            |error| MountError::Vault { path: vault.to_owned(), action: "cannot open its lock", error };
        let mut file = open(&vault.join(NAME)).map_err(failed)?;
        wait(vault, &mut file, FlockOperation::NonBlockingLockExclusive, patience)?;
        let lock = Self { vault: vault.to_owned(), file };
        lock.sign(None);
        Ok(lock)
    }

    /// Keeps mounts away from a vault that is only looked at, a copy maybe, on a medium that can't be written
    /// maybe: nothing is written, not who holds it either. Others may look at the same time. `None`: it has no lock
    /// file, so it was never mounted where it lies.
    ///
    /// # Errors
    /// As [`VaultLock::take`].
    pub fn look(vault: &Path) -> Result<Option<Self>, MountError> {
        let failed =
            |error| MountError::Vault { path: vault.to_owned(), action: "cannot open its lock", error };
        let mut file = match open_to_look(&vault.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        wait(vault, &mut file, FlockOperation::NonBlockingLockShared, PATIENCE)?;
        Ok(Some(Self { vault: vault.to_owned(), file }))
    }

    /// Writes down that this process holds the lock, and where it mounts the vault. Called again after a fork.
    pub fn sign(&self, mountpoint: Option<&Path>) {
        let command: Vec<String> =
            std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let holder = Holder {
            pid: std::process::id(),
            command: command.join(" "),
            mountpoint: mountpoint.map(|path| path.to_string_lossy().into_owned()),
        };
        // On a read-only filesystem it stays as it is.
        if let Err(error) = write_holder(&self.file, &holder) {
            tracing::debug!(%error, vault = %self.vault.display(), "the lock's holder is not written down");
        }
    }

    /// The vault.
    pub fn vault(&self) -> &Path {
        &self.vault
    }
}

impl Holder {
    fn serves(&self) -> bool {
        self.mountpoint.as_ref().is_some_and(|mountpoint| {
            mountinfo::mounts()
                .iter()
                .any(|mount| mount.is_vault() && mount.mountpoint.to_string_lossy() == mountpoint.as_str())
        })
    }

    fn describe(&self) -> String {
        let mounted = self.mountpoint.as_ref().map(|at| format!(", mounted at {at}")).unwrap_or_default();
        format!("process {} ({}){mounted}", self.pid, self.command)
    }
}

/// Locks the file as `how` says, with patience for each of its holders.
fn wait(vault: &Path, file: &mut File, how: FlockOperation, patience: Duration) -> Result<(), MountError> {
    let mut deadline = Instant::now() + patience;
    let mut waited_for = None;
    loop {
        match flock(&*file, how) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = read_holder(file);
                // A record that is being written names nobody: that is no new holder.
                if let Some(pid) = holder.as_ref().map(|holder| holder.pid)
                    && waited_for.replace(pid).is_some_and(|before| before != pid)
                {
                    deadline = Instant::now() + patience;
                }
                let over = Instant::now() >= deadline;
                if over || holder.as_ref().is_some_and(Holder::serves) {
                    // Who only looks at the vault shares the lock, and doesn't sign: the record is an old one.
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

/// Whether those who hold the lock share it.
fn is_looked_at(file: &File) -> bool {
    let shared = flock(file, FlockOperation::NonBlockingLockShared).is_ok();
    // Not kept meanwhile: two who wait to have it for themselves would wait for each other.
    shared && flock(file, FlockOperation::Unlock).is_ok()
}

fn open_to_look(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    File::options().read(true).custom_flags(flags).open(path)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    match options.clone().write(true).create(true).mode(0o600).open(path) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EROFS | libc::EACCES)) => options.open(path),
        opened => opened,
    }
}

fn write_holder(mut file: &File, holder: &Holder) -> io::Result<()> {
    let mut record = serde_json::to_vec(holder)?;
    record.push(b'\n');
    file.rewind()?;
    file.write_all(&record)?;
    file.set_len(record.len() as u64)
}

fn read_holder(file: &mut File) -> Option<Holder> {
    file.rewind().ok()?;
    let mut record = Vec::new();
    file.take(RECORD_MAX).read_to_end(&mut record).ok()?;
    serde_json::from_slice(&record).ok()
}

/// The process that holds a vault, as its lock file says; `None` if nobody does.
pub fn holder(vault: &Path) -> Option<u32> {
    let mut file = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(vault.join(NAME)).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => read_holder(&mut file).map(|holder| holder.pid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_other_is_named() {
        let vault = tempfile::tempdir().unwrap();
        let lock = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap();
        assert_eq!(holder(vault.path()), Some(std::process::id()));
        let refused = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        drop(lock);
        assert_eq!(holder(vault.path()), None);
        VaultLock::take_within(vault.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn a_holder_on_its_way_out_is_waited_for() {
        let vault = tempfile::tempdir().unwrap();
        let lock = VaultLock::take(vault.path()).unwrap();
        // As a daemon that has unmounted, but still syncs.
        lock.sign(Some(Path::new("/nowhere")));
        let leaving = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(lock);
        });
        VaultLock::take_within(vault.path(), Duration::from_secs(60)).unwrap();
        leaving.join().unwrap();
    }

    #[test]
    fn each_holder_in_turn_is_given_its_time() {
        let vault = tempfile::tempdir().unwrap();
        let patience = Duration::from_millis(400);
        let sign = |lock: &VaultLock, pid| {
            let holder = Holder { pid, command: "rekeyfs kms".to_owned(), mountpoint: None };
            write_holder(&lock.file, &holder).unwrap();
        };
        let lock = VaultLock::take(vault.path()).unwrap();
        sign(&lock, 1);
        // As a queue of commands: the lock is never free, but its holder changes.
        let queue = std::thread::spawn(move || {
            for pid in 2..=6 {
                std::thread::sleep(patience / 2);
                sign(&lock, pid);
            }
            std::thread::sleep(patience / 2);
        });
        let began = Instant::now();
        VaultLock::take_within(vault.path(), patience).unwrap();
        assert!(began.elapsed() > patience);
        queue.join().unwrap();

        let lock = VaultLock::take(vault.path()).unwrap();
        sign(&lock, 7);
        let refused = VaultLock::take_within(vault.path(), patience).unwrap_err();
        assert!(refused.to_string().contains("process 7"), "{refused}");
    }

    #[test]
    fn looking_shares_the_lock_and_writes_nothing() {
        let vault = tempfile::tempdir().unwrap();
        assert!(VaultLock::look(vault.path()).unwrap().is_none());
        assert!(!vault.path().join(NAME).exists());
        drop(VaultLock::take(vault.path()).unwrap());
        let record = std::fs::read(vault.path().join(NAME)).unwrap();
        let looks = [VaultLock::look(vault.path()).unwrap(), VaultLock::look(vault.path()).unwrap()];
        assert!(looks.iter().all(Option::is_some));
        let refused = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err().to_string();
        assert!(refused.contains("rekeyfs fsck"), "{refused}");
        assert_eq!(std::fs::read(vault.path().join(NAME)).unwrap(), record);
        drop(looks);
        drop(VaultLock::take_within(vault.path(), Duration::ZERO).unwrap());
    }

    #[test]
    fn a_torn_record_names_nobody() {
        let vault = tempfile::tempdir().unwrap();
        let _lock = VaultLock::take(vault.path()).unwrap();
        std::fs::write(vault.path().join(NAME), b"{\"pid\":1").unwrap();
        let refused = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains("another process"), "{refused}");
    }
}
