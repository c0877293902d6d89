//! The vault's lock: its holder is the vault's only user. It is an flock, so it is released however the holder ends. The file
//! records the holder, for the message to a process that is refused, and is emptied when the lock is released.
//!
//! The file lies beside the ciphertext, where others may read and write it. So it holds no more than the holder's process,
//! host and subcommand, and nothing but the time to wait for the holder depends on its content. Only the vault's owner can
//! open it (0600), so that nobody else can hold the lock. In a vault that this program may only read (`storage::Writable`)
//! it is locked and not written.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::error::MountError;
use super::mountinfo::{self, Mount};
use super::mountpoint::is_dead;
use crate::keyring::{KeyringDir, KeyringFile};
use crate::storage::{self, Access, Errno, Walked, Writable, walk};

const NAME: &[u8] = b"lock";

/// How long one holder is waited for. A daemon that is ending has unmounted and syncs the lower filesystem; a command derives
/// its key and saves.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// The longest holder record that is read, in bytes.
const RECORD_MAX: u64 = 16 << 10;

/// The lock of a vault, held by this process and its forked children.
#[derive(Debug)]
pub struct VaultLock {
    vault: PathBuf,
    dir: OwnedFd,
    file: File,
    writable: Option<Writable>,
    /// The process that wrote the record, and that empties it; 0: none.
    signed: AtomicU32,
}

/// The record in the lock file.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    /// Older programs don't record it.
    #[serde(default)]
    host: String,
    /// The subcommand's name. Older programs wrote the whole command line.
    command: String,
    /// The device number of the mount that it serves.
    #[serde(default)]
    serves: Option<u64>,
}

impl VaultLock {
    /// Takes the lock of the vault in this directory. Waits up to 5 s for a holder that serves no mount (it is starting or ending,
    /// or a command at work), and as long for each further holder, if many commands run at once.
    ///
    /// # Errors
    /// [`MountError::InUse`], naming the holder; [`MountError::Vault`] if the lock file can't be opened.
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
        let failed =
            |error| MountError::Vault { path: vault.to_owned(), action: "cannot open its lock", error };
        let dir = open_vault(vault).map_err(failed)?;
        Self::take_from(vault, dir, KeyringFile::writable(vault).ok(), patience)
    }

    fn take_from(
        vault: &Path,
        dir: OwnedFd,
        writable: Option<Writable>,
        patience: Duration,
    ) -> Result<Self, MountError> {
        let failed =
            |error| MountError::Vault { path: vault.to_owned(), action: "cannot open its lock", error };
        let mut file = open(dir.as_fd(), writable).map_err(|error| failed(error.into()))?;
        wait(vault, &mut file, FlockOperation::NonBlockingLockExclusive, patience)?;
        let lock = Self { vault: vault.to_owned(), dir, file, writable, signed: AtomicU32::new(0) };
        lock.sign();
        Ok(lock)
    }

    /// Keeps mounts away from a vault that is only read, such as a copy, or one on a read-only medium. Nothing is written, not
    /// even the holder. Others may read at the same time. `None`: it has no lock file, so it was never mounted there.
    ///
    /// # Errors
    /// As [`VaultLock::take`].
    pub fn look(vault: &Path) -> Result<Option<Self>, MountError> {
        let failed =
            |error| MountError::Vault { path: vault.to_owned(), action: "cannot open its lock", error };
        let dir = open_vault(vault).map_err(failed)?;
        let mut file: File = match storage::open_file(dir.as_fd(), NAME, Access::ReadOnly) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        wait(vault, &mut file, FlockOperation::NonBlockingLockShared, PATIENCE)?;
        Ok(Some(Self { vault: vault.to_owned(), dir, file, writable: None, signed: AtomicU32::new(0) }))
    }

    /// Records that this process holds the lock. Called again after a fork.
    pub fn sign(&self) {
        self.write(None);
    }

    /// Records that this process serves the mount with this device number.
    pub fn serves(&self, device: u64) {
        self.write(Some(device));
    }

    fn write(&self, serves: Option<u64>) {
        if self.writable.is_none() {
            return;
        }
        let pid = std::process::id();
        let holder = Holder { pid, host: host(), command: subcommand(), serves };
        self.signed.store(pid, Ordering::Relaxed);
        // On a read-only filesystem it stays as it is.
        if let Err(error) = write_holder(&self.file, &holder) {
            tracing::debug!(%error, vault = %self.vault.display(), "the lock's holder is not written down");
        }
    }

    /// Leaves the lock to the forked child.
    pub fn leave_to_child(&self) {
        self.signed.store(0, Ordering::Relaxed);
    }

    /// Empties the record, if this process wrote it. It holds the lock still.
    pub fn clear(&self) {
        if self.signed.swap(0, Ordering::Relaxed) == std::process::id() {
            let _ = self.file.set_len(0);
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
    read_holder(&mut file)?.mount().filter(|mount| !is_dead(mount))
}

impl Holder {
    /// The mount that the holder serves, if there is one.
    fn mount(&self) -> Option<Mount> {
        let device = self.serves.filter(|_| self.host == host())?;
        mountinfo::mounts().into_iter().find(|mount| mount.is_vault() && mount.device == device)
    }

    fn describe(&self) -> String {
        let mut text = format!("process {}", self.pid);
        // Anyone who can write the ciphertext can write this too, and an older program wrote secrets.
        if is_word(&self.command) {
            text += &format!(" (rekeyfs {})", self.command);
        }
        if !self.host.is_empty() && self.host != host() {
            text += &format!(" of another host ({})", self.host.escape_default());
        }
        if let Some(mount) = self.mount() {
            text += &format!(", mounted at {}", mount.mountpoint.display());
        } else if self.serves.is_some() && self.host == host() {
            text += ", whose mount is detached, or in another mount namespace, and still in use";
        }
        text
    }
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
                let holder = read_holder(file);
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

fn open_vault(vault: &Path) -> io::Result<OwnedFd> {
    let dir = walk(vault, geteuid().as_raw()).and_then(Walked::there)?;
    Ok(storage::open_dir(dir.fd(), b".")?)
}

/// The subcommand of this process: the first word of its command line. The rest may hold secrets and isn't recorded.
fn subcommand() -> String {
    let mut words = std::env::args_os();
    // mount(8) gives the vault first.
    let program = words.next().map(PathBuf::from);
    let helper = program
        .as_deref()
        .and_then(Path::file_name)
        .is_some_and(|name| name.as_bytes().starts_with(b"mount."));
    let first = words.next().and_then(|word| word.into_string().ok()).filter(|word| !helper && is_word(word));
    first.unwrap_or_else(|| "mount".to_owned())
}

fn is_word(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim_end().to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn record(vault: &Path) -> String {
        std::fs::read_to_string(vault.join("lock")).unwrap()
    }

    #[test]
    fn the_record_is_of_the_process_and_nothing_it_was_told() {
        let vault = tempfile::tempdir().unwrap();
        let lock = VaultLock::take(vault.path()).unwrap();
        let holder: serde_json::Value = serde_json::from_str(&record(vault.path())).unwrap();
        let fields: Vec<&String> = holder.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["pid", "host", "command", "serves"]);
        assert!(is_word(holder["command"].as_str().unwrap()));
        lock.leave_to_child();
        drop(lock);
        assert_ne!(record(vault.path()), "", "it is the child's");
    }

    #[test]
    fn what_an_older_program_or_someone_else_wrote_is_not_shown() {
        let vault = tempfile::tempdir().unwrap();
        let _lock = VaultLock::take(vault.path()).unwrap();
        for command in ["rekeyfs mount v m --extpass 'echo secret'", "\u{1b}[31m", "", "secret word"] {
            let holder = serde_json::json!({"pid": 7, "command": command, "mountpoint": "/secret"});
            std::fs::write(vault.path().join("lock"), holder.to_string()).unwrap();
            let refused = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err().to_string();
            assert!(refused.contains("in use by process 7;"), "{refused}");
        }
    }

    #[test]
    fn a_lock_that_stands_for_another_file_is_refused_and_an_open_one_is_shut() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let vault = tempfile::tempdir().unwrap();
        let (lock, other) = (vault.path().join("lock"), vault.path().join("other"));
        std::fs::write(&other, b"of another").unwrap();
        symlink(&other, &lock).unwrap();
        VaultLock::take(vault.path()).unwrap_err();
        if geteuid().is_root() {
            // As the owner of a vault could have root write into a file of root's.
            std::fs::remove_file(&lock).unwrap();
            std::fs::hard_link(&other, &lock).unwrap();
            std::os::unix::fs::chown(vault.path(), Some(65_533), None).unwrap();
            VaultLock::take(vault.path()).unwrap_err();
            std::os::unix::fs::chown(vault.path(), Some(0), None).unwrap();
        }
        assert_eq!(std::fs::read(&other).unwrap(), b"of another");
        std::fs::remove_file(&lock).unwrap();
        std::fs::write(&lock, b"").unwrap();
        std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o666)).unwrap();
        drop(VaultLock::take(vault.path()).unwrap());
        assert_eq!(lock.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn one_at_a_time_and_the_other_is_named() {
        let vault = tempfile::tempdir().unwrap();
        let lock = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap();
        let refused = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        drop(lock);
        assert_eq!(record(vault.path()), "", "emptied when the lock is given up");
        VaultLock::take_within(vault.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn a_holder_on_its_way_out_is_waited_for() {
        let vault = tempfile::tempdir().unwrap();
        let lock = VaultLock::take(vault.path()).unwrap();
        // As a daemon that has unmounted, but still syncs.
        lock.serves(u64::MAX);
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
            let holder = Holder { pid, host: host(), command: "kms".to_owned(), serves: None };
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
        assert!(!vault.path().join("lock").exists());
        drop(VaultLock::take(vault.path()).unwrap());
        let record = std::fs::read(vault.path().join("lock")).unwrap();
        let looks = [VaultLock::look(vault.path()).unwrap(), VaultLock::look(vault.path()).unwrap()];
        assert!(looks.iter().all(Option::is_some));
        let refused = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err().to_string();
        assert!(refused.contains("rekeyfs fsck"), "{refused}");
        assert_eq!(std::fs::read(vault.path().join("lock")).unwrap(), record);
        drop(looks);
        drop(VaultLock::take_within(vault.path(), Duration::ZERO).unwrap());
    }

    #[test]
    fn in_a_vault_that_may_only_be_read_the_lock_is_taken_as_it_is() {
        // No more of a keyring than can be told without a secret.
        let header = |ro_compat: u32| {
            let json =
                br#"{"vault":"44d8dc31-fa24-42b6-b006-6dae0ab64958","suite":"aes-256-gcm","slots":[]}"#;
            let mut bytes = b"RKFK\x01\0\0\0\0\0".to_vec();
            bytes.extend_from_slice(&ro_compat.to_le_bytes());
            bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
            bytes.extend_from_slice(json);
            bytes
        };
        let vault = tempfile::tempdir().unwrap();
        let keyring = vault.path().join("keyring");
        std::fs::write(&keyring, header(1 << 31)).unwrap();
        let lock = VaultLock::take(vault.path()).unwrap();
        assert!(!vault.path().join("lock").exists());
        VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err();
        drop(lock);
        std::fs::write(&keyring, header(0)).unwrap();
        drop(VaultLock::take(vault.path()).unwrap());
        std::fs::write(&keyring, header(1 << 31)).unwrap();
        let made = vault.path().join("lock").metadata().unwrap().modified().unwrap();
        let lock = VaultLock::take(vault.path()).unwrap();
        lock.serves(7);
        VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err();
        assert_eq!(record(vault.path()), "");
        drop(lock);
        assert_eq!(vault.path().join("lock").metadata().unwrap().modified().unwrap(), made);
        VaultLock::take_within(vault.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn a_torn_record_names_nobody() {
        let vault = tempfile::tempdir().unwrap();
        let _lock = VaultLock::take(vault.path()).unwrap();
        std::fs::write(vault.path().join("lock"), b"{\"pid\":1").unwrap();
        let refused = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains("another process"), "{refused}");
    }
}
