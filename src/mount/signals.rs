//! SIGTERM, SIGINT, SIGHUP, and SIGXCPU (which comes before a limit on CPU time kills) unmount. If programs use the mount, it is
//! detached from the tree, and the daemon serves them until the last file is closed. No signal that can be caught ends the
//! daemon with data in flight.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU};
use signal_hook::iterator::{Handle, Signals};

use super::error::MountError;
use super::mountinfo::Mount;
use super::service_manager::ServiceManager;
use super::unmount::{UnmountMode, unmount_exactly};
use crate::events::UnmountReason;
use crate::sys::signals::is_ignored;

/// Signals that came before there is a mount wait here.
pub(super) struct PendingSignals(Signals);

/// The thread that waits for signals. It ends when this is dropped.
pub(super) struct SignalThread {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl PendingSignals {
    /// Collects signals from now on. SIGINT and SIGHUP stay ignored if they are, as nohup(1) wants it.
    pub(super) fn collect() -> io::Result<Self> {
        let optional = [SIGINT, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal));
        Signals::new(optional.chain([SIGTERM, SIGXCPU])).map(Self)
    }

    /// Unmounts `mount` when one comes, or came before, tells `manager`, and says so in `reason`.
    pub(super) fn watch(
        self,
        mount: Mount,
        reason: Arc<OnceLock<UnmountReason>>,
        manager: ServiceManager,
    ) -> io::Result<SignalThread> {
        let mut signals = self.0;
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in &mut signals {
                let _ = reason.set(UnmountReason::Signal(signal));
                manager.stopping(&format!("unmounting {}", mount.mountpoint.display()));
                leave(&mount);
            }
        })?;
        Ok(SignalThread { handle, thread: Some(thread) })
    }
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Unmounts, lazily if it is busy. Nothing happens if the mount is gone from the tree.
pub(super) fn leave(mount: &Mount) {
    let left = match unmount_exactly(mount, UnmountMode::Clean) {
        Err(MountError::Busy(path)) => {
            tracing::warn!("{}: busy: detached; serving until its last user is gone", path.display());
            unmount_exactly(mount, UnmountMode::Lazy)
        }
        left => left,
    };
    match left {
        Ok(()) | Err(MountError::NotMounted(_)) => {}
        Err(error) => tracing::error!("{error}"),
    }
}
