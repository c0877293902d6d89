//! The record in the lock file: who holds the lock. No proof of anything, for whoever can write the ciphertext can write it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::mountinfo::{self, Mount};
use crate::storage::{self, Access};

/// The lock file's name.
pub(super) const NAME: &[u8] = b"lock";

/// The longest holder record that is read, in bytes.
const RECORD_MAX: u64 = 16 << 10;

/// The record in the lock file.
#[derive(Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) pid: u32,
    /// Older programs don't record it.
    #[serde(default)]
    pub(super) host: String,
    /// The subcommand's name. Older programs wrote the whole command line.
    pub(super) command: String,
    /// The device number of the mount that it serves.
    #[serde(default)]
    pub(super) serves: Option<u64>,
    /// Whether it may change the vault: not while it waits for a secret. Older programs don't record it.
    #[serde(default = "yes")]
    pub(super) changes: bool,
}

fn yes() -> bool {
    true
}

/// What the lock file says.
pub(super) enum Record {
    /// Nobody holds the lock.
    Empty,
    /// Somebody does, or did, and who it is can't be read.
    Torn,
    /// This one does, or did.
    Of(Holder),
}

impl Record {
    /// That of an open lock file.
    pub(super) fn read(file: &mut File) -> io::Result<Self> {
        storage::drop_cached(file.as_fd());
        file.rewind()?;
        let mut record = Vec::new();
        file.take(RECORD_MAX).read_to_end(&mut record)?;
        if record.is_empty() {
            return Ok(Self::Empty);
        }
        // What follows is the rest of a longer record, which its writer had still to cut off.
        let first = serde_json::Deserializer::from_slice(&record).into_iter::<Holder>().next();
        Ok(first.and_then(Result::ok).map_or(Self::Torn, Self::Of))
    }

    /// That of a vault, by a new descriptor, past the kernel's pages: both may show what was there before, on some clusters for good.
    ///
    /// # Errors
    /// Of the kind `NotFound` if there is no lock file.
    pub(super) fn of(dir: BorrowedFd<'_>) -> io::Result<Self> {
        Self::read(&mut storage::open_file(dir, NAME, Access::ReadOnly)?.into())
    }
}

impl Holder {
    /// This process of this host, which serves the mount with this device number, or waits for a secret.
    pub(super) fn this_process(host: &str, serves: Option<u64>, changes: bool) -> Self {
        Self { pid: std::process::id(), host: host.to_owned(), command: subcommand(), serves, changes }
    }

    /// The record, if there is a whole one.
    pub(super) fn read(file: &mut File) -> Option<Self> {
        if let Ok(Record::Of(holder)) = Record::read(file) { Some(holder) } else { None }
    }

    pub(super) fn write(&self, mut file: &File) -> io::Result<()> {
        let mut record = serde_json::to_vec(self)?;
        record.push(b'\n');
        file.rewind()?;
        file.write_all(&record)?;
        file.set_len(record.len() as u64)
    }

    /// The mount that the holder serves, if there is one.
    pub(super) fn mount(&self) -> Option<Mount> {
        let device = self.serves.filter(|_| self.host == host())?;
        mountinfo::mounts().into_iter().find(|mount| mount.is_vault() && mount.device == device)
    }

    /// Whether another host wrote it. Hosts are told apart by their names.
    pub(super) fn is_of_another_host(&self) -> bool {
        self.is_of_other_than(&host())
    }

    /// Whether a host of another name than this wrote it.
    pub(super) fn is_of_other_than(&self, host: &str) -> bool {
        !self.host.is_empty() && self.host != host
    }

    /// The subcommand, if it is one: anyone who can write the ciphertext can write this too, and an older program wrote secrets.
    pub(super) fn command(&self) -> Option<&str> {
        Some(self.command.as_str()).filter(|command| is_word(command))
    }

    /// Whether it serves a mount, by its own word.
    pub(super) fn serves_a_mount(&self) -> bool {
        self.serves.is_some()
    }

    pub(super) fn describe(&self) -> String {
        let mut text = format!("process {}", self.pid);
        if let Some(command) = self.command() {
            text += &format!(" (rekeyfs {command})");
        }
        if self.is_of_another_host() {
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

pub(super) fn is_word(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// This host's name, by which others tell it.
pub(in crate::mount) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim_end().to_owned()
}
