//! `rekeyfs rewrap`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::args;
use super::exit::{Exit, Failure, Outcome};
use super::open_target::{Access, OpenTarget};
use super::output;
use super::progress::{self, Display, long_work};
use super::target::Target;
use crate::control::Entry;
use crate::ids::Ino;
use crate::keyring::Staying;
use crate::monitor::Progress;
use crate::printable;
use crate::service::{Rewrap, RewrapDestination, RewrapReport};
use crate::storage;

/// Re-wraps files, in the mount if there is one. What is done stays done, however it ends.
///
/// # Errors
/// [`Exit::Interrupted`] when a signal stopped it; [`Exit::Other`] if files were left stale; what resolving
/// the target, asking the daemon or opening the vault may say.
pub(super) fn run(args: &args::Rewrap) -> Outcome {
    let target = Target::resolve(&args.target)?;
    let to = match (&args.to_alias, args.adopt) {
        (Some(alias), _) => RewrapDestination::Alias(alias.clone()),
        (None, true) => RewrapDestination::Adopted,
        (None, false) => RewrapDestination::Followed,
    };
    let mut order = Rewrap { max_rate: args.max_rate, to, top: None };
    let paths = paths(args, &target);
    if let (Target::Vault(_), Some(path)) = (&target, paths.first()) {
        let cause =
            "not in a mount: mount the vault to move some of its files, or leave PATH out to move all";
        return Err(Failure::new(Exit::NotMounted, path.display(), cause));
    }
    let open = OpenTarget::open(&target, &args.open, Access::Change)?;
    let sweep =
        |order: &Rewrap| long_work(Display::new(), |monitor| open.operations().rewrap(order, monitor));
    let report = match &target {
        Target::Mounted(entry) if !paths.is_empty() => {
            let mut all: Option<RewrapReport> = None;
            for path in &paths {
                // While this is open the kernel, and so the mount, knows the inode.
                let held = hold(path, entry)?;
                order.top =
                    Some(held.metadata().map_err(|e| Failure::new(Exit::Other, path.display(), e))?.ino());
                let one = sweep(&order)?;
                let done =
                    all.get_or_insert_with(|| RewrapReport { progress: Progress::default(), ..one.clone() });
                done.progress.seen += one.progress.seen;
                done.progress.rewrapped += one.progress.rewrapped;
                done.progress.failed += one.progress.failed;
                *done = RewrapReport { progress: done.progress, ..one };
                if !done.complete {
                    break;
                }
            }
            match all {
                Some(all) => all,
                None => return Ok(()),
            }
        }
        Target::Mounted(_) | Target::Vault(_) => sweep(&order)?,
    };
    if *args.json {
        output::print_json(&report)?;
    } else {
        output::print(&format!("{}\n", progress::summary(&report.progress)))?;
        if paths.is_empty() {
            output::print(&staying(&report.staying))?;
        }
    }
    verdict(&target, &report)
}

/// The paths that alone are to be moved. A user who names a path inside a mount and an alias doesn't mean the whole vault.
fn paths<'a>(args: &'a args::Rewrap, target: &Target) -> Vec<&'a Path> {
    let inside = |entry: &Entry| {
        let meta = fs::symlink_metadata(&*args.target);
        meta.is_ok_and(|meta| meta.dev() == entry.mount_dev && meta.ino() != Ino::ROOT.0)
    };
    let mut paths: Vec<&Path> = args.paths.iter().map(PathBuf::as_path).collect();
    if args.to_alias.is_some() && matches!(target, Target::Mounted(entry) if inside(entry)) {
        paths.insert(0, &args.target);
    }
    paths
}

/// A descriptor of what is at a path in this mount. No symlink of another user's is followed on the way: it would say which
/// file comes under the key that the caller chose for another.
fn hold(path: &Path, entry: &Entry) -> Outcome<File> {
    let failed = |error: io::Error| Failure::new(Exit::Other, path.display(), error);
    let held = File::from(storage::hold_walked(path).map_err(failed)?);
    if held.metadata().map_err(failed)?.dev() != entry.mount_dev {
        let cause = format!("not in the mount of {}", printable::path(entry.vault.as_path()));
        return Err(Failure::new(Exit::NotMounted, path.display(), cause));
    }
    Ok(held)
}

/// Which files aliases don't move, a line for each reason.
pub(super) fn staying(files: &Staying) -> String {
    let reasons = [
        (
            files.undecided,
            "no alias to follow is recorded, and the key has none or several: `rekeyfs rewrap --adopt` gives \
             that of the directory, --to-alias one of choice",
        ),
        (files.alias_gone, "the alias that was followed is gone: `rekeyfs rewrap --to-alias` gives another"),
        (
            files.newer,
            "the wrap was made with a keyring that an older one took the place of: `rekeyfs key-backup merge` brings it \
             back, `rekeyfs rewrap --to-alias` says where they belong",
        ),
        (files.pinned, "pinned by `kms re-encrypt`"),
    ];
    let lines = reasons.iter().filter(|(files, _)| *files > 0);
    lines
        .map(|(files, why)| {
            format!(
                "{}: {why}\n",
                printable::counted(*files, "file stays under its key", "files stay under their key")
            )
        })
        .collect()
}

fn verdict(target: &Target, report: &RewrapReport) -> Outcome {
    let vault = target.vault().display();
    if !report.complete {
        let cause = "stopped before the end; what is done stays done, run the same command to continue";
        return Err(Failure::new(Exit::Interrupted, vault, cause));
    }
    match report.left() {
        Some(cause) => Err(Failure::new(Exit::Other, vault, cause)),
        None => Ok(()),
    }
}
