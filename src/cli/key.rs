//! `rekeyfs key`: what there is to do with keys beside the verbs of AWS KMS.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;

use serde_json::json;

use super::args::{KeyCommand, Retire as Args};
use super::exit::{Exit, Failure, Outcome};
use super::open_target::{Access, OpenTarget};
use super::output;
use super::progress::{Display, long_work};
use super::target::Target;
use crate::ids::{KeyVersion, PathText};
use crate::keyring::{RetireOrder, Retirement};
use crate::printable;
use crate::service::{CopyPlace, Retire, RetireReport};
use crate::storage;

/// Runs one of them.
///
/// # Errors
/// [`Exit::Key`] if files need what is to go, if there is no such key, or if its state or the version doesn't
/// allow it; what resolving the target, asking the daemon or opening the vault may say.
pub(super) fn run(command: &KeyCommand) -> Outcome {
    match command {
        KeyCommand::Retire(args) => {
            let done = retire(args);
            if let Err(failure) = &done
                && *args.json
                && !failure.files.is_empty()
            {
                output::print_json(&json!({ "refused": failure.to_string(), "files": failure.files }))?;
            }
            done
        }
    }
}

fn retire(args: &Args) -> Outcome {
    let what = match (args.undo, args.trim) {
        (true, _) => Retirement::Restore,
        (false, true) => Retirement::Trim,
        (false, false) => Retirement::Retire,
    };
    let target = Target::resolve(&args.target)?;
    let copies = args.checked_copy.iter().map(|path| place(path)).collect::<Outcome<_>>()?;
    if what == Retirement::Trim && !args.yes {
        confirm()?;
    }
    let below = KeyVersion(args.below);
    let mut order = Retire { key_id: args.key_id.clone(), below, what, force: None, copies };
    let open = OpenTarget::open(&target, &args.open, Access::Change)?;
    if args.force {
        let forced = |key| RetireOrder { key, below, what }.to_string();
        order.force = Some(open.force(&target, &args.open, &args.key_id, forced)?);
    }
    let report = long_work(Display::counting(), |monitor| open.operations().retire(&order, monitor))?;
    if *args.json {
        output::print_json(&report)?
    } else {
        output::print(&text(&report, below, what))?
    }
    match what {
        Retirement::Restore => {}
        Retirement::Retire => output::complain(&format!("{COPIES}; --undo opens them again")),
        Retirement::Trim => output::complain(&COPIES),
    }
    Ok(())
}

/// What the end of old versions means for backups, and what to do.
const COPIES: &str = "copies of the vault whose files were not copied again since they were re-wrapped can't be opened \
    with this keyring any more: size and mtime stay at a re-wrap, so copy them with `rsync --checksum` (docs/backup.md)";

/// Asks before what can't be taken back, where someone is there to be asked; in the manner of cryptsetup.
fn confirm() -> Outcome {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(());
    }
    output::complain(
        &"the material of these versions is deleted for good. Copies of the vault whose files were not copied again \
          since they were re-wrapped become unreadable with its keyring: run `rsync --checksum` first, and name the \
          copies with --checked-copy",
    );
    let _ = write!(io::stderr().lock(), "Are you sure? (Type 'yes' in capital letters): ");
    let mut answer = String::new();
    let read = stdin.read_line(&mut answer);
    if read.is_ok() && answer.trim_end() == "YES" {
        return Ok(());
    }
    Err(Failure::line(Exit::Other, "not confirmed; nothing is changed"))
}

/// A copy, named so that a daemon with another working directory, and maybe other mounts, finds it.
fn place(path: &Path) -> Outcome<CopyPlace> {
    let failed = |error: io::Error| Failure::new(Exit::Vault, path.display(), error);
    let (dir, absolute) = storage::open_walked(path).map_err(failed)?;
    let stat = storage::fstat(dir.as_fd()).map_err(|error| failed(error.into()))?;
    Ok(CopyPlace { path: PathText(absolute), device: stat.dev, inode: stat.ino })
}

fn text(report: &RetireReport, below: KeyVersion, what: Retirement) -> String {
    let key = report.key_id;
    let lost = match report.lost {
        0 => String::new(),
        n => format!(" ({n} of them without material, which was trimmed)"),
    };
    match what {
        Retirement::Retire => {
            format!("key {key}: versions below {below} are retired; --undo opens them again\n")
        }
        Retirement::Restore => format!("key {key}: versions below {below} are open again{lost}\n"),
        Retirement::Trim => {
            let trimmed = printable::counted(report.trimmed, "was", "were");
            format!("key {key}: versions below {below} are retired; {trimmed} trimmed\n")
        }
    }
}
