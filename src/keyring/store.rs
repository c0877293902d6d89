//! The keyring file: reading, and the one way of changing it, which leaves at every instant of a power cut
//! either the old keyring or the new one, whole and durable.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::body::{self, BodyError};
use super::error::KeyringError;
use super::header::{self, Header, HeaderError};
use super::host::{HostMemory, Seen, Verdict};
use super::model::Body;
use crate::crypto::keys::RootKey;
use crate::crypto::{random, sha256};
use crate::events::EventLog;
use crate::ids::Generation;

/// The keyring's name in the vault directory.
pub const FILE_NAME: &str = "keyring";
/// The generation before it.
pub const PREV_NAME: &str = "keyring.prev";
const TEMP_PREFIX: &str = ".keyring.tmp.";
/// Frame and header are at most 1 MiB and a bit.
const MAX_FILE_LEN: usize = body::MAX_LEN + (2 << 20);
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

type Result<T> = std::result::Result<T, KeyringError>;

/// A vault directory, as far as the keyring is concerned.
pub(super) struct VaultDir {
    fd: OwnedFd,
    /// Canonical: the host memory knows the vault by it.
    pub(super) path: PathBuf,
}

/// A keyring file that was read and opened.
#[derive(Clone)]
pub(super) struct State {
    pub(super) header: Header,
    pub(super) body: Body,
    pub(super) root: Arc<RootKey>,
    hash: [u8; 32],
}

/// What a change is made on.
pub(super) struct Draft {
    pub(super) header: Header,
    pub(super) body: Body,
    pub(super) root: Arc<RootKey>,
}

/// An opened keyring and where it lies.
pub(super) struct Store {
    dir: VaultDir,
    state: State,
    host: HostMemory,
}

impl VaultDir {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let io = |what, e: io::Error| KeyringError::Io { path: path.to_owned(), what, source: e };
        let canonical = path.canonicalize().map_err(|e| io("find the vault", e))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&canonical, flags, Mode::empty())
            .map_err(|e| io("open the vault directory", e.into()))?;
        Ok(Self { fd, path: canonical })
    }

    /// A descriptor of its own for someone else.
    pub(super) fn descriptor(&self) -> Result<OwnedFd> {
        self.fd.try_clone().map_err(|e| self.io(".", "duplicate its descriptor", e))
    }

    pub(super) fn io(&self, name: &str, what: &'static str, e: impl Into<io::Error>) -> KeyringError {
        KeyringError::Io { path: self.path.join(name), what, source: e.into() }
    }

    fn has_prev(&self) -> bool {
        rustix::fs::statat(&self.fd, PREV_NAME, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    pub(super) fn damaged(&self, what: String) -> KeyringError {
        KeyringError::Damaged { vault: self.path.clone(), what, prev: self.has_prev() }
    }

    /// The whole keyring file.
    pub(super) fn read(&self) -> Result<Vec<u8>> {
        // NONBLOCK: a FIFO put in its place must not hang us.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.fd, FILE_NAME, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => {
                return Err(KeyringError::Missing { vault: self.path.clone(), prev: self.has_prev() });
            }
            Err(e) => return Err(self.io(FILE_NAME, "open it", e)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_LEN as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| self.io(FILE_NAME, "read it", e))?;
        if bytes.len() > MAX_FILE_LEN {
            return Err(self.damaged("it is larger than any keyring".to_owned()));
        }
        Ok(bytes)
    }

    /// Takes a keyring file apart; nothing of it is authenticated yet.
    pub(super) fn parse<'a>(&self, bytes: &'a [u8]) -> Result<header::Parts<'a>> {
        header::parse(bytes).map_err(|e| match e {
            HeaderError::Damaged(what) => self.damaged(what),
            HeaderError::Newer(what) => KeyringError::NewerFormat { vault: self.path.clone(), what },
        })
    }

    /// Opens a keyring's body.
    pub(super) fn open_body(&self, bytes: &[u8], root: Arc<RootKey>) -> Result<State> {
        let parts = self.parse(bytes)?;
        let opened = root.open_keyring(parts.header.vault, parts.aad, parts.sealed).map_err(|_| {
            self.damaged("the root key doesn't open its body, so bytes of it have changed".to_owned())
        })?;
        let body = body::decode(&opened).map_err(|e| self.damaged(format!("its body: {e}")))?;
        Ok(State { header: parts.header, body, root, hash: sha256(bytes) })
    }

    /// Keeps others from changing the keyring as long as the descriptor is open.
    fn lock(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // An open file description of its own: flock doesn't tell apart users of one.
        let fd = rustix::fs::openat(&self.fd, ".", flags, Mode::empty())
            .map_err(|e| self.io(".", "open it to lock it", e))?;
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(fd),
                Err(Errno::WOULDBLOCK) if start.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Err(KeyringError::Busy(self.path.clone())),
                Err(e) => return Err(self.io(".", "lock it", e)),
            }
        }
    }

    /// Writes a durable file under a unique temporary name and returns the name.
    fn write_temporary(&self, bytes: &[u8]) -> Result<String> {
        let name = format!("{TEMP_PREFIX}{}", HEXLOWER.encode(&random::array::<8>()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let written = rustix::fs::openat(&self.fd, &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(io::Error::from)
            .and_then(|fd| {
                let mut file = File::from(fd);
                self.keep_owner(&file);
                file.write_all(bytes)?;
                file.sync_all()
            });
        match written {
            Ok(()) => Ok(name),
            Err(e) => {
                self.discard(&name);
                Err(self.io(FILE_NAME, "write a new one", e))
            }
        }
    }

    /// Gives a new keyring the old one's owner and mode, where that is allowed: root may work on a vault of
    /// someone else, who must be able to open it afterwards.
    fn keep_owner(&self, file: &File) {
        let Ok(old) = rustix::fs::statat(&self.fd, FILE_NAME, AtFlags::SYMLINK_NOFOLLOW) else { return };
        let (uid, gid) = (rustix::fs::Uid::from_raw(old.st_uid), rustix::fs::Gid::from_raw(old.st_gid));
        // Failing leaves the file to its maker alone, which is safe.
        if rustix::fs::fchown(file, Some(uid), Some(gid)).is_ok() {
            let _ = rustix::fs::fchmod(file, Mode::from_raw_mode(old.st_mode & 0o777));
        }
    }

    /// Removes a temporary file; at worst it stays and the next change removes it.
    fn discard(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
    }

    /// Removes what interrupted changes left. Only under the lock: a file of a change under way has the
    /// same kind of name. They may hold slots that have been removed since.
    fn discard_leftovers(&self) {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.fd) else { return };
        for name in entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()) {
            if name.starts_with(TEMP_PREFIX) {
                self.discard(&name);
            }
        }
    }

    /// Makes the present keyring `keyring.prev`: by a hard link that is renamed over it, so that both names
    /// are there at every instant; by a copy where there are no hard links.
    fn keep_prev(&self) -> Result<()> {
        let name = format!("{TEMP_PREFIX}{}", HEXLOWER.encode(&random::array::<8>()));
        let name = match rustix::fs::linkat(&self.fd, FILE_NAME, &self.fd, &name, AtFlags::empty()) {
            Ok(()) => name,
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => self.write_temporary(&self.read()?)?,
            Err(e) => return Err(self.io(PREV_NAME, "keep the old keyring", e)),
        };
        rustix::fs::renameat(&self.fd, &name, &self.fd, PREV_NAME).map_err(|e| {
            self.discard(&name);
            self.io(PREV_NAME, "keep the old keyring", e)
        })?;
        // Renaming one link of a file over another link of it does nothing and leaves both.
        self.discard(&name);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.fd).map_err(|e| self.io(".", "sync it", e))
    }

    /// Writes the first keyring.
    pub(super) fn create(&self, draft: Draft) -> Result<State> {
        let (bytes, state) = self.seal(draft)?;
        let name = self.write_temporary(&bytes)?;
        let placed = rustix::fs::renameat_with(&self.fd, &name, &self.fd, FILE_NAME, RenameFlags::NOREPLACE);
        placed.map_err(|e| {
            self.discard(&name);
            match e {
                Errno::EXIST => KeyringError::Exists(self.path.clone()),
                e => self.io(FILE_NAME, "create it", e),
            }
        })?;
        self.sync()?;
        Ok(state)
    }

    /// Puts a keyring in the place of the present one. Only under the lock.
    fn replace(&self, draft: Draft) -> Result<State> {
        let (bytes, state) = self.seal(draft)?;
        let name = self.write_temporary(&bytes)?;
        let placed = self.keep_prev().and_then(|()| {
            rustix::fs::renameat(&self.fd, &name, &self.fd, FILE_NAME)
                .map_err(|e| self.io(FILE_NAME, "replace it", e))
        });
        if let Err(e) = placed {
            self.discard(&name);
            return Err(e);
        }
        self.sync()?;
        Ok(state)
    }

    fn seal(&self, draft: Draft) -> Result<(Vec<u8>, State)> {
        let Draft { header, body, root } = draft;
        let encoded = body::encode(&body).map_err(|e| match e {
            BodyError::TooLarge => KeyringError::Full(e.to_string()),
            BodyError::Malformed(what) => self.damaged(what),
        })?;
        let mut bytes =
            header.encode().ok_or_else(|| KeyringError::Full("the vault has too many slots".to_owned()))?;
        let sealed = root.seal_keyring(header.vault, &bytes, &encoded);
        bytes.extend_from_slice(&sealed);
        let hash = sha256(&bytes);
        Ok((bytes, State { header, body, root, hash }))
    }
}

impl Store {
    pub(super) fn new(dir: VaultDir, state: State, host: HostMemory) -> Self {
        Self { dir, state, host }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn dir(&self) -> &VaultDir {
        &self.dir
    }

    /// Refuses a keyring that this host knows to be an old or a diverged one, unless told to accept it.
    /// Returns whether it had to be accepted.
    pub(super) fn check_host(&self, accept_rollback: bool) -> Result<bool> {
        let State { header, body, .. } = &self.state;
        let verdict = self.host.judge(header.vault, &self.dir.path, self.seen(), &body.previous);
        let (vault, found) = (self.dir.path.clone(), body.generation);
        match verdict {
            Verdict::Fine => {}
            _ if accept_rollback => {}
            Verdict::RolledBack(seen) => return Err(KeyringError::RolledBack { vault, found, seen }),
            Verdict::Forked => return Err(KeyringError::Forked { vault, found }),
        }
        self.remember();
        Ok(verdict != Verdict::Fine)
    }

    fn seen(&self) -> Seen {
        Seen { generation: self.state.body.generation, hash: self.state.hash }
    }

    fn remember(&self) {
        self.host.remember(self.state.header.vault, &self.dir.path, self.seen());
    }

    /// Changes the keyring: lock, re-read, `change`, write, sync. What `change` returns is returned once the
    /// new keyring is durable. With `twice`, keyring.prev doesn't keep what the change took out either.
    ///
    /// # Errors
    /// What `change` says, in which case nothing was written; or why it can't be made durable, in which case
    /// the keyring on disk is either the old one or the new one.
    pub(super) fn change<T>(
        &mut self,
        log: &EventLog,
        twice: bool,
        change: impl FnOnce(&mut Draft) -> Result<T>,
    ) -> Result<T> {
        let _lock = self.dir.lock()?;
        self.refresh()?;
        if self.state.header.ro_compat != 0 {
            return Err(KeyringError::NewerFormat {
                vault: self.dir.path.clone(),
                what: format!("features {:#x}: it can be read, not changed", self.state.header.ro_compat),
            });
        }
        let mut draft = self.draft();
        let out = change(&mut draft)?;
        draft.body.event_anchor = log.durable_anchor();
        self.dir.discard_leftovers();
        self.state = self.dir.replace(draft)?;
        if twice {
            self.state = self.dir.replace(self.draft())?;
        }
        self.remember();
        Ok(out)
    }

    fn draft(&self) -> Draft {
        let State { header, body, root, hash } = self.state.clone();
        let generation = Generation(body.generation.0.saturating_add(1));
        Draft { header, body: Body { generation, previous: hash, ..body }, root }
    }

    /// Takes up what other processes saved since.
    fn refresh(&mut self) -> Result<()> {
        let bytes = self.dir.read()?;
        if sha256(&bytes) == self.state.hash {
            return Ok(());
        }
        let known = &self.state;
        let vault = self.dir.path.clone();
        let parts = self.dir.parse(&bytes)?;
        if known.root.open_keyring(parts.header.vault, parts.aad, parts.sealed).is_err() {
            return Err(KeyringError::RootKeyReplaced(vault));
        }
        let found = self.dir.open_body(&bytes, Arc::clone(&known.root))?;
        let (found_at, seen) = (found.body.generation, known.body.generation);
        if found_at < seen {
            return Err(KeyringError::RolledBack { vault, found: found_at, seen });
        }
        if found_at == seen {
            return Err(KeyringError::Forked { vault, found: found_at });
        }
        self.state = found;
        Ok(())
    }

    /// The keyring as it is on disk now, for checking what was written.
    pub(super) fn header_on_disk(&self) -> Result<Header> {
        Ok(self.dir.parse(&self.dir.read()?)?.header)
    }
}

impl AsFd for VaultDir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
