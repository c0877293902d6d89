//! A mount's socket and its registry file, for as long as the mount lives.
//!
//! A runtime directory may go before the mount does: logind removes `/run/user/UID` at the user's last logout, and a cleaner
//! of `/tmp` takes what looks old. Then both files are made again: where they were if that can be, else in the first
//! runtime directory of [`RuntimeDir::create`], each of which a client looks into. What is at the path and isn't the socket
//! that was bound here counts as gone; it is never removed unless nobody listens at it.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::process::{geteuid, getpid};

use super::protocol::PROTOCOL;
use super::registry::{self, Entry, RegistryError, RuntimeDir, VaultLocation};

/// A bound control socket, and the place of its registry file.
#[derive(Debug)]
pub struct Endpoint {
    dir: RuntimeDir,
    location: VaultLocation,
    listener: UnixListener,
    socket: PathBuf,
    /// Device and inode of the socket's file.
    file: (u64, u64),
    published: Option<Entry>,
}

impl RuntimeDir {
    /// Binds the socket of a vault (0600) and removes what dead daemons left in this directory. The caller
    /// holds the vault's lock, so nobody else binds this name meanwhile.
    ///
    /// # Errors
    /// If a daemon listens at that name, or a system call fails.
    pub fn bind(&self, location: VaultLocation) -> Result<Endpoint, RegistryError> {
        let _lock = self.lock()?;
        self.remove_dead();
        let stem = location.stem();
        let socket = self.path().join(format!("{stem}.sock"));
        let failed = |error| RegistryError::Io(socket.clone(), error);
        if fs::symlink_metadata(&socket).is_ok() {
            return Err(RegistryError::InUse(socket));
        }
        let listener = registry::at_short_path(&socket, UnixListener::bind).map_err(failed)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600)).map_err(failed)?;
        Endpoint::bound(self.clone(), location, listener, socket.clone()).map_err(failed)
    }
}

impl Endpoint {
    /// A socket that was just bound at `socket`, in `dir`.
    fn bound(
        dir: RuntimeDir,
        location: VaultLocation,
        listener: UnixListener,
        socket: PathBuf,
    ) -> io::Result<Self> {
        // Clients are waited for by poll(2).
        listener.set_nonblocking(true)?;
        let file = file_of(&socket)?;
        Ok(Self { dir, location, listener, socket, file, published: None })
    }

    /// The listening socket.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Where the socket is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The runtime directory, and the files in it.
    pub(super) fn paths(&self) -> [PathBuf; 3] {
        [self.dir.path().to_owned(), self.socket.clone(), self.registry_file()]
    }

    fn registry_file(&self) -> PathBuf {
        self.socket.with_extension("json")
    }

    /// Writes the registry file, from when on the mount is found by its mountpoint. `mount_dev` is the
    /// device number of the mounted filesystem.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn publish(&mut self, vault: &Path, mountpoint: &Path, mount_dev: u64) -> Result<(), RegistryError> {
        self.write(Entry {
            protocol: PROTOCOL,
            location: self.location,
            vault: vault.into(),
            mountpoint: mountpoint.into(),
            mount_dev,
            pid: getpid().as_raw_nonzero().get(),
            socket: PathBuf::new(),
            owner: geteuid().as_raw(),
        })
    }

    fn write(&mut self, entry: Entry) -> Result<(), RegistryError> {
        let path = self.registry_file();
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
        file.write_all(&contents).map_err(failed)?;
        fs::rename(&temporary, &path).map_err(failed)?;
        self.published = Some(entry);
        Ok(())
    }

    fn has_socket(&self) -> bool {
        file_of(&self.socket).is_ok_and(|file| file == self.file)
    }

    /// Whether a client finds it.
    pub(super) fn is_reachable(&self) -> bool {
        self.has_socket() && (self.published.is_none() || fs::symlink_metadata(self.registry_file()).is_ok())
    }

    /// Makes what is gone again: the registry file, or both in a runtime directory that can be used.
    ///
    /// # Errors
    /// If no runtime directory can be used, or another daemon serves this vault there.
    pub(super) fn restore(&mut self) -> Result<(), RegistryError> {
        if !self.has_socket() {
            let again = RuntimeDir::create_at(self.dir.path()).and_then(|dir| dir.bind(self.location));
            let endpoint = match again {
                Ok(endpoint) => endpoint,
                Err(_) => RuntimeDir::create()?.bind(self.location)?,
            };
            *self = Self { published: self.published.clone(), ..endpoint };
        }
        match self.published.clone() {
            Some(entry) => self.write(entry),
            None => Ok(()),
        }
    }

    /// Removes socket and registry file, and the directory if it is empty then. Failures are left to the next daemon's
    /// clean-up.
    pub(super) fn remove(&self) {
        // Not through `lock`, which would make the directory again.
        if !self.has_socket() {
            return;
        }
        let _lock = self.dir.lock();
        let _ = fs::remove_file(self.registry_file());
        let _ = fs::remove_file(&self.socket);
        // Only if it was the last.
        let _ = fs::remove_dir(self.dir.path());
    }
}

fn file_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}
