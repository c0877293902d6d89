//! `rekeyfs umount`.

use std::io;

use super::args;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::target::Destination;
use crate::control::Client;
use crate::mount::mountinfo::{self, Mount};
use crate::mount::{self, MountError, UnmountMode};

/// Unmounts the mount that a path is the root of, or that of the vault whose directory it is, as the kernel has it,
/// and waits for the daemon's end unless it is to be lazy.
///
/// # Errors
/// [`Exit::NotMounted`], [`Exit::Busy`], [`Exit::InUse`] if the daemon stays, or what the kernel says.
pub(super) fn run(args: &args::Umount) -> Outcome {
    let Destination { walked, mount, entry } = Destination::of(&args.mountpoint)?;
    let is_root = |mount: &Mount| mount.mountpoint == walked.path();
    let mount = match mount {
        Some(mount) => Some(mount).filter(is_root),
        None => entry.as_ref().and_then(|entry| {
            let of_vault = |mount: &Mount| {
                let named = mount.mountpoint == entry.mountpoint.as_path();
                named && mount.device == entry.mount_dev && mount.user == Some(entry.owner)
            };
            mountinfo::mounts().into_iter().rfind(of_vault)
        }),
    };
    // Held, it were a use of the mount.
    let there = walked.there().map(drop);
    let mount = mount.ok_or_else(|| match there {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Failure::new(Exit::NotMounted, args.mountpoint.display(), error)
        }
        _ => errors::mount(&MountError::NotMounted(args.mountpoint.clone())),
    })?;
    let daemon =
        entry.and_then(|entry| Client::of(&entry).peer().ok()).map(|peer| peer.as_raw_nonzero().get());
    let how = if args.lazy { UnmountMode::Lazy } else { UnmountMode::Clean };
    mount::unmount(&mount, daemon, how).map_err(|error| errors::mount(&error))
}
