//! `rekeyfs reencrypt`: the files of a mount are found here and handed to its daemon one by one, so that each can
//! be named; those of a vault that isn't mounted are found by their ciphertext.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::args;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::interrupt;
use super::open_target::{Access, Unmounted};
use super::output;
use super::progress::{self, Display};
use super::target::Target;
use crate::control::{Client, Entry};
use crate::ids::PathText;
use crate::ids::{Ino, Timestamp};
use crate::monitor::time_left::{Amount, CopyLeft, Part};
use crate::monitor::{Cancellation, Monitor, Progress};
use crate::printable;
use crate::service::{ErrorKind, FileReencrypted, Operations, ReencryptionEnded};

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
struct Report {
    /// Regular files looked at.
    files: u64,
    reencrypted: u64,
    /// Empty, or made after the time that was given.
    nothing_to_do: u64,
    left: Vec<Left>,
    /// Those that are left and not named here.
    left_unnamed: u64,
    complete: bool,
    /// With this in --before another run continues where this one ended: seconds since 1970.
    before: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Left {
    path: PathText,
    why: String,
}

/// Re-encrypts what was named. What is done stays done, however it ends.
///
/// # Errors
/// [`Exit::Interrupted`] when a signal stopped it; [`Exit::Other`] if files were left as they are; what resolving
/// the paths, asking the daemon or opening the vault may say.
pub(super) fn run(args: &args::Reencrypt) -> Outcome {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = u32::try_from(since_1970).unwrap_or(u32::MAX);
    let mut run = Run {
        recursive: args.recursive,
        before: args.before,
        interrupted: interrupt::watch(Exit::Interrupted as u8)?,
        report: Report { before: args.before.unwrap_or(now), ..Report::default() },
        display: Display::reencrypting(),
        all: args.recursive.then(Amount::default),
        time_left: CopyLeft::new(Instant::now()),
    };
    let targets: Vec<(PathBuf, Target)> =
        args.paths.iter().map(|path| resolve(path, args.recursive)).collect::<Outcome<_>>()?;
    if args.recursive {
        for (path, target) in &targets {
            if let Target::Mounted(entry) = target {
                run.each(path, entry, Pass::Counts, &mut |run, _, bytes| {
                    run.all = run.all.map(|all| Amount { files: all.files + 1, bytes: all.bytes + bytes });
                    Ok(())
                })?;
            }
        }
    }
    run.time_left = CopyLeft::new(Instant::now());
    run.time_left.known(run.all);
    for (path, target) in &targets {
        match target {
            Target::Mounted(entry) => run.mounted(path, entry)?,
            Target::Vault(vault) => run.vault(vault, args)?,
        }
    }
    run.report.complete = !run.interrupted.is_cancelled();
    drop(run.display);
    print_report(args, &run.report)
}

/// Where a path leads, and what to look at there: for the directory of a mounted vault, its mount.
fn resolve(path: &Path, recursive: bool) -> Outcome<(PathBuf, Target)> {
    let target = Target::resolve(path)?;
    let outside = match &target {
        Target::Vault(_) => true,
        Target::Mounted(entry) => fs::metadata(path).is_ok_and(|meta| meta.dev() != entry.mount_dev),
    };
    if outside && !recursive {
        let cause = "a vault's directory; -r re-encrypts all of its files";
        return Err(Failure::new(Exit::Usage, path.display(), cause));
    }
    Ok(match target {
        Target::Mounted(entry) if outside => (entry.mountpoint.as_path().to_owned(), Target::Mounted(entry)),
        target => (path.to_owned(), target),
    })
}

/// Has a daemon record in the event log that a run began or ended.
fn note(entry: &Entry, ended: Option<ReencryptionEnded>) -> Outcome {
    Client::of(entry).note_reencryption(ended).map_err(|error| errors::operation(&error))
}

fn print_report(args: &args::Reencrypt, report: &Report) -> Outcome {
    let left = report.left.len() as u64 + report.left_unnamed;
    for one in &report.left {
        output::complain(&format_args!(
            "{}: left as it is: {}",
            printable::path(one.path.as_path()),
            one.why
        ));
    }
    if *args.json {
        output::print_json(report)?;
    } else {
        let counts = Progress {
            seen: report.files,
            rewrapped: report.reencrypted,
            failed: left,
            ..Progress::default()
        };
        output::print(&format!("{}\n", progress::reencrypted(&counts)))?;
    }
    let object = args.paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    if !report.complete {
        let cause = format!(
            "stopped before the end; what is done stays done, run it again with --before {} to continue",
            report.before
        );
        return Err(Failure::new(Exit::Interrupted, object, cause));
    }
    if left > 0 {
        let cause = format!(
            "{}; see above",
            printable::counted(
                left,
                "file or directory was left as it is",
                "files or directories were left as they are"
            )
        );
        return Err(Failure::new(Exit::Other, object, cause));
    }
    Ok(())
}

/// What files are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// To know how many there are.
    Counts,
    /// To re-encrypt them.
    Acts,
}

struct Run {
    recursive: bool,
    before: Option<u32>,
    interrupted: Cancellation,
    report: Report,
    display: Display,
    /// Files there are.
    all: Option<Amount>,
    time_left: CopyLeft,
}

impl Run {
    fn left(&mut self, path: &Path, why: impl std::fmt::Display) {
        self.report.left.push(Left { path: path.into(), why: why.to_string() });
    }

    /// Re-encrypts what is at or below a path in a mount.
    fn mounted(&mut self, path: &Path, entry: &Entry) -> Outcome {
        let mut act = |run: &mut Self, file: &Path, bytes| run.file(file, bytes, entry);
        if !self.recursive {
            return self.each(path, entry, Pass::Acts, &mut act);
        }
        note(entry, None)?;
        let before = self.counts();
        let done = self.each(path, entry, Pass::Acts, &mut act);
        let now = self.counts();
        let noted = note(
            entry,
            Some(ReencryptionEnded {
                files: now.files - before.files,
                reencrypted: now.reencrypted - before.reencrypted,
                left: now.left - before.left,
                complete: done.is_ok() && !self.interrupted.is_cancelled(),
            }),
        );
        // Of two failures the first one tells more.
        done.and(noted)
    }

    fn counts(&self) -> ReencryptionEnded {
        let Report { files, reencrypted, .. } = self.report;
        let left = self.report.left.len() as u64 + self.report.left_unnamed;
        ReencryptionEnded { files, reencrypted, left, complete: false }
    }

    /// Calls `act` with each regular file at or below a path in a mount, and the bytes that it takes. What can't be read is reported once: in the
    /// pass that acts.
    fn each(
        &mut self,
        top: &Path,
        entry: &Entry,
        pass: Pass,
        act: &mut dyn FnMut(&mut Self, &Path, u64) -> Outcome,
    ) -> Outcome {
        let counting = pass == Pass::Counts;
        let mut todo = vec![top.to_owned()];
        while let Some(path) = todo.pop() {
            if self.interrupted.is_cancelled() {
                return Ok(());
            }
            let meta = match fs::symlink_metadata(&path) {
                Ok(meta) => meta,
                // Removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && path != top => continue,
                Err(error) => {
                    if !counting {
                        self.left(&path, error);
                    }
                    continue;
                }
            };
            if meta.is_file() {
                act(self, &path, meta.blocks() * 512)?;
            } else if meta.is_dir() && self.recursive && meta.dev() == entry.mount_dev {
                let listed = fs::read_dir(&path)
                    .and_then(|dir| dir.map(|found| Ok(found?.path())).collect::<io::Result<Vec<_>>>());
                match listed {
                    Ok(names) => todo.extend(names),
                    Err(error) if error.kind() == io::ErrorKind::NotFound && path != top => {}
                    Err(error) if !counting => self.left(&path, error),
                    Err(_) => {}
                }
            } else if path == top && !counting {
                let why = if meta.is_dir() { "a directory; -r goes into it" } else { "no regular file" };
                self.left(&path, why);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, bytes: u64, entry: &Entry) -> Outcome {
        let done = self.reencrypt(path, bytes, entry);
        self.time_left.ended(bytes, Instant::now());
        self.display.update(&self.progress(0, Part::default()));
        done
    }

    fn reencrypt(&mut self, path: &Path, bytes: u64, entry: &Entry) -> Outcome {
        let so_far = self.progress(0, Part::default());
        self.report.files += 1;
        // While this is open the kernel, and so the mount, knows the inode. It is no open file to the mount.
        let held = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path);
        let asked = held.and_then(|held| Ok((held.metadata()?, held)));
        let (meta, held): (_, File) = match asked {
            Ok(found) => found,
            // Removed since the walk saw it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.recursive => {
                self.report.files -= 1;
                return Ok(());
            }
            Err(error) => {
                self.left(path, error);
                return Ok(());
            }
        };
        if !meta.is_file() || meta.dev() != entry.mount_dev {
            self.left(path, "it was replaced meanwhile");
            return Ok(());
        }
        let before = self.before.map(|secs| Timestamp(i64::from(secs) * 1000));
        let (display, left) = (&mut self.display, &self.time_left);
        let mut receiver = |now: Progress| {
            let left = left.of(bytes, now.part, Instant::now());
            display.update(&Progress { part: now.part, left, ..so_far });
        };
        let mut monitor = Monitor::new(&self.interrupted, &mut receiver);
        let done = Client::of(entry).reencrypt(Ino(meta.ino()), before, &mut monitor);
        let outcome = match done {
            Ok(outcome) => outcome,
            // None of the files can be.
            Err(error) if matches!(error.kind, ErrorKind::Unreachable | ErrorKind::ReadOnly) => {
                return Err(errors::operation(&error));
            }
            Err(error) => {
                self.left(path, error);
                return Ok(());
            }
        };
        drop(held);
        match outcome {
            FileReencrypted::Done { .. } => {
                // Has the kernel look the name up: what it knew is gone.
                let _ = fs::symlink_metadata(path);
                self.report.reencrypted += 1;
            }
            FileReencrypted::Empty | FileReencrypted::Newer => self.report.nothing_to_do += 1,
            FileReencrypted::Linked => self.left(path, "it has several names (hard links)"),
            FileReencrypted::InUse => self.left(path, "it is open in some program, or was changed meanwhile"),
            // One that the daemon stopped without being asked to is still to be done.
            FileReencrypted::Stopped if self.interrupted.is_cancelled() => self.report.files -= 1,
            FileReencrypted::Stopped => self.left(path, "the mount is ending"),
        }
        Ok(())
    }

    /// How far it is, while a part of a file of so many bytes is done.
    fn progress(&self, bytes: u64, part: Part) -> Progress {
        let ReencryptionEnded { files, reencrypted, left: failed, .. } = self.counts();
        let (total, left) = (self.all.map(|all| all.files), self.time_left.of(bytes, part, Instant::now()));
        Progress { seen: files, rewrapped: reencrypted, failed, total, part, left }
    }

    fn vault(&mut self, vault: &Path, args: &args::Reencrypt) -> Outcome {
        let before = self.before.map(|secs| Timestamp(i64::from(secs) * 1000));
        let display = &mut self.display;
        let unmounted = Unmounted::open(vault, &args.open, Access::Change)?;
        let done = {
            let mut receiver = |progress| display.update(&progress);
            unmounted.vault.reencrypt_all(before, &mut Monitor::new(&self.interrupted, &mut receiver))
        };
        let done = done.map_err(|error| errors::operation(&error))?;
        self.report.files += done.files;
        self.report.reencrypted += done.reencrypted;
        self.report.nothing_to_do += done.nothing_to_do;
        self.report.left_unnamed += done.left.saturating_sub(done.named.len() as u64);
        for (Ino(ino), why) in done.named {
            let why = format!("{why} (its ciphertext: find {}/tree -inum {ino})", vault.display());
            self.left(vault, why);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::VaultLocation;
    use crate::ids::VaultId;

    fn run(recursive: bool) -> Run {
        Run {
            recursive,
            before: None,
            interrupted: Cancellation::default(),
            report: Report::default(),
            display: Display::reencrypting(),
            all: None,
            time_left: CopyLeft::new(Instant::now()),
        }
    }

    #[test]
    fn a_file_removed_since_the_walk_saw_it_is_not_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let entry = Entry {
            protocol: 0,
            location: VaultLocation { vault_id: VaultId::random(), dev: 0, ino: 0 },
            vault: dir.path().into(),
            mountpoint: dir.path().into(),
            mount_dev: 0,
            pid: 0,
            socket: PathBuf::new(),
            owner: 0,
        };
        let removed = dir.path().join("removed");
        let mut walk = run(true);
        walk.file(&removed, 0, &entry).unwrap();
        assert_eq!(walk.report, Report::default());
        let mut named = run(false);
        named.file(&removed, 0, &entry).unwrap();
        assert_eq!((named.report.files, named.report.left.len()), (1, 1));
    }
}
