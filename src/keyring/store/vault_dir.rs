//! The vault directory as the keyring sees it: reads the file, locks it, and replaces it. A power cut at any instant
//! leaves the old keyring or the new one, whole.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::crypto::seal::{NONCE, TAG};
use crate::ids::{Generation, LowerOffset};
use crate::keyring::error::{KeyringError, Left};
use crate::keyring::format::body;
use crate::keyring::format::header::Header;
use crate::names::TEMPORARY_PREFIX;
use crate::storage::{self, Access, DirStream, Errno, FileKind, RenameFlags, Writable};

/// The keyring's name in the vault directory.
pub const FILE_NAME: &str = "keyring";
/// The generation before it.
pub const PREV_NAME: &str = "keyring.prev";
/// The name of the directory of ciphertext in the vault directory.
pub(in crate::keyring) const TREE_NAME: &str = "tree";
/// Follows the name of a keyring that an import set aside; the generation that the import made follows it.
const REPLACED: &str = ".replaced-by-";
/// The largest file, in bytes: frame and header take at most 1 MiB and some bytes.
pub(in crate::keyring) const MAX_FILE_LEN: u64 = (body::MAX_LEN + (2 << 20)) as u64;
/// The file that is locked while the keyring is changed.
pub const LOCK_NAME: &str = "keyring.lock";
/// How long a change waits for another process that changes the keyring.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How long a change waits for an older program's lock: as long as a save takes.
const SAVE_PATIENCE: Duration = Duration::from_secs(2);

type Result<T> = std::result::Result<T, KeyringError>;

/// Whether a name is that of a keyring that an import set aside.
pub fn is_set_aside(name: &[u8]) -> bool {
    let after = |prefix: &str| name.strip_prefix(prefix.as_bytes())?.strip_prefix(REPLACED.as_bytes());
    let number = after(FILE_NAME).or_else(|| after(PREV_NAME));
    number.is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

/// A vault directory, as far as the keyring is concerned.
pub(in crate::keyring) struct VaultDir {
    fd: OwnedFd,
    path: PathBuf,
}

/// Identifies one saved keyring file without reading all of it: its length, what is before its body, the nonce (random for
/// each save) and the tag.
#[derive(Clone)]
pub(in crate::keyring) struct Fingerprint {
    len: u64,
    head: Vec<u8>,
    tag: [u8; TAG],
}

impl Fingerprint {
    /// The fingerprint of a file whose sealed body begins after `aad` bytes.
    pub(in crate::keyring) fn of(bytes: &[u8], aad: usize) -> Self {
        let head = bytes.get(..aad + NONCE).unwrap_or(bytes).to_vec();
        Self { len: bytes.len() as u64, head, tag: bytes.last_chunk().copied().unwrap_or_default() }
    }
}

/// The exclusive right to change the keyring's files, while it is held. Functions that change them take it.
pub(in crate::keyring) struct KeyringLock {
    _held: Held,
}

/// Keeps others from changing the keyring's files while it is held.
pub(in crate::keyring) struct Held {
    _file: Option<OwnedFd>,
    _dir: OwnedFd,
}

impl VaultDir {
    /// A symlink of another user isn't followed: it could lead root to another vault than was named.
    pub(in crate::keyring) fn open(path: &Path) -> Result<Self> {
        let failed =
            |e| KeyringError::Io { path: path.to_owned(), what: "open the vault directory", source: e };
        let (fd, path) = storage::open_walked(path).map_err(failed)?;
        Ok(Self { fd, path })
    }

    /// The directory that `fd` stands for, and which was found at `path`: absolute, without symlinks.
    pub(in crate::keyring) fn at(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path }
    }

    /// The canonical path.
    pub(in crate::keyring) fn path(&self) -> &Path {
        &self.path
    }

    /// Another descriptor of the directory.
    pub(in crate::keyring) fn descriptor(&self) -> Result<OwnedFd> {
        self.fd.try_clone().map_err(|e| self.io(".", "duplicate its descriptor", e))
    }

    /// The same directory, for another owner.
    pub(in crate::keyring) fn again(&self) -> Result<Self> {
        Ok(Self { fd: self.descriptor()?, path: self.path.clone() })
    }

    /// Its descriptor.
    pub(in crate::keyring) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn io(&self, name: &str, what: &'static str, e: impl Into<io::Error>) -> KeyringError {
        KeyringError::Io { path: self.path.join(name), what, source: e.into() }
    }

    /// The permission to write the vault whose keyring has this header.
    ///
    /// # Errors
    /// [`KeyringError::MayOnlyRead`].
    pub(in crate::keyring) fn writable(&self, header: &Header) -> Result<Writable> {
        header.writable().map_err(|features| KeyringError::MayOnlyRead { vault: self.path.clone(), features })
    }

    fn has_prev(&self) -> bool {
        storage::stat(self.fd(), PREV_NAME.as_bytes()).is_ok()
    }

    /// What it has of a vault besides a keyring.
    pub(in crate::keyring) fn left(&self) -> Left {
        match () {
            () if self.has_prev() => Left::Previous,
            () if storage::stat(self.fd(), b"tree").is_ok() => Left::Tree,
            () => Left::Nothing,
        }
    }

    pub(in crate::keyring) fn damaged(&self, what: String) -> KeyringError {
        KeyringError::Damaged { vault: self.path.clone(), what, prev: self.has_prev() }
    }

    /// The whole keyring file.
    pub(in crate::keyring) fn read(&self) -> Result<Vec<u8>> {
        self.read_file(FILE_NAME)?
            .ok_or_else(|| KeyringError::Missing { vault: self.path.clone(), left: self.left() })
    }

    /// The whole of `keyring.prev`; `None`: there is none.
    pub(in crate::keyring) fn read_prev(&self) -> Result<Option<Vec<u8>>> {
        self.read_file(PREV_NAME)
    }

    /// The whole of a file here, of whatever name.
    pub(in crate::keyring) fn read_named(&self, name: &str) -> Result<Vec<u8>> {
        let none = || self.io(name, "read the keyring", io::Error::from(io::ErrorKind::NotFound));
        self.read_file(name)?.ok_or_else(none)
    }

    fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some((file, size)) = self.open_file(name)? else { return Ok(None) };
        storage::read_all(file.as_fd(), size as usize).map(Some).map_err(|e| self.io(name, "read it", e))
    }

    /// Whether the keyring file on disk has this fingerprint.
    pub(in crate::keyring) fn is_current(&self, fingerprint: &Fingerprint) -> Result<bool> {
        let Some((file, size)) = self.open_file(FILE_NAME)? else { return Ok(false) };
        if size != fingerprint.len {
            return Ok(false);
        }
        let (mut head, mut tag) = (vec![0; fingerprint.head.len()], [0; TAG]);
        let io = |e| self.io(FILE_NAME, "read it", e);
        let read = storage::pread(file.as_fd(), &mut head, LowerOffset(0)).map_err(io)?
            + storage::pread(file.as_fd(), &mut tag, LowerOffset(size - TAG as u64)).map_err(io)?;
        Ok(read == head.len() + TAG && head == fingerprint.head && tag == fingerprint.tag)
    }

    /// Whether both directories have the same keyring file: one directory at two paths, as with a bind mount.
    pub(in crate::keyring) fn holds_same_file(&self, other: &Self) -> bool {
        let stat = |dir: &Self| storage::stat(dir.fd(), FILE_NAME.as_bytes()).ok();
        let (Some(ours), Some(theirs)) = (stat(self), stat(other)) else { return false };
        (ours.dev, ours.ino) == (theirs.dev, theirs.ino)
    }

    fn open_file(&self, name: &str) -> Result<Option<(OwnedFd, u64)>> {
        let file = match storage::open_file(self.fd(), name.as_bytes(), Access::ReadOnly) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(self.io(name, "open it", e)),
        };
        let stat = storage::fstat(file.as_fd()).map_err(|e| self.io(name, "stat it", e))?;
        if stat.kind() != FileKind::Regular {
            return Err(self.damaged("it is no regular file".to_owned()));
        }
        if stat.size > MAX_FILE_LEN {
            return Err(self.damaged("it is larger than any keyring".to_owned()));
        }
        Ok(Some((file, stat.size)))
    }

    /// Locks the keyring against changes by others. The lock is on a file that only the owner can open: any user who can
    /// read the directory could lock that and keep it. Older programs lock the directory, so their lock is waited for as
    /// well, for as long as a save takes. Without space for the file, or on a read-only filesystem, the directory alone is
    /// locked.
    pub(in crate::keyring) fn lock(&self, _leave: Writable) -> Result<KeyringLock> {
        let file = match storage::open_lock(self.fd(), LOCK_NAME.as_bytes()) {
            Ok(file) => Some(file),
            Err(e) if storage::is_disk_full(e) || e == Errno::ROFS => None,
            Err(e) => return Err(self.io(LOCK_NAME, "open it to lock the keyring", e)),
        };
        Ok(KeyringLock { _held: self.hold(file)? })
    }

    /// As [`VaultDir::lock`], for a reader: doesn't create the lock file.
    pub(in crate::keyring) fn lock_to_look(&self) -> Result<Held> {
        let file = match storage::open_file(self.fd(), LOCK_NAME.as_bytes(), Access::ReadOnly) {
            Ok(file) => Some(file),
            Err(Errno::NOENT) => None,
            Err(e) => return Err(self.io(LOCK_NAME, "open it to lock the keyring", e)),
        };
        self.hold(file)
    }

    fn hold(&self, file: Option<OwnedFd>) -> Result<Held> {
        if let Some(file) = &file
            && !self.flock(LOCK_NAME, file, LOCK_PATIENCE)?
        {
            return Err(KeyringError::Busy(self.path.clone()));
        }
        // A new open file description: flock is held by that, not by the descriptor.
        let dir = storage::open_dir(self.fd(), b".").map_err(|e| self.io(".", "open it to lock it", e))?;
        let patience = if file.is_some() { SAVE_PATIENCE } else { LOCK_PATIENCE };
        if !self.flock(".", &dir, patience)? && file.is_none() {
            return Err(KeyringError::Busy(self.path.clone()));
        }
        Ok(Held { _file: file, _dir: dir })
    }

    /// Whether the lock was taken within this time.
    fn flock(&self, name: &str, fd: &OwnedFd, patience: Duration) -> Result<bool> {
        let start = Instant::now();
        loop {
            match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK) if start.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(e) => return Err(self.io(name, "lock it", e)),
            }
        }
    }

    /// Places the first keyring; durable when this returns.
    pub(in crate::keyring) fn create(&self, _lock: &KeyringLock, bytes: &[u8]) -> Result<()> {
        let name = self.write_temporary(bytes)?;
        let (fd, to) = (self.fd(), FILE_NAME.as_bytes());
        storage::rename_to_new(fd, &name, fd, to).map_err(|e| {
            self.discard(&name);
            match e {
                Errno::EXIST => KeyringError::Exists(self.path.clone()),
                e => self.io(FILE_NAME, "create it", e),
            }
        })?;
        self.sync()?;
        // Created now, so that a full disk doesn't lack it. If that fails, it is created when it is needed.
        let _ = storage::open_lock(self.fd(), LOCK_NAME.as_bytes());
        Ok(())
    }

    /// Renames the keyring, durably, and returns its new name: an import is about to replace it, and it may be all that is
    /// left of the keys.
    pub(in crate::keyring) fn set_aside(&self, _lock: &KeyringLock, by: Generation) -> Result<String> {
        let name = format!("{FILE_NAME}{REPLACED}{}", by.0);
        self.rename_aside(FILE_NAME, &name).map_err(|e| self.io(FILE_NAME, "rename it", e))?;
        self.sync()?;
        Ok(name)
    }

    /// As [`Self::set_aside`], for `keyring.prev`, once the imported keyring is in place: it doesn't open under that one's
    /// root key, so it is no predecessor of it. If that fails it stays until the next save.
    pub(in crate::keyring) fn set_prev_aside(&self, _lock: &KeyringLock, by: Generation) {
        let name = format!("{PREV_NAME}{REPLACED}{}", by.0);
        match self.rename_aside(PREV_NAME, &name) {
            Ok(()) => {
                let _ = self.sync();
            }
            Err(Errno::NOENT) => {}
            Err(e) => tracing::info!("{}: {PREV_NAME} stays where it is: {e}", self.path.display()),
        }
    }

    fn rename_aside(&self, from: &str, to: &str) -> storage::Result<()> {
        storage::rename_to_new(self.fd(), from.as_bytes(), self.fd(), to.as_bytes())
    }

    /// Replaces the keyring; the old one becomes `keyring.prev`. Durable when this returns.
    pub(in crate::keyring) fn replace(&self, _lock: &KeyringLock, bytes: &[u8]) -> Result<()> {
        let name = self.write_temporary(bytes)?;
        let placed = self.keep_prev().and_then(|()| {
            self.rename_over(&name, FILE_NAME).map_err(|e| self.io(FILE_NAME, "replace it", e))
        });
        if let Err(e) = placed {
            self.discard(&name);
            return Err(e);
        }
        self.sync()
    }

    /// Writes a durable file under a unique temporary name and returns the name. Without free space, writes it into a
    /// reserve file, or into the space that a released one leaves.
    fn write_temporary(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut written = self.write_new_file(bytes);
        if written.as_ref().is_err_and(|e| storage::is_disk_full(*e)) {
            written = self.write_into_reserve(bytes);
        }
        if written.as_ref().is_err_and(|e| storage::is_disk_full(*e)) {
            written = self.write_new_file(bytes);
        }
        written.map_err(|e| self.io(FILE_NAME, "write a new one", e))
    }

    fn write_new_file(&self, bytes: &[u8]) -> storage::Result<Vec<u8>> {
        let name = storage::temporary_name();
        let written = storage::create_temporary(self.fd(), &name, 0o600).and_then(|file| {
            self.keep_owner(file.as_fd());
            storage::pwrite_all(file.as_fd(), bytes, LowerOffset(0))?;
            storage::fsync(file.as_fd())
        });
        if let Err(e) = written {
            self.discard(&name);
            return Err(e);
        }
        Ok(name)
    }

    fn rename_over(&self, from: &[u8], to: &str) -> storage::Result<()> {
        self.with_space(|| storage::rename(self.fd(), from, self.fd(), to.as_bytes(), RenameFlags::empty()))
    }

    /// Gives a new keyring the owner and mode of the old one, or the directory's owner if it is the first, where that is
    /// allowed: root may change another user's vault, which that user must be able to open afterwards.
    pub(in crate::keyring) fn keep_owner(&self, file: BorrowedFd<'_>) {
        let old = storage::stat(self.fd(), FILE_NAME.as_bytes());
        let first = |_| storage::fstat(self.fd()).map(|dir| storage::Stat { mode: 0o600, ..dir });
        let (Ok(old), Ok(new)) = (old.or_else(first), storage::fstat(file)) else { return };
        let same = (old.uid, old.gid) == (new.uid, new.gid);
        // If this fails, only the creator can read the file, which is safe.
        if (same || storage::chown(file, Some(old.uid), Some(old.gid)).is_ok()) && old.perm() != new.perm() {
            let _ = storage::chmod(file, u32::from(old.perm()) & 0o777);
        }
    }

    /// Makes the present keyring `keyring.prev`: by a hard link that is renamed over it, so that both names exist at every
    /// instant; by a copy on a filesystem without hard links.
    fn keep_prev(&self) -> Result<()> {
        let failed = |e| self.io(PREV_NAME, "keep the old keyring", e);
        let mut name = storage::temporary_name();
        match self.with_space(|| storage::link(self.fd(), FILE_NAME.as_bytes(), self.fd(), &name)) {
            Ok(()) => {}
            Err(e) if storage::lacks_links(e) => name = self.write_temporary(&self.read()?)?,
            Err(e) => return Err(failed(e)),
        }
        let kept = self.rename_over(&name, PREV_NAME);
        // After success as well: renaming one link of a file over another link of it removes neither.
        self.discard(&name);
        kept.map_err(failed)
    }

    /// Removes a temporary file. If that fails, the next change removes it.
    pub(in crate::keyring) fn discard(&self, name: &[u8]) {
        let _ = storage::unlink(self.fd(), name);
    }

    /// Removes the temporary files of interrupted changes: they may hold unlock slots that were removed since. Only under
    /// the lock, since a change under way has such a file.
    pub(in crate::keyring) fn discard_temporary_files(&self, _lock: &KeyringLock) {
        let Ok(fd) = storage::open_dir(self.fd(), b".") else { return };
        let (mut entries, mut temporary) = (DirStream::new(fd), Vec::new());
        while let Ok(Some(entry)) = entries.next() {
            if entry.name.starts_with(TEMPORARY_PREFIX) {
                temporary.push(entry.name.to_vec());
            }
        }
        temporary.iter().for_each(|name| self.discard(name));
    }

    /// Makes the keyring durable that is there.
    pub(in crate::keyring) fn sync_keyring(&self) -> Result<()> {
        if let Some((file, _)) = self.open_file(FILE_NAME)? {
            storage::fsync(file.as_fd()).map_err(|e| self.io(FILE_NAME, "sync it", e))?;
        }
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        storage::fsync_dir(self.fd()).map_err(|e| self.io(".", "sync it", e))
    }
}
