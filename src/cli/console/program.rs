//! Becoming `rekeyfs-console`, the program that speaks HTTP. No code that does is in this program.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::target::Target;
use crate::console::{Order, PROGRAM};
use crate::control::Entry;
use crate::printable;
use crate::storage::trusted_file;

/// Where a package has the program, if it isn't beside this one.
const LIBEXEC: &str = "/usr/libexec/rekeyfs";

/// The mount that the program is to ask.
///
/// # Errors
/// [`Exit::NotMounted`]; what resolving the target may say.
pub(in crate::cli) fn mount_of(target: &Path, asker: &str) -> Outcome<Box<Entry>> {
    match Target::resolve(target)? {
        Target::Mounted(entry) => Ok(entry),
        Target::Vault(vault) => {
            let at = printable::shell(&vault);
            let cause =
                format!("it isn't mounted; {asker} asks the mount: `rekeyfs mount {at} MOUNTPOINT` first");
            Err(Failure::new(Exit::NotMounted, vault.display(), cause))
        }
    }
}

/// Replaces this process.
///
/// # Errors
/// The program isn't there, or isn't to be trusted.
pub(in crate::cli) fn start(order: &Order) -> Outcome {
    let program = program()?;
    let text = serde_json::to_string(order).map_err(|error| Failure::new(Exit::Other, PROGRAM, error))?;
    let error = Command::new(&program).arg(text).exec();
    Err(Failure::new(Exit::Other, program.display(), format!("it can't be started: {error}")))
}

/// The program: beside this one, or where a package has it, and never by PATH.
///
/// Whoever could change it could do all that this user can. So it is root's or its who owns the program that runs here, and
/// nobody else can write it or put another in its place.
fn program() -> Outcome<PathBuf> {
    let own = std::env::current_exe().map_err(|error| Failure::new(Exit::Other, PROGRAM, error))?;
    let beside = own.parent().unwrap_or(Path::new("/"));
    let places = [beside.join(PROGRAM), Path::new(LIBEXEC).join(PROGRAM)];
    let Some(found) = places.iter().find(|path| path.exists()) else {
        let cause = format!(
            "it is neither in {} nor in {LIBEXEC}; install the package rekeyfs, or build it with `cargo build --workspace`",
            beside.display()
        );
        return Err(Failure::new(Exit::Other, PROGRAM, cause));
    };
    let owner = fs::metadata(&own).map_or(0, |meta| meta.uid());
    trusted_file(found, owner)
        .map_err(|cause| Failure::new(Exit::Other, found.display(), format!("{cause}; it isn't run")))?;
    Ok(found.clone())
}
