//! `rekeyfs umount`, and the same as umount(8) calls it.

use std::io;
use std::path::Path;

use rustix::process::geteuid;
use serde::Serialize;

use super::args;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::output;
use super::target::Destination;
use crate::control::Client;
use crate::ids::PathText;
use crate::mount::mountinfo::{self, Mount};
use crate::mount::{self, FlagChanges, MountError, UnmountMode};
use crate::storage::{Walked, walk};

/// What was unmounted, as JSON.
#[derive(Serialize)]
struct Unmounted {
    mountpoint: PathText,
    /// Whether this mount is gone. Another one may have been below it.
    unmounted: bool,
    /// Whether it was only detached: its daemon ends with the last program that uses it.
    lazy: bool,
}

/// Unmounts the mount that a path is the root of, or that of the vault whose directory it is, as the kernel has it,
/// and waits for the daemon's end unless it is to be lazy. A mount whose daemon died is taken away from whoever is in there.
///
/// # Errors
/// [`Exit::NotMounted`], [`Exit::Busy`], [`Exit::InUse`] if the daemon stays, or what the kernel says.
pub(super) fn run(args: &args::Umount) -> Outcome {
    let how = if args.lazy { UnmountMode::Lazy } else { UnmountMode::Clean };
    let found = if args.lazy { unasked(&args.mountpoint) } else { None };
    let mount = match found {
        Some(mount) => detach(mount, how),
        None => unmount(&args.mountpoint, how),
    }?;
    if !*args.json {
        return Ok(());
    }
    let unmounted = mountinfo::now(&mount).is_none();
    output::print_json(&Unmounted { mountpoint: PathText(mount.mountpoint), unmounted, lazy: args.lazy })
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
        // umount(8) gives it without symlinks.
        let found = mountinfo::at(&args.mountpoint).filter(Mount::is_vault);
        let mount = found.ok_or_else(|| errors::mount(&MountError::NotMounted(args.mountpoint.clone())))?;
        return detach(mount, if args.force { UnmountMode::Forced } else { UnmountMode::Lazy }).map(drop);
    }
    match unmount(&args.mountpoint, UnmountMode::Clean) {
        Err(failure) if failure.exit == Exit::Busy && args.read_only => {
            let read_only = FlagChanges { read_only: Some(true), ..FlagChanges::default() };
            mount::remount(&args.mountpoint, &read_only).map_err(|error| errors::mount(&error))
        }
        done => done.map(drop),
    }
}

/// The vault that is mounted at a path, found without a request to its daemon, which may hang: walked is what leads to the
/// mountpoint, and the mount itself is looked up in the kernel's list.
fn unasked(path: &Path) -> Option<Mount> {
    let path = std::path::absolute(path).ok()?;
    let listed = |path: &Path| mountinfo::at(path).filter(Mount::is_vault);
    listed(&path).or_else(|| {
        let (parent, name) = (path.parent()?, path.file_name()?);
        let parent = walk(parent, geteuid().as_raw()).and_then(Walked::there).ok()?;
        listed(&parent.path().join(name))
    })
}

/// Takes a mount out of the tree without asking its daemon anything.
fn detach(mount: Mount, how: UnmountMode) -> Outcome<Mount> {
    mount::unmount(&mount, None, how).map_err(|error| errors::mount(&error))?;
    Ok(mount)
}

fn unmount(target: &Path, how: UnmountMode) -> Outcome<Mount> {
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
    // A daemon that hangs is not asked whether it is dead.
    let dead = how == UnmountMode::Clean && mount.as_ref().is_some_and(mount::is_dead);
    // Held, it were a use of the mount.
    let there = walked.there().map(drop);
    let mount = mount.ok_or_else(|| match there {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Failure::new(Exit::NotMounted, target.display(), error)
        }
        _ => errors::mount(&MountError::NotMounted(target.to_owned())),
    })?;
    let waited_for = entry.filter(|_| how == UnmountMode::Clean);
    let daemon =
        waited_for.and_then(|entry| Client::of(&entry).peer().ok()).map(|peer| peer.as_raw_nonzero().get());
    // What a dead daemon left is of no use to whoever is in there.
    let how = if dead { UnmountMode::Lazy } else { how };
    mount::unmount(&mount, daemon, how).map_err(|error| errors::mount(&error))?;
    Ok(mount)
}
