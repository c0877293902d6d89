//! The runtime directory: which vaults are mounted on this host, and where their sockets are. A mount's two
//! files are named after the vault's id and the device and inode of its directory, since a copied vault has
//! the id of the original.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::protocol::{PROTOCOL, PathText};
use crate::ids::VaultId;

/// The longest registry file that is read.
const MAX_ENTRY: u64 = 64 << 10;

/// Why the runtime directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A system call on a path.
    #[error("{path}: {1}", path = .0.display())]
    Io(PathBuf, io::Error),
    /// It belongs to someone else, or others can write there.
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

    fn stem(&self) -> String {
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
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
}

impl RuntimeDir {
    /// The runtime directory of this process, made if need be (0700): `$XDG_RUNTIME_DIR/rekeyfs`, else for
    /// root `/run/rekeyfs`, else `/run/user/UID/rekeyfs`, else `/tmp/rekeyfs-UID`.
    ///
    /// # Errors
    /// If it can't be made, or isn't this user's alone.
    pub fn create() -> Result<Self, RegistryError> {
        let candidates = own_dirs();
        let usable = candidates.iter().find(|dir| dir.parent().is_some_and(Path::is_dir));
        match usable {
            Some(path) => Self::create_at(path),
            None => Err(RegistryError::Io(PathBuf::from("/tmp"), io::ErrorKind::NotFound.into())),
        }
    }

    /// The runtime directory at `path`, made if need be.
    ///
    /// # Errors
    /// As [`RuntimeDir::create`].
    pub fn create_at(path: &Path) -> Result<Self, RegistryError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(RegistryError::Io(path.to_owned(), error));
            }
            _ => {}
        }
        let meta = fs::symlink_metadata(path).map_err(|e| RegistryError::Io(path.to_owned(), e))?;
        let uid = geteuid().as_raw();
        if !is_only_of(&meta, uid) {
            return Err(RegistryError::Unsafe(path.to_owned(), uid));
        }
        // Made under a umask that masked even the owner's bits.
        if meta.mode() & 0o700 != 0o700 {
            fs::set_permissions(path, Permissions::from_mode(0o700))
                .map_err(|e| RegistryError::Io(path.to_owned(), e))?;
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Binds the socket of a vault (0600) and removes what dead daemons left in this directory. The caller
    /// holds the vault's lock, so nobody else binds this name meanwhile.
    ///
    /// # Errors
    /// If a daemon listens at that name, or a system call fails.
    pub fn bind(&self, location: VaultLocation) -> Result<Endpoint, RegistryError> {
        let _lock = self.lock()?;
        self.remove_dead();
        let stem = location.stem();
        let socket = self.path.join(format!("{stem}.sock"));
        let failed = |error| RegistryError::Io(socket.clone(), error);
        if fs::symlink_metadata(&socket).is_ok() {
            return Err(RegistryError::InUse(socket));
        }
        let listener = at_short_path(&socket, UnixListener::bind).map_err(failed)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Endpoint { dir: Self { path: self.path.clone() }, location, listener, socket })
    }

    /// Guards creation and removal of the files, so that nobody removes a socket that was just bound anew.
    /// It is on the directory itself, which the last mount takes away: then it is made anew.
    fn lock(&self) -> Result<File, RegistryError> {
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
    fn remove_dead(&self) {
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

/// A bound control socket, and the place of its registry file.
#[derive(Debug)]
pub struct Endpoint {
    dir: RuntimeDir,
    location: VaultLocation,
    listener: UnixListener,
    socket: PathBuf,
}

impl Endpoint {
    /// The listening socket.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Where the socket is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Writes the registry file, from when on the mount is found by its mountpoint. `mount_dev` is the
    /// device number of the mounted filesystem.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn publish(&self, vault: &Path, mountpoint: &Path, mount_dev: u64) -> Result<(), RegistryError> {
        let entry = Entry {
            protocol: PROTOCOL,
            location: self.location,
            vault: vault.into(),
            mountpoint: mountpoint.into(),
            mount_dev,
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            socket: PathBuf::new(),
            owner: geteuid().as_raw(),
        };
        let path = self.socket.with_extension("json");
        let temporary = self.socket.with_extension("new");
        let failed = |error| RegistryError::Io(path.clone(), error);
        let contents = serde_json::to_vec(&entry).map_err(|e| failed(e.into()))?;
        let _lock = self.dir.lock()?;
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file =
            OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary).map_err(failed)?;
        io::Write::write_all(&mut file, &contents).map_err(failed)?;
        fs::rename(&temporary, &path).map_err(failed)
    }

    /// Removes socket and registry file, and the directory if it is empty then. Failures are left to the next daemon's clean-up.
    pub(super) fn remove(&self) {
        let _lock = self.dir.lock();
        let _ = fs::remove_file(self.socket.with_extension("json"));
        let _ = fs::remove_file(&self.socket);
        // Only if it was the last.
        let _ = fs::remove_dir(&self.dir.path);
    }
}

/// The mounts that the registry knows and this user may ask: this user's own, for root everyone's. Files of
/// dead daemons are left out.
pub fn entries() -> Vec<Entry> {
    let own = own_dirs().into_iter().map(|dir| (dir, geteuid().as_raw()));
    let others = if geteuid().is_root() { others_dirs() } else { Vec::new() };
    let mut dirs: Vec<(PathBuf, u32)> = own.chain(others).collect();
    dirs.dedup();
    dirs.iter().flat_map(|(dir, owner)| entries_in(dir, *owner)).collect()
}

/// The mounts of one runtime directory; none unless it is `owner`'s alone: what anyone could have put there
/// isn't believed.
pub(super) fn entries_in(dir: &Path, owner: u32) -> Vec<Entry> {
    if !fs::symlink_metadata(dir).is_ok_and(|meta| is_only_of(&meta, owner)) {
        return Vec::new();
    }
    files_with_extension(dir, "json")
        .filter_map(|path| {
            let entry = Entry { socket: path.with_extension("sock"), owner, ..read_entry(&path)? };
            (is_credible(&entry) && !is_dead(&entry.socket)).then_some(entry)
        })
        .collect()
}

/// Whether an entry may speak for its vault: another user's may only for a vault of that user, at its path.
fn is_credible(entry: &Entry) -> bool {
    entry.owner == geteuid().as_raw()
        || fs::metadata(entry.vault.as_path()).is_ok_and(|meta| {
            meta.uid() == entry.owner && (meta.dev(), meta.ino()) == (entry.location.dev, entry.location.ino)
        })
}

/// Whether this is a directory in which only that user can make files.
fn is_only_of(meta: &fs::Metadata, uid: u32) -> bool {
    meta.is_dir() && meta.uid() == uid && meta.mode() & 0o022 == 0
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
    dirs.push(PathBuf::from(format!("/tmp/rekeyfs-{}", uid.as_raw())));
    dirs
}

/// Runtime directories of other users, with the user each is named after.
fn others_dirs() -> Vec<(PathBuf, u32)> {
    let named = |parent: &str, prefix: &str, below: &str| {
        fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let uid: u32 = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
                let path = if below.is_empty() { entry.path() } else { entry.path().join(below) };
                (uid != 0).then_some((path, uid))
            })
            .collect::<Vec<_>>()
    };
    let mut dirs = named("/run/user", "", "rekeyfs");
    dirs.extend(named("/tmp", "rekeyfs-", ""));
    dirs
}

fn files_with_extension<'a>(dir: &Path, extension: &'a str) -> impl Iterator<Item = PathBuf> + use<'a> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(move |path| path.extension().is_some_and(|e| e == extension))
}

fn is_dead(socket: &Path) -> bool {
    matches!(
        connect_at(socket).map_err(|e| e.kind()),
        Err(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
    )
}

/// Connects to the socket at `path`.
pub(super) fn connect_at(path: &Path) -> io::Result<UnixStream> {
    at_short_path(path, UnixStream::connect)
}

/// Runs `f` on a path that fits into a socket address (108 bytes), by way of a descriptor of the directory.
fn at_short_path<T>(path: &Path, f: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().as_bytes().len() < 108 {
        return f(path.to_owned());
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(dir)?;
    f(Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))
}
