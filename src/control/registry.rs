//! The runtime directory: which vaults are mounted on this host, and where their sockets are. A mount's two
//! files are named after the vault's id and the device and inode of its directory, since a copied vault has
//! the id of the original.
//!
//! A runtime directory is its owner's alone, and so is the way to it: what lies in it was put there by its owner or
//! root. It is that user's word and no more. Of which mount it is the word, and that the mount is that user's, is for
//! the reader to see in the kernel's list of mounts; that the process behind the socket is that user's, the
//! client sees by its credentials.
//!
//! The two files live as long as the mount: a daemon makes them again if they, or the directory, are removed
//! (`endpoint`, `keeper`). A client that knows from the kernel that there is a mount waits for that.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::crypto::random;
use crate::ids::{PathText, VaultId};
use crate::storage::{self, FileKind, Walked, walk};

/// What the names of runtime directories in /tmp begin with.
const TEMPORARY: &str = "rekeyfs-";
/// The mode of a runtime directory.
const MODE: u32 = 0o700;
/// How long a daemon whose queue of connections is full is given, and how often it is tried.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// The longest registry file that is read.
const MAX_ENTRY: u64 = 64 << 10;

/// Why the runtime directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A system call on a path.
    #[error("{path}: {1}", path = .0.display())]
    Io(PathBuf, io::Error),
    /// It belongs to someone else, or others can write there or on the way to it.
    #[error("{path}: not a directory that only you (uid {1}) can use; remove it or set XDG_RUNTIME_DIR", path = .0.display())]
    Unsafe(PathBuf, u32),
    /// Another daemon serves this vault.
    #[error("{}: another daemon listens here; unmount the vault first", .0.display())]
    InUse(PathBuf),
}

/// Which vault: its id, and which copy of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VaultLocation {
    /// The vault's id.
    pub vault_id: VaultId,
    /// Device of the vault's directory.
    pub dev: u64,
    /// Inode of the vault's directory.
    pub ino: u64,
}

impl VaultLocation {
    /// The vault with this id whose directory is `path`.
    ///
    /// # Errors
    /// What stat(2) says.
    pub fn of(vault_id: VaultId, path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        Ok(Self { vault_id, dev: meta.dev(), ino: meta.ino() })
    }

    pub(super) fn stem(&self) -> String {
        format!("{}-{:x}-{:x}", self.vault_id, self.dev, self.ino)
    }
}

/// What the registry says of a mount.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The protocol of the daemon's socket.
    pub protocol: u32,
    /// Which vault.
    pub location: VaultLocation,
    /// The vault's directory.
    pub vault: PathText,
    /// Where it is mounted.
    pub mountpoint: PathText,
    /// The device number of the mounted filesystem, as stat(2) of anything in it says.
    pub mount_dev: u64,
    /// The daemon's process id.
    pub pid: i32,
    /// Where the socket is; not in the file, but from where the file was found.
    #[serde(skip)]
    pub socket: PathBuf,
    /// Whose runtime directory it was found in; not in the file.
    #[serde(skip)]
    pub owner: u32,
}

/// A directory of registry files and sockets that only this user can use.
#[derive(Clone, Debug)]
pub struct RuntimeDir {
    path: PathBuf,
}

impl RuntimeDir {
    /// The runtime directory of this process, made if need be (0700): `$XDG_RUNTIME_DIR/rekeyfs`, else for
    /// root `/run/rekeyfs`, else `/run/user/UID/rekeyfs`, else `/tmp/rekeyfs-UID`. One that isn't this user's alone is
    /// named and left, for `/tmp/rekeyfs-UID.RANDOM` in the end.
    ///
    /// # Errors
    /// If none can be made.
    pub fn create() -> Result<Self, RegistryError> {
        let uid = geteuid().as_raw();
        let random = format!("{TEMPORARY}{uid}.{}", HEXLOWER.encode(&random::array::<8>()));
        let last = Path::new("/tmp").join(random);
        for path in own_dirs().into_iter().filter(|dir| dir.parent().is_some_and(Path::is_dir)) {
            match Self::create_at(&path) {
                Err(error @ RegistryError::Unsafe(..)) => tracing::warn!("{error}; another place is used"),
                done => return done,
            }
        }
        Self::create_at(&last)
    }

    /// The runtime directory at `path`, made if need be.
    ///
    /// # Errors
    /// As [`RuntimeDir::create`]; [`RegistryError::Unsafe`].
    pub fn create_at(path: &Path) -> Result<Self, RegistryError> {
        let failed = |error| RegistryError::Io(path.to_owned(), error);
        let uid = geteuid().as_raw();
        match DirBuilder::new().mode(MODE).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let (dir, mode) = private(path, uid).ok_or_else(|| RegistryError::Unsafe(path.to_owned(), uid))?;
        // Made under a umask that masked even the owner's bits; or readable for others, who could hold its lock.
        if mode & 0o777 != MODE {
            storage::chmod(dir.fd(), MODE).map_err(|errno| failed(errno.into()))?;
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Guards creation and removal of the files, so that nobody removes a socket that was just bound again.
    /// It is on the directory itself, which the last mount takes away: then it is made again.
    pub(super) fn lock(&self) -> Result<File, RegistryError> {
        let failed = |error| RegistryError::Io(self.path.clone(), error);
        loop {
            let opened = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY)
                .open(&self.path);
            let dir = match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Self::create_at(&self.path)?;
                    continue;
                }
                other => other.map_err(failed)?,
            };
            flock(&dir, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
            if dir.metadata().map_err(failed)?.nlink() > 0 {
                return Ok(dir);
            }
        }
    }

    /// Under the lock: removes sockets that nobody listens at, and registry files without a socket.
    pub(super) fn remove_dead(&self) {
        for path in files_with_extension(&self.path, "sock") {
            if is_dead(&path) {
                let _ = fs::remove_file(path.with_extension("json"));
                let _ = fs::remove_file(&path);
            }
        }
        for path in files_with_extension(&self.path, "json") {
            if fs::symlink_metadata(path.with_extension("sock")).is_err() {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

/// What the registry says of mounts that this user may ask: this user's own, for root everyone's. Another user's word
/// is to be believed only of a mount of that user.
pub fn entries() -> Vec<Entry> {
    let own = own_dirs().into_iter().chain(spare_dirs()).map(|dir| (dir, geteuid().as_raw()));
    let others = if geteuid().is_root() { others_dirs() } else { Vec::new() };
    let mut dirs: Vec<(PathBuf, u32)> = own.chain(others).collect();
    dirs.sort_unstable();
    dirs.dedup();
    dirs.iter().flat_map(|(dir, owner)| entries_in(dir, *owner)).collect()
}

/// The entries of one runtime directory; none unless it is `owner`'s alone: what anyone could have put there
/// isn't believed.
pub(super) fn entries_in(dir: &Path, owner: u32) -> Vec<Entry> {
    if private(dir, owner).is_none() {
        return Vec::new();
    }
    files_with_extension(dir, "json")
        .filter_map(|path| Some(Entry { socket: path.with_extension("sock"), owner, ..read_entry(&path)? }))
        .collect()
}

impl Entry {
    /// Whether a daemon still listens there.
    pub fn is_alive(&self) -> bool {
        !is_dead(&self.socket)
    }

    /// Whether the entry may speak for a vault whose directory belongs to the user `dir_owner`: another user's may
    /// only for one of that user.
    pub fn may_speak_for(&self, dir_owner: u32) -> bool {
        self.owner == geteuid().as_raw() || self.owner == dir_owner
    }
}

/// A directory that is this user's alone, as is the way to it: nobody else can put anything there, or put another
/// in its place. And its mode.
fn private(path: &Path, uid: u32) -> Option<(Walked, u32)> {
    let walked = walk(path, uid).and_then(Walked::there).ok()?;
    let stat = storage::fstat(walked.fd()).ok()?;
    let private = stat.kind() == FileKind::Directory && stat.uid == uid && stat.perm() & 0o022 == 0;
    // A symlink is no directory of this program's.
    let own_name = path.file_name().is_some_and(|name| walked.path().file_name() == Some(name));
    (private && own_name && walked.exposed().is_none()).then_some((walked, u32::from(stat.perm())))
}

fn read_entry(path: &Path) -> Option<Entry> {
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut contents = Vec::new();
    file.take(MAX_ENTRY).read_to_end(&mut contents).ok()?;
    let entry: Entry = serde_json::from_slice(&contents).ok()?;
    // The name is what was locked and bound; a file that says otherwise was put there by hand.
    (path.file_stem()?.to_str()? == entry.location.stem()).then_some(entry)
}

fn own_dirs() -> Vec<PathBuf> {
    let uid = geteuid();
    let mut dirs = Vec::new();
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && dir.is_absolute()
        // After su(1) it may still be another user's.
        && fs::metadata(&dir).is_ok_and(|meta| meta.uid() == uid.as_raw())
    {
        dirs.push(dir.join("rekeyfs"));
    }
    if uid.is_root() {
        dirs.push(PathBuf::from("/run/rekeyfs"));
    }
    dirs.push(PathBuf::from(format!("/run/user/{}/rekeyfs", uid.as_raw())));
    dirs.push(Path::new("/tmp").join(format!("{TEMPORARY}{}", uid.as_raw())));
    dirs
}

/// Directories of this user for which there was no other place.
fn spare_dirs() -> Vec<PathBuf> {
    let uid = geteuid().as_raw();
    temporary_dirs().into_iter().filter(|(_, named)| *named == uid).map(|(dir, _)| dir).collect()
}

/// Runtime directories of other users, with the user each is named after.
fn others_dirs() -> Vec<(PathBuf, u32)> {
    let users = fs::read_dir("/run/user").into_iter().flatten().flatten().filter_map(|entry| {
        let uid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((entry.path().join("rekeyfs"), uid))
    });
    users.chain(temporary_dirs()).filter(|(_, uid)| *uid != 0).collect()
}

/// `/tmp/rekeyfs-UID` and `/tmp/rekeyfs-UID.RANDOM`, of any user.
fn temporary_dirs() -> Vec<(PathBuf, u32)> {
    let found = fs::read_dir("/tmp").into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        let rest = name.to_str()?.strip_prefix(TEMPORARY)?;
        let uid = rest.split_once('.').map_or(rest, |(uid, _)| uid).parse().ok()?;
        Some((entry.path(), uid))
    });
    found.collect()
}

fn files_with_extension<'a>(dir: &Path, extension: &'a str) -> impl Iterator<Item = PathBuf> + use<'a> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(move |path| path.extension().is_some_and(|e| e == extension))
}

/// Whether nobody listens at a socket, or it isn't there. One with a full queue of connections isn't waited for: somebody
/// listens there.
pub fn is_dead(socket: &Path) -> bool {
    matches!(
        at_short_path(socket, |path| connect_now(&path)).map_err(|e| e.kind()),
        Err(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
    )
}

/// Connects to the socket at `path`. A daemon that takes no connection is given five seconds for it.
pub(super) fn connect_at(path: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + CONNECT_PATIENCE;
    loop {
        match at_short_path(path, |path| connect_now(&path)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(CONNECT_PAUSE);
            }
            connected => return connected,
        }
    }
}

/// EAGAIN if the queue of connections is full.
fn connect_now(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Runs `f` on a path that fits into a socket address (108 bytes), by way of a descriptor of the directory.
pub(super) fn at_short_path<T>(path: &Path, f: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().as_bytes().len() < 108 {
        return f(path.to_owned());
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(dir)?;
    f(Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))
}
