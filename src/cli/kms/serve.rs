//! `rekeyfs kms serve`: finds the mount, and becomes `rekeyfs-console`, which speaks HTTP. No code that does is in this
//! program.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::args::kms_serve::KmsServe;
use super::super::exit::{Exit, Failure, Outcome};
use super::super::target::Target;
use crate::console::{Listen, NewCredentials, Order, PROGRAM, Principal, ServeKms};
use crate::ids::PathText;
use crate::printable;
use crate::storage::{self, FileKind, Walked, walk};

/// Where a package has the program, if it isn't beside this one.
const LIBEXEC: &str = "/usr/libexec/rekeyfs";
/// Mode bits that let others than the owner write.
const WRITABLE_BY_OTHERS: u16 = 0o022;

/// Becomes the program that does it.
///
/// # Errors
/// [`Exit::NotMounted`]; what resolving the target may say; that the program isn't there, or isn't to be trusted.
pub(super) fn run(args: &KmsServe) -> Outcome {
    let credentials = PathText(match &args.credentials {
        Some(path) => {
            std::path::absolute(path).map_err(|error| Failure::new(Exit::Usage, path.display(), error))?
        }
        None => usual_credentials()?,
    });
    let order = if args.new_credentials {
        let principal = args.principal.unwrap_or(Principal::Admin);
        Order::NewCredentials(NewCredentials { credentials, principal, read_only: args.read_only })
    } else {
        Order::ServeKms(served(args, credentials)?)
    };
    become_console(&order)
}

fn served(args: &KmsServe, credentials: PathText) -> Outcome<ServeKms> {
    let entry = match Target::resolve(&args.target)? {
        Target::Mounted(entry) => entry,
        Target::Vault(vault) => {
            let at = printable::shell(&vault);
            let cause = format!(
                "it isn't mounted; the endpoint asks the mount: `rekeyfs mount {at} MOUNTPOINT` first"
            );
            return Err(Failure::new(Exit::NotMounted, vault.display(), cause));
        }
    };
    let listen = match &args.unix {
        Some(path) => Listen::Unix(PathText(
            std::path::absolute(path).map_err(|error| Failure::new(Exit::Usage, path.display(), error))?,
        )),
        None => Listen::Loopback(args.listen),
    };
    let (region, account) = (args.region.clone(), args.account_id.clone());
    Ok(ServeKms { location: entry.location, owner: entry.owner, listen, region, account, credentials })
}

/// The file of this user's credentials. Root uses `/etc`: `sudo` may keep another user's variables.
fn usual_credentials() -> Outcome<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let dir = if rustix::process::geteuid().is_root() {
        Some(PathBuf::from("/etc"))
    } else {
        variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")))
    };
    dir.map(|dir| dir.join("rekeyfs/kms-credentials")).ok_or_else(|| {
        Failure::new(Exit::Usage, "--credentials", "neither XDG_CONFIG_HOME nor HOME is set; name a file")
    })
}

/// Replaces this process.
fn become_console(order: &Order) -> Outcome {
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
    check(found, owner)
        .map_err(|cause| Failure::new(Exit::Other, found.display(), format!("{cause}; it isn't run")))?;
    Ok(found.clone())
}

/// Checks that a program is this owner's or root's alone.
fn check(program: &Path, owner: u32) -> Result<(), String> {
    let walked = walk(program, owner).and_then(Walked::there).map_err(|error| error.to_string())?;
    let stat = storage::fstat(walked.fd()).map_err(|error| error.to_string())?;
    if let Some(at) = walked.exposed() {
        return Err(format!("others can write in {}", at.display()));
    }
    if stat.kind() != FileKind::Regular || (stat.uid != owner && stat.uid != 0) {
        return Err("not a file of root or of the owner of `rekeyfs`".to_owned());
    }
    if stat.perm() & WRITABLE_BY_OTHERS != 0 {
        return Err("others than its owner can write it".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_program_that_others_could_have_changed_is_not_run() {
        let me = rustix::process::geteuid().as_raw();
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join(PROGRAM);
        fs::write(&program, "#!/bin/true\n").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        set(&program, 0o755);
        assert_eq!(check(&program, me), Ok(()));
        for mode in [0o775, 0o757] {
            set(&program, mode);
            assert!(check(&program, me).is_err(), "{mode:o}");
        }
        set(&program, 0o755);
        for mode in [0o777, 0o770] {
            set(dir.path(), mode);
            assert!(check(&program, me).is_err(), "{mode:o}");
        }
        set(dir.path(), 0o700);
        assert!(check(dir.path(), me).is_err());
        assert!(check(&dir.path().join("none"), me).is_err());
        let elsewhere = tempfile::tempdir().unwrap();
        set(elsewhere.path(), 0o777);
        let moved = elsewhere.path().join(PROGRAM);
        fs::copy(&program, &moved).unwrap();
        let link = dir.path().join("link");
        symlink(&moved, &link).unwrap();
        assert!(check(&link, me).is_err());
    }
}
