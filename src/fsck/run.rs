//! Runs a check: one thread walks the tree, two open pages.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};

use parking_lot::Mutex;

use super::file::{Checkable, HeaderCheck, check_header};
use super::finding::{Code, Summary};
use super::pages::{Bad, Buffers, Runs, ranges, scan};
use super::reporter::{CheckObserver, Reporter};
use super::walk::{Job, Opened, Walk};
use super::{copy, vault_dir};
use crate::ids::PathText;
use crate::keyring::Keys;
use crate::monitor::Cancellation;
use crate::storage::{self, Errno};
use crate::vault::Vault;

/// Threads that open pages.
const WORKERS: usize = 2;
/// Jobs that may be queued for them. Each holds at most one descriptor.
const WAITING: usize = 32;

/// What to check, and how.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// Only this path, from the mount's root on. `None`: everything, with the keyring and the event log.
    pub path: Option<PathText>,
    /// A copy of the vault's tree, checked with a keyring from elsewhere.
    pub copy: Option<CopiedTree>,
    /// If the keyring isn't the one that this host has seen last: why.
    pub behind: Option<String>,
}

/// Where a copy of a vault lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopiedTree {
    /// The copy of `tree`.
    pub tree: PathBuf,
    /// The directory in which it lies, if that is a copy of the whole vault.
    pub vault: Option<PathBuf>,
}

impl CopiedTree {
    /// The copy at `path`: a directory that was made from a vault's, with its tree in it, or from the tree alone.
    pub fn at(path: &Path) -> Self {
        let tree = path.join("tree");
        // No entry of a tree has so short a name.
        if tree.is_dir() {
            Self { tree, vault: Some(path.to_owned()) }
        } else {
            Self { tree: path.to_owned(), vault: None }
        }
    }
}

/// Why there was no check.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The path isn't one of this tree.
    #[error("{path}: {cause}", path = .0.as_path().display(), cause = .1)]
    Path(PathText, Errno),
    /// The vault's directory can't be read.
    #[error("the vault's directory: {0}")]
    Vault(Errno),
    /// The copy of a tree can't be read.
    #[error("{}: {}", .0.display(), .1)]
    Copy(PathBuf, std::io::Error),
    /// The quarantine can't be used.
    #[error("{}: {}", .0.display(), .1)]
    Quarantine(PathBuf, std::io::Error),
    /// The quarantine lies in the vault.
    #[error("{}: it lies in the vault; name a directory elsewhere", .0.display())]
    QuarantineInside(PathBuf),
    /// No thread can be started.
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
}

/// Checks the vault whose keyring is open, beside the mount `vault`. Without a mount the caller must keep mounts away from
/// what is checked. Changes nothing. `observer` receives the findings; a check
/// that is cancelled says so in its summary.
///
/// # Errors
/// [`CheckError`], if there is nothing to check; what is found is no error.
pub fn check(
    keys: &Keys,
    vault: Option<&Vault>,
    options: &Options,
    cancellation: &Cancellation,
    observer: &mut dyn CheckObserver,
) -> Result<Summary, CheckError> {
    let (dir, tree) = match &options.copy {
        Some(copied) => {
            let found = storage::open_walked(&copied.tree);
            (None, found.map_err(|e| CheckError::Copy(copied.tree.clone(), e))?.0)
        }
        None => {
            // The directory that the keys were read from: its path may lead elsewhere by now.
            let dir = keys.open_vault().map_err(CheckError::Vault)?;
            (Some(dir), keys.open_tree().map_err(CheckError::Vault)?)
        }
    };
    let reporter = Reporter::new(observer, cancellation);
    let path = options.path.clone().unwrap_or_else(|| PathText("/".into()));
    let parts = components(&path)?;
    if let Some(dir) = &dir
        && parts.is_empty()
    {
        vault_dir::check(dir, keys, vault, &reporter);
    }
    walk(keys, vault, &reporter, tree, &parts).map_err(|e| match e {
        WalkError::Lower(e) => CheckError::Path(path.clone(), e),
        WalkError::Thread(e) => CheckError::Thread(e),
    })?;
    if let (Some(behind), true) = (&options.behind, parts.is_empty()) {
        copy::tell_behind(behind, &reporter);
    }
    if let Some(vault) = options.copy.as_ref().and_then(|copied| copied.vault.as_ref()) {
        copy::check_keyring(vault, keys, &reporter);
    }
    if options.copy.is_some() && parts.is_empty() {
        copy::tell_empty(&reporter.summary(keys), &reporter);
    }
    Ok(reporter.summary(keys))
}

fn path_bytes(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}

fn components(path: &PathText) -> Result<Vec<&[u8]>, CheckError> {
    let parts = path_bytes(path.as_path()).split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.collect();
    if parts.contains(&&b".."[..]) { Err(CheckError::Path(path.clone(), Errno::INVAL)) } else { Ok(parts) }
}

enum WalkError {
    Lower(Errno),
    Thread(std::io::Error),
}

fn walk(
    keys: &Keys,
    vault: Option<&Vault>,
    reporter: &Reporter<'_>,
    tree: OwnedFd,
    path: &[&[u8]],
) -> Result<(), WalkError> {
    let (send, receive) = sync_channel(WAITING);
    let receive = Mutex::new(receive);
    std::thread::scope(|scope| {
        let worker = Worker { keys, vault, reporter };
        for _ in 0..WORKERS {
            let receive = &receive;
            std::thread::Builder::new()
                .name("rekeyfs-fsck".into())
                .spawn_scoped(scope, move || worker.run(receive))
                .map_err(WalkError::Thread)?;
        }
        // When the walk is dropped the sender is too, and the workers end.
        let mut walk = Walk::new(keys, vault, reporter, send);
        walk.run(tree, path).map_err(WalkError::Lower)
    })
}

#[derive(Clone, Copy)]
struct Worker<'a, 'w> {
    keys: &'a Keys,
    vault: Option<&'a Vault>,
    reporter: &'a Reporter<'w>,
}

impl Worker<'_, '_> {
    fn run(self, jobs: &Mutex<Receiver<Job>>) {
        let mut buffers = Buffers::new();
        loop {
            let job = jobs.lock().recv();
            match job {
                Ok(job) if !self.reporter.stopped() => self.job(&job, &mut buffers),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn job(self, job: &Job, buffers: &mut Buffers) {
        let Job { file, pages } = job;
        if !self.still_usable(file) {
            return;
        }
        let mut runs = Runs::default();
        let mut read = |bytes| {
            self.reporter.read(bytes);
            self.reporter.tick();
            if !self.reporter.stopped() && self.still_usable(file) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let scanned = scan(file.fd.as_fd(), &file.content, pages.clone(), buffers, &mut runs, &mut read);
        if let Err(e) = scanned {
            return self.reporter.find(&file.place, Code::Unreadable, None, format!("looking for data: {e}"));
        }
        match self.vault {
            Some(vault) if !runs.0.is_empty() => self.look_again(vault, file, &runs, buffers),
            _ => self.report(file, file.content.header.floor().0, &runs),
        }
    }

    /// Stops reading a file whose key has become unusable: nobody may use its DEK then.
    fn still_usable(self, file: &Opened) -> bool {
        match self.keys.usable(file.content.header.backing()) {
            Ok(()) => true,
            Err(error) => {
                if !file.key_gone.swap(true, Ordering::Relaxed) {
                    self.reporter.find(&file.place, Code::KeyNotUsable, None, error.to_string());
                }
                false
            }
        }
    }

    /// Reads pages again that failed beside a mount, from the header on, with the file quiesced: they may have been read while the
    /// file was written or truncated.
    fn look_again(self, vault: &Vault, file: &Opened, runs: &Runs, buffers: &mut Buffers) {
        let fd = file.fd.as_fd();
        let seen = vault.with_file_quiesced(fd, || -> storage::Result<(HeaderCheck, Runs)> {
            let now = check_header(fd, self.keys)?;
            let mut still = Runs::default();
            let Checkable::Sealed(content) = &now.body else { return Ok((now, still)) };
            for range in ranges(runs) {
                let range = range.start..range.end.min(content.pages.0);
                scan(fd, content, range, buffers, &mut still, &mut |_| ControlFlow::Continue(()))?;
            }
            Ok((now, still))
        });
        match seen {
            Ok(Ok((now, still))) => match now.body {
                Checkable::Sealed(content) => self.report(file, content.header.floor().0, &still),
                // Truncated to zero.
                Checkable::Nothing => {}
                Checkable::Closed => {
                    for (code, detail) in now.found {
                        self.reporter.find(&file.place, code, None, detail);
                    }
                }
            },
            Ok(Err(e)) => {
                self.reporter.find(&file.place, Code::Unreadable, None, format!("at the second look: {e}"))
            }
            Err(e) => {
                self.reporter.find(&file.place, Code::Unreadable, None, format!("at the second look: {e}"))
            }
        }
    }

    fn report(self, file: &Opened, floor: u64, runs: &Runs) {
        for (bad, pages) in &runs.0 {
            let (code, detail) = match bad {
                Bad::Damaged if pages.first.0 < floor => (Code::PageDamagedBelowFloor, String::new()),
                Bad::Damaged => (Code::PageDamaged, String::new()),
                Bad::Missing => (Code::PageMissing, "zero, and the header says that it isn't".to_owned()),
                Bad::Unreadable(e) => (Code::Unreadable, format!("the lower filesystem says: {e}")),
            };
            self.reporter.find(&file.place, code, Some(*pages), detail);
        }
    }
}
