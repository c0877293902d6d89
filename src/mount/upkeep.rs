//! What becomes of a mount while it is served: it is remounted, detached, or no longer used.
//!
//! The kernel tells of changes to the list of mounts (poll(2) on /proc/self/mountinfo). Remounts in another mount namespace it
//! doesn't tell of, so the list is read every minute too.
//!
//! **Idle.** A mount with an idle time is unmounted once there was no use (`fuse::Activity`), no open file, and no sweep or
//! check that someone ordered for so long.
//! The kernel has the last word: an unmount that isn't lazy fails while a program has its working directory or anything
//! else in there, and that counts as a use. The time is that in which the machine runs.

use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;

use super::error::MountError;
use super::mountinfo::{self, Mount};
use super::unmount::{UnmountMode, unmount_exactly};
use crate::events::{NOTICES, UnmountReason};
use crate::fuse::Activity;
use crate::service::OpenVault;
use crate::vault::Vault;

/// How often the list of mounts is read though nothing was told of.
const SELDOM: Duration = Duration::from_secs(60);
/// The least time between two readings: where containers come and go, mounts change all the time.
const PAUSE: Duration = Duration::from_millis(200);
/// A mount that isn't in the list is logged as detached if its session hasn't ended by then.
const ENDING: Duration = Duration::from_secs(2);
/// In how many parts an idle time is watched.
const PARTS: u32 = 10;

/// Unmounts a mount that isn't used.
pub(super) struct IdleTimer {
    after: Duration,
    vault: Arc<Vault>,
    activity: Arc<Activity>,
    /// Of the event; read when this thread has ended.
    reason: Arc<OnceLock<UnmountReason>>,
    last_use: Instant,
}

impl IdleTimer {
    /// Counts from now on.
    pub(super) fn new(
        after: Duration,
        vault: Arc<Vault>,
        activity: Arc<Activity>,
        reason: Arc<OnceLock<UnmountReason>>,
    ) -> Self {
        Self { after, vault, activity, reason, last_use: Instant::now() }
    }

    fn interval(&self) -> Duration {
        (self.after / PARTS).clamp(Duration::from_millis(50), SELDOM)
    }

    /// Looks for uses since the last call. Whether there was none for long enough.
    fn is_over(&mut self, open: &OpenVault) -> bool {
        if self.activity.take() || self.vault.has_open_files() || open.is_at_work() {
            self.last_use = Instant::now();
        }
        self.last_use.elapsed() >= self.after
    }

    fn look(&mut self, mount: &Mount, open: &OpenVault) {
        if !self.is_over(open) {
            return;
        }
        match unmount_exactly(mount, UnmountMode::Clean) {
            Ok(()) => {
                let _ = self.reason.set(UnmountReason::Idle);
            }
            Err(MountError::Busy(_)) => {}
            Err(error) => tracing::warn!("nothing uses it, and it is to be unmounted: {error}"),
        }
        // Tried again after as long.
        self.last_use = Instant::now();
    }
}

/// The thread that watches. It ends when this is dropped.
pub(super) struct Upkeep {
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    /// Starts it.
    ///
    /// # Errors
    /// If no thread or descriptor can be had.
    pub(super) fn start(mount: Mount, open: Arc<OpenVault>, idle: Option<IdleTimer>) -> io::Result<Self> {
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let list = File::open("/proc/self/mountinfo").ok();
        let state = State { open, read_only: mount.read_only, missing_since: None, detached: false, mount };
        let thread = std::thread::Builder::new().name("rekeyfs-upkeep".into()).spawn({
            let end = Arc::clone(&end);
            move || run(state, idle, list.as_ref(), &end)
        })?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.end, &1_u64.to_ne_bytes());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watches the mount panicked");
        }
    }
}

fn run(mut state: State, mut idle: Option<IdleTimer>, list: Option<&File>, end: &OwnedFd) {
    loop {
        state.look();
        if waits_out(end, PAUSE, None) {
            return;
        }
        let patience = idle.as_ref().map_or(SELDOM, IdleTimer::interval).min(state.patience());
        if waits_out(end, patience, list) {
            return;
        }
        if let Some(idle) = &mut idle {
            idle.look(&state.mount, &state.open);
        }
    }
}

/// Waits for the end, at most so long, and no longer than until the list of mounts changes. Whether the end has come.
fn waits_out(end: &OwnedFd, patience: Duration, list: Option<&File>) -> bool {
    let mut fds = vec![PollFd::new(end, PollFlags::IN)];
    fds.extend(list.map(|list| PollFd::new(list, PollFlags::PRI)));
    let timeout = Timespec::try_from(patience).ok();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => fds.first().is_some_and(|end| !end.revents().is_empty()),
        Err(_) => {
            std::thread::sleep(PAUSE);
            false
        }
    }
}

/// What is known of the mount.
struct State {
    mount: Mount,
    open: Arc<OpenVault>,
    read_only: bool,
    missing_since: Option<Instant>,
    detached: bool,
}

impl State {
    fn patience(&self) -> Duration {
        if self.missing_since.is_some() && !self.detached { ENDING } else { SELDOM }
    }

    fn look(&mut self) {
        let at = self.mount.mountpoint.display();
        let Some(now) = mountinfo::now(&self.mount) else {
            let since = *self.missing_since.get_or_insert_with(Instant::now);
            self.open.detached();
            if !self.detached && since.elapsed() >= ENDING {
                self.detached = true;
                tracing::warn!("{at}: detached; programs that have files in there are still served");
            }
            return;
        };
        self.missing_since = None;
        if now.read_only != self.read_only {
            self.read_only = now.read_only;
            self.open.remounted(now.read_only);
            let (to, rewraps) =
                if now.read_only { ("read-only", "held back") } else { ("writable", "go on") };
            tracing::info!(target: NOTICES, "{at}: remounted {to}: re-wraps {rewraps}");
        }
        self.mount = now;
    }
}
