//! `rekeyfs console`: finds the mount, sees that it answers this user, and becomes `rekeyfs-console`.

pub(super) mod program;

use super::args::Console;
use super::errors;
use super::exit::Outcome;
use crate::console::{Order, ServePages};
use crate::control::Client;
use crate::service::Operations;

/// Becomes the program that does it.
///
/// # Errors
/// [`Exit::NotMounted`](super::Exit::NotMounted); what resolving the target may say; the daemon doesn't answer this user;
/// the program isn't there, or isn't to be trusted.
pub(super) fn run(args: &Console) -> Outcome {
    let entry = program::mount_of(&args.target, "the console")?;
    // Pages that can show nothing aren't served.
    Client::of(&entry).status().map_err(|error| errors::operation(&error))?;
    let (location, owner, vault) = (entry.location, entry.owner, entry.vault);
    let (listen, read_only) = (args.listen, args.read_only);
    program::start(&Order::ServePages(ServePages { location, owner, vault, listen, read_only }))
}
