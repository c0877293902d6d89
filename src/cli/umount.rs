//! `rekeyfs umount`.

use std::os::unix::fs::MetadataExt;

use super::args;
use super::errors;
use super::exit::Outcome;
use crate::control::{self, Client, Entry};
use crate::mount::{self, How};

/// Unmounts, and waits for the daemon's end unless it is to be lazy.
///
/// # Errors
/// [`Exit::NotMounted`](super::Exit::NotMounted), [`Exit::Busy`](super::Exit::Busy), or what the kernel says.
pub(super) fn run(args: &args::Umount) -> Outcome {
    // A mount whose daemon died can't be looked at; it has no entry, and nothing to wait for.
    let entry = std::fs::metadata(&args.mountpoint).ok().and_then(|meta| {
        let stands_for = |entry: &Entry| {
            let vault = (entry.location.dev, entry.location.ino);
            entry.mount_dev == meta.dev() || vault == (meta.dev(), meta.ino())
        };
        control::entries().into_iter().find(stands_for).map(|entry| (entry, meta.dev()))
    });
    let place = match &entry {
        // Named by the vault's directory.
        Some((entry, dev)) if entry.mount_dev != *dev => entry.mountpoint.as_path(),
        _ => &args.mountpoint,
    };
    let daemon = entry
        .as_ref()
        .and_then(|(entry, _)| Client::connect(&entry.socket).ok())
        .map(|client| client.peer().as_raw_nonzero().get());
    let how = if args.lazy { How::Lazy } else { How::Clean };
    mount::unmount(place, daemon, how).map_err(|error| errors::mount(&error))
}
