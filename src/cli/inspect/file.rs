//! What wraps one file. In a mount the daemon says it, or to users whom it doesn't serve the virtual xattrs; of a ciphertext
//! file the header is read, which proves nothing without the key.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;

use crate::cli::errors;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::target::{self, unread};
use crate::control::{Client, Entry};
use crate::crypto::suite::Suite;
use crate::header::{SLOTS, UnverifiedSlot};
use crate::ids::PathText;
use crate::ids::{BackingKeyId, FileId, Format, Ino, KeyId, KeyVersion};
use crate::keyring::VersionState;
use crate::mount::mountinfo::{self, Mount};
use crate::printable;
use crate::service::{Inspected, Operations, Status};

/// Where the answer comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Source {
    /// The mount's daemon.
    Mount,
    /// The virtual xattrs of the mount.
    Xattrs,
    /// The bytes of the ciphertext file, not verified.
    Ciphertext,
}

/// What is known of a file; what isn't is null in JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Row {
    pub(super) path: PathText,
    pub(super) source: Source,
    pub(super) empty: bool,
    pub(super) key_id: Option<KeyId>,
    pub(super) version: Option<KeyVersion>,
    pub(super) suite: Option<String>,
    pub(super) sequence: Option<u64>,
    pub(super) stale: Option<bool>,
    #[serde(flatten)]
    pub(super) state: Option<VersionState>,
    pub(super) format: Option<u16>,
    pub(super) file_id: Option<FileId>,
}

impl Row {
    /// What a mount says of a file.
    pub(super) fn of(path: &Path, inspected: Inspected) -> Self {
        let row = Self::empty(path, Source::Mount);
        match inspected.header {
            None => row,
            Some(header) => Self {
                empty: false,
                key_id: Some(header.key_id),
                version: Some(header.version),
                suite: Some(header.suite),
                sequence: Some(header.sequence),
                stale: Some(header.stale),
                state: header.state,
                ..row
            },
        }
    }

    pub(super) fn empty(path: &Path, source: Source) -> Self {
        Self {
            path: path.into(),
            source,
            empty: true,
            key_id: None,
            version: None,
            suite: None,
            sequence: None,
            stale: None,
            state: None,
            format: None,
            file_id: None,
        }
    }
}

pub(super) struct Inspector {
    pub(super) entries: Vec<Entry>,
    mounts: Vec<Mount>,
}

impl Inspector {
    /// With the mounts there are now.
    pub(super) fn new() -> Self {
        Self { entries: target::known(), mounts: mountinfo::mounts() }
    }

    pub(super) fn inspect(&self, path: &Path) -> Outcome<Row> {
        let failed = |error| unread(path, error);
        let meta = fs::symlink_metadata(path).map_err(failed)?;
        if !meta.is_file() {
            let cause = format!("{}; only regular files have a header", kind(&meta));
            return Err(Failure::new(Exit::Other, path.display(), cause));
        }
        if let Some(entry) = self.entries.iter().find(|entry| entry.mount_dev == meta.dev()) {
            return self.through_daemon(path, entry, meta.dev());
        }
        let file = open(path, libc::O_NONBLOCK).map_err(failed)?;
        if self.in_a_vaults_mount(meta.dev()) {
            return through_xattrs(path, &file);
        }
        self.ciphertext(path, file, &self.around(path))
    }

    pub(super) fn in_a_vaults_mount(&self, device: u64) -> bool {
        self.mounts.iter().any(|mount| mount.is_vault() && mount.device == device)
    }

    pub(super) fn through_daemon(&self, path: &Path, entry: &Entry, dev: u64) -> Outcome<Row> {
        let failed = |error| unread(path, error);
        // While this is open the kernel, and so the mount, knows the inode.
        let held = open(path, libc::O_PATH).map_err(failed)?;
        let meta = held.metadata().map_err(failed)?;
        if meta.dev() != dev {
            return Err(failed(io::Error::other("it was replaced meanwhile; try again")));
        }
        let inspected = Client::of(entry).inspect(Ino(meta.ino()));
        let inspected = inspected.map_err(|error| errors::operation(&error))?;
        Ok(Row::of(path, inspected))
    }

    pub(super) fn ciphertext(&self, path: &Path, mut file: File, around: &Around) -> Outcome<Row> {
        let failed = |error: io::Error| Failure::new(Exit::Other, path.display(), error);
        let row = Row::empty(path, Source::Ciphertext);
        if file.metadata().map_err(failed)?.len() == 0 {
            return Ok(row);
        }
        let mut bytes = [0; SLOTS];
        file.read_exact(&mut bytes).map_err(|_| no_header(path))?;
        // The higher sequence comes first: that is the slot a mount tries first.
        let slot = UnverifiedSlot::parse_both(&bytes).into_iter().flatten().next();
        let slot = slot.ok_or_else(|| no_header(path))?;
        let backing = slot.backing();
        let stale = around.status().and_then(|status| stale(status, backing));
        let number = slot.suite_number();
        Ok(Row {
            empty: false,
            key_id: Some(backing.key),
            version: Some(backing.version),
            suite: Some(
                Suite::from_number(number).map_or_else(|| format!("unknown ({number})"), |s| s.to_string()),
            ),
            sequence: Some(slot.sequence().0),
            stale,
            state: around.state(backing).map(|state| state.of_file(stale == Some(true))),
            format: Some(slot.format().0),
            file_id: Some(slot.file()),
            ..row
        })
    }

    /// The mount whose vault's tree this ciphertext file is in.
    pub(super) fn around(&self, path: &Path) -> Around {
        let find = |dir: &Path| {
            let meta = fs::metadata(dir).ok()?;
            self.entries.iter().find(|e| (e.location.dev, e.location.ino) == (meta.dev(), meta.ino()))
        };
        let path = path.canonicalize().ok();
        let entry = path.as_deref().and_then(|path| path.ancestors().find_map(find));
        Around { client: entry.map(Client::of), status: OnceCell::new(), states: RefCell::default() }
    }
}

/// The mount of the vault whose ciphertext is looked at, if there is one: it knows what keys are for. It is asked once for
/// each thing.
pub(super) struct Around {
    client: Option<Client>,
    status: OnceCell<Option<Status>>,
    states: RefCell<HashMap<BackingKeyId, Option<VersionState>>>,
}

impl Around {
    pub(super) fn status(&self) -> Option<&Status> {
        self.status.get_or_init(|| self.client.as_ref()?.status().ok()).as_ref()
    }

    /// A daemon of an older version can't say.
    fn state(&self, backing: BackingKeyId) -> Option<VersionState> {
        let client = self.client.as_ref()?;
        *self.states.borrow_mut().entry(backing).or_insert_with(|| client.version_state(backing).ok())
    }
}

/// Whether a header with this backing key is stale, if that can be told without knowing the file's
/// directory: an old version always is; the current one of a key isn't where no other key is in use.
fn stale(status: &Status, backing: BackingKeyId) -> Option<bool> {
    let mut users = status.aliases.iter().filter(|alias| !alias.alias.is_reserved());
    let own = users.clone().find(|alias| alias.key_id == backing.key)?;
    if own.version != backing.version {
        return Some(true);
    }
    users.all(|alias| alias.key_id == backing.key).then_some(false)
}

pub(super) fn through_xattrs(path: &Path, file: &File) -> Outcome<Row> {
    let row = Row::empty(path, Source::Xattrs);
    let get = |name: &str| -> Outcome<Option<String>> {
        let mut value = [0; 256];
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Ok(len) => Ok(Some(String::from_utf8_lossy(&value[..len]).into_owned())),
            Err(rustix::io::Errno::NODATA) => Ok(None),
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let cause = "its mount has no extended attributes (noxattr): ask as the user who mounted it";
                Err(Failure::new(Exit::Other, path.display(), cause))
            }
            Err(errno) => Err(unread(path, errno.into())),
        }
    };
    let key_id = get("user.rekeyfs.key-id")?;
    Ok(Row {
        empty: key_id.is_none(),
        key_id: key_id.and_then(|id| id.parse().ok()),
        version: get("user.rekeyfs.key-version")?.and_then(|v| v.parse().ok()).map(KeyVersion),
        suite: get("user.rekeyfs.suite")?,
        ..row
    })
}

pub(super) fn open(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags | libc::O_NOFOLLOW).open(path)
}

fn no_header(path: &Path) -> Failure {
    let cause = "no rekeyfs header; is it a file of a mount, or a ciphertext file below VAULT/tree?";
    Failure::new(Exit::Other, path.display(), cause)
}

fn kind(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_symlink() => "a symlink",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

pub(super) fn text(row: &Row) -> String {
    let path = printable::path(row.path.as_path());
    let (Some(key), Some(version)) = (row.key_id, row.version) else {
        return format!("{path}: empty, wrapped at its first write\n");
    };
    let mut out = format!("{path}: key {key} version {version}");
    if let Some(suite) = &row.suite {
        out += &format!(", suite {suite}");
    }
    if let Some(sequence) = row.sequence {
        out += &format!(", sequence {sequence}");
    }
    if let Some(file) = row.file_id {
        out += &format!(", file {file}");
    }
    match row.format {
        Some(format) if Format(format) != Format::CURRENT => out += &format!(", format {format}"),
        _ => {}
    }
    match (row.state, row.stale) {
        (None | Some(VersionState::Old), Some(true)) => out += ", old (stale)",
        (Some(state), _) => out += &format!(", {state}"),
        (None, Some(false)) => out += ", current",
        (None, None) => {}
    }
    if row.source == Source::Ciphertext {
        out += " (not verified)";
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests;
