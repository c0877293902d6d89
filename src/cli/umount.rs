//! `rekeyfs umount`, and the same as umount(8) calls it.

use std::io;
use std::path::Path;

use super::args;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::target::Destination;
use crate::control::Client;
use crate::mount::mountinfo::{self, Mount};
use crate::mount::{self, FlagChanges, MountError, UnmountMode};

/// Unmounts the mount that a path is the root of, or that of the vault whose directory it is, as the kernel has it,
/// and waits for the daemon's end unless it is to be lazy. A mount whose daemon died is taken away from whoever is in there.
///
/// # Errors
/// [`Exit::NotMounted`], [`Exit::Busy`], [`Exit::InUse`] if the daemon stays, or what the kernel says.
pub(super) fn run(args: &args::Umount) -> Outcome {
    unmount(&args.mountpoint, if args.lazy { UnmountMode::Lazy } else { UnmountMode::Clean })
}

/// Unmounts for umount(8).
///
/// # Errors
/// As [`run`], and [`Exit::Usage`] for what only umount(8) itself can do.
pub(super) fn run_helper(args: &args::UmountHelper) -> Outcome {
    if args.namespace.is_some() {
        let cause =
            "this is done in the caller's own namespace: `nsenter --mount=NAMESPACE umount MOUNTPOINT`";
        return Err(Failure::new(Exit::Usage, "umount -N", cause));
    }
    if args.force || args.lazy {
        return detach(&args.mountpoint, if args.force { UnmountMode::Forced } else { UnmountMode::Lazy });
    }
    match unmount(&args.mountpoint, UnmountMode::Clean) {
        Err(failure) if failure.exit == Exit::Busy && args.read_only => {
            let read_only = FlagChanges { read_only: Some(true), ..FlagChanges::default() };
            mount::remount(&args.mountpoint, &read_only).map_err(|error| errors::mount(&error))
        }
        done => done,
    }
}

/// Takes a mount out of the tree without asking its daemon anything, which may hang: it is found by its path alone, which
/// umount(8) gives without symlinks.
fn detach(mountpoint: &Path, how: UnmountMode) -> Outcome {
    let found = mountinfo::at(mountpoint).filter(Mount::is_vault);
    let mount = found.ok_or_else(|| errors::mount(&MountError::NotMounted(mountpoint.to_owned())))?;
    mount::unmount(&mount, None, how).map_err(|error| errors::mount(&error))
}

fn unmount(target: &Path, how: UnmountMode) -> Outcome {
    let place = Destination::of(target)?;
    if place.mount.is_none()
        && let Some(detached) = place.detached()
    {
        return Err(detached.failure(target));
    }
    let Destination { walked, mount, entry } = place;
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
    let mount = mount.or_else(|| mount::dead_mount_of(walked.path()));
    let dead = mount.as_ref().is_some_and(mount::is_dead);
    // Held, it were a use of the mount.
    let there = walked.there().map(drop);
    let mount = mount.ok_or_else(|| match there {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Failure::new(Exit::NotMounted, target.display(), error)
        }
        _ => errors::mount(&MountError::NotMounted(target.to_owned())),
    })?;
    let daemon =
        entry.and_then(|entry| Client::of(&entry).peer().ok()).map(|peer| peer.as_raw_nonzero().get());
    // What a dead daemon left is of no use to whoever is in there.
    let how = if dead { UnmountMode::Lazy } else { how };
    mount::unmount(&mount, daemon, how).map_err(|error| errors::mount(&error))
}
