//! `rekeyfs status --output prometheus`: what a monitoring system reads, of one vault or of all mounts.
//!
//! It never asks for a secret, since nobody sits there: a vault that isn't mounted is opened if an option says where
//! its secret is; else only what needs none is told.
//!
//! With `--all`, each vault that was named has [`catalogue::EXPECTED_UP`], whatever became of it: nothing tells the id of one
//! whose disk is gone, and a sample that is missing sets off no alert.
//!
//! Whose samples they are, the kernel says, and not the daemon: another user's daemon can lie about its own mount alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::HEXLOWER;

use super::args;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::open_target::{Access, OpenTarget, Unmounted};
use super::output;
use super::progress::{Display, long_work};
use super::target::{self, Target};
use crate::control::{self, Client, Entry};
use crate::crypto::random;
use crate::keyring::{KeyringDir, KeyringFile};
use crate::metrics::exposition::{self, Source};
use crate::metrics::{MetricsReport, Sample, Value, catalogue};
use crate::mount::mountinfo::{self, Mount};
use crate::printable;
use crate::service::{Operations, report_lower};
use crate::storage;

/// Mode of the file that is written, before the umask: the collector is another user.
const MODE: u32 = 0o644;

/// Prints the metrics, or writes them to a file.
///
/// # Errors
/// A target can't be resolved, or its daemon can't be asked; with `--all` the others are written all the same. The file
/// can't be written.
pub(super) fn run(args: &args::Status) -> Outcome {
    let mut reports = Vec::new();
    // The newest one ends the command, which prints it.
    let mut failed: Option<Failure> = None;
    let mounts = if args.all { all_mounts() } else { Vec::new() };
    for place in &mounts {
        reports.push(place.report());
    }
    for path in args.target.iter().chain(&args.vaults) {
        let at = match of_target(path, args, &mounts) {
            Ok(Named::Among(at)) => at,
            Ok(Named::Beside(source, report)) => {
                reports.push((source, report));
                reports.len() - 1
            }
            Err(failure) if args.all => {
                failed.replace(failure).inspect(output::complain);
                reports.push((Source::unknown(), MetricsReport::default()));
                reports.len() - 1
            }
            Err(failure) => return Err(failure),
        };
        if args.all {
            let report = &mut reports[at].1;
            let up = report.samples(&catalogue::UP).any(|Sample(_, value)| *value == Value::Number(1));
            report.add(&catalogue::EXPECTED_UP, &[&printable::path(path)], u64::from(up));
        }
    }
    let text = exposition::render(&reports);
    match &args.output_file {
        None => output::print(&text)?,
        Some(file) => {
            if let Err(error) = replace(file, text.as_bytes()) {
                failed.inspect(output::complain);
                return Err(Failure::new(Exit::Other, file.display(), error));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// A vault's mount on this host.
struct Place {
    mount: Mount,
    /// Of its daemon, if one listens.
    entry: Option<Entry>,
    /// The vault's id, where that is known.
    vault: String,
}

/// The mounts of this user, for root those of all users; each once, also where it is bound to several places.
fn all_mounts() -> Vec<Place> {
    let me = rustix::process::geteuid();
    let (alive, noted) = (target::known(), control::entries());
    let mut found: Vec<Place> = Vec::new();
    for mount in mountinfo::mounts() {
        let mine = me.is_root() || mount.user == Some(me.as_raw());
        if !mount.is_vault() || !mine || found.iter().any(|place| place.mount.device == mount.device) {
            continue;
        }
        let of_mount = |entry: &&Entry| target::is_of(entry, &mount);
        let entry = alive.iter().find(of_mount).cloned();
        // A daemon that was killed leaves its entry.
        let id = entry.as_ref().or_else(|| noted.iter().find(of_mount)).map(|entry| entry.location.vault_id);
        let own = || KeyringFile::read_header(Path::new(&mount.source)).ok().map(|header| header.vault);
        let id = id.or_else(|| own().filter(|_| mount.user == Some(me.as_raw())));
        found.push(Place { vault: id.map_or_else(String::new, |id| id.to_string()), mount, entry });
    }
    found
}

impl Place {
    fn report(&self) -> (Source, MetricsReport) {
        let source = Source::mounted(self.vault.clone(), &self.mount.mountpoint);
        let answered = self.entry.as_ref().map(|entry| Client::of(entry).metrics());
        let answered = answered.transpose().unwrap_or_else(|error| {
            output::complain(&format!("{}: {error}", self.mount.mountpoint.display()));
            None
        });
        let up = u64::from(answered.is_some());
        let mut report = answered.unwrap_or_default();
        report.add(&catalogue::UP, &[], up);
        (source, report)
    }
}

/// Whose samples a target has that was named.
enum Named {
    /// Those of the mount at this place of the list of all.
    Among(usize),
    /// Its own.
    Beside(Source, MetricsReport),
}

fn of_target(path: &Path, args: &args::Status, mounts: &[Place]) -> Outcome<Named> {
    let among = |is_it: &dyn Fn(&Mount) -> bool| mounts.iter().position(|place| is_it(&place.mount));
    let target = Target::resolve(path)?;
    let at = match &target {
        Target::Mounted(entry) => among(&|mount| mount.device == entry.mount_dev),
        // Its mount is there, and its daemon isn't.
        Target::Vault(vault) => among(&|mount| Path::new(&mount.source) == vault),
    };
    if let Some(at) = at {
        return Ok(Named::Among(at));
    }
    match &target {
        Target::Mounted(entry) => {
            let open = OpenTarget::open(&target, &args.open, Access::Read)?;
            let mut report = report_of(open.operations(), args)?;
            report.add(&catalogue::UP, &[], 1);
            let vault = entry.location.vault_id.to_string();
            Ok(Named::Beside(Source::mounted(vault, entry.mountpoint.as_path()), report))
        }
        Target::Vault(vault) => unmounted(vault, args),
    }
}

fn unmounted(vault: &Path, args: &args::Status) -> Outcome<Named> {
    let pass = &args.open.pass;
    let (mut report, id) = if pass.passfile.is_some() || pass.extpass.is_some() || pass.keyfile.is_some() {
        let open = Unmounted::open(vault, &args.open, Access::Read)?;
        (report_of(&open.vault, args)?, open.keys().vault_id())
    } else {
        let dir = KeyringDir::open(vault).map_err(|error| errors::opening(&error))?;
        let header = dir.read().map_err(|error| errors::opening(&error))?.into_header();
        (MetricsReport::default(), header.vault)
    };
    if !report.has(&catalogue::LOWER_FREE_BYTES) {
        let dir = KeyringDir::open(vault).and_then(|dir| dir.descriptor());
        let below = dir.ok().and_then(|dir| storage::statvfs(dir.as_fd()).ok());
        below.inspect(|below| report_lower(below, &mut report));
    }
    report.add(&catalogue::UP, &[], 0);
    Ok(Named::Beside(Source { vault: id.to_string(), mountpoint: String::new() }, report))
}

fn report_of(operations: &dyn Operations, args: &args::Status) -> Outcome<MetricsReport> {
    if args.count {
        long_work(Display::counting(), |monitor| operations.count_files(monitor))?;
    }
    operations.metrics().map_err(|error| errors::operation(&error))
}

/// Puts a file in the place of what is there. The collector reads the old or the new one, never a part: it looks at
/// names that end in `.prom` alone, and the new one has another name until it is whole. It isn't synced: after a power
/// cut the next run writes it again.
fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut unfinished = b".".to_vec();
    unfinished.extend_from_slice(name.as_bytes());
    unfinished.extend_from_slice(format!(".{}", HEXLOWER.encode(&random::array::<8>())).as_bytes());
    let unfinished = file.with_file_name(std::ffi::OsStr::from_bytes(&unfinished));
    let mut out = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&unfinished)?;
    let written = out.write_all(text).and_then(|()| fs::rename(&unfinished, file));
    written.inspect_err(|_| _ = fs::remove_file(&unfinished))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rekeyfs.prom");
        replace(&file, b"one").unwrap();
        let first = fs::metadata(&file).unwrap();
        replace(&file, b"two").unwrap();
        let second = fs::metadata(&file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_ne!(first.ino(), second.ino(), "a reader of the first keeps it");
        assert_eq!(second.mode() & 0o400, 0o400);
        fs::create_dir(dir.path().join("d")).unwrap();
        assert!(replace(&dir.path().join("d"), b"three").is_err());
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["d", "rekeyfs.prom"]);
    }
}
