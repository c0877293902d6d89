//! SIGTERM, SIGINT, SIGHUP, and SIGXCPU before a limit on CPU time kills, unmount: cleanly if nobody uses the mount,
//! else out of the tree, after which the daemon serves those who have files open until the last is gone. No signal
//! that can be caught ends it with data in flight.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU};
use signal_hook::iterator::{Handle, Signals};

use super::error::MountError;
use super::mountinfo::Mount;
use super::unmount::{How, take_away};
use crate::sys::signals::is_ignored;

/// Signals that have come wait here until there is a mount to take away.
pub(super) struct Pending(Signals);

/// The thread that waits for signals; dropping it ends it.
pub(super) struct Watch {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Pending {
    /// Collects signals from now on. SIGINT and SIGHUP that are ignored, by nohup(1) say, stay so.
    pub(super) fn collect() -> io::Result<Self> {
        let optional = [SIGINT, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal));
        Signals::new(optional.chain([SIGTERM, SIGXCPU])).map(Self)
    }

    /// Acts on them: takes `mount` away.
    pub(super) fn watch(self, mount: Mount) -> io::Result<Watch> {
        let mut signals = self.0;
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in &mut signals {
                tracing::info!(signal, "unmounting {}", mount.mountpoint.display());
                leave(&mount);
            }
        })?;
        Ok(Watch { handle, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Unmounts, lazily if it is busy. Nothing happens if the mount is gone from the tree.
pub(super) fn leave(mount: &Mount) {
    let left = match take_away(mount, How::Clean) {
        Err(MountError::Busy(path)) => {
            tracing::warn!("{}: busy: detached; serving until its last user is gone", path.display());
            take_away(mount, How::Lazy)
        }
        left => left,
    };
    match left {
        Ok(()) | Err(MountError::NotMounted(_)) => {}
        Err(error) => tracing::error!("{error}"),
    }
}
