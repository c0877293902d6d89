//! `rekeyfs umount`.

use std::os::unix::fs::MetadataExt;

use super::args;
use super::errors;
use super::exit::Outcome;
use super::target;
use crate::control::{Client, Entry};
use crate::mount::{self, How};

/// Unmounts, and waits for the daemon's end unless it is to be lazy.
///
/// # Errors
/// [`Exit::NotMounted`](super::Exit::NotMounted), [`Exit::Busy`](super::Exit::Busy), or what the kernel says.
pub(super) fn run(args: &args::Umount) -> Outcome {
    let entries = target::known();
    let (entry, place) = match std::fs::metadata(&args.mountpoint) {
        Ok(meta) => {
            let by_vault = |e: &&Entry| (e.location.dev, e.location.ino) == (meta.dev(), meta.ino());
            match entries.iter().find(by_vault) {
                Some(entry) => (Some(entry), entry.mountpoint.as_path()),
                None => (entries.iter().find(|e| e.mount_dev == meta.dev()), args.mountpoint.as_path()),
            }
        }
        // Another user's mount, which root isn't let into, or one whose daemon died and has no entry.
        Err(_) => (target::by_name(&args.mountpoint, &entries), args.mountpoint.as_path()),
    };
    let daemon = entry
        .and_then(|entry| Client::connect(&entry.socket).ok())
        .map(|client| client.peer().as_raw_nonzero().get());
    let how = if args.lazy { How::Lazy } else { How::Clean };
    mount::unmount(place, daemon, how).map_err(|error| errors::mount(&error))
}
