//! `rekeyfs kms serve`: finds the mount, and becomes `rekeyfs-console`.

use std::path::PathBuf;

use super::super::args::kms_serve::KmsServe;
use super::super::console::program;
use super::super::exit::{Exit, Failure, Outcome};
use crate::console::{Listen, NewCredentials, Order, Principal, ServeKms};
use crate::ids::PathText;

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
    program::start(&order)
}

fn served(args: &KmsServe, credentials: PathText) -> Outcome<ServeKms> {
    let entry = program::mount_of(&args.target, "the endpoint")?;
    let listen = match &args.unix {
        Some(path) => Listen::Unix(PathText(
            std::path::absolute(path).map_err(|error| Failure::new(Exit::Usage, path.display(), error))?,
        )),
        None => Listen::Loopback(args.listen),
    };
    let (region, account) = (args.region.clone(), args.account_id.clone());
    let (location, owner, answer_within) = (entry.location, entry.owner, args.answer_within);
    Ok(ServeKms { location, owner, listen, region, account, credentials, answer_within })
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
