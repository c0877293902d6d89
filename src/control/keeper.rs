//! Notices that a mount's socket or registry file is gone, and has it made again.
//!
//! inotify reports the removal of the files and of their directory, and poll(2) on the list of mounts an unmount that leaves
//! them where nobody gets at them; nothing reports that a directory above is renamed. So they are also looked at: soon after each event, then less and less often, every
//! minute in the end. Not at once: what removes a directory fails if a file appears in it meanwhile.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::endpoint::Endpoint;

/// How long after an event it is looked; doubled each time until the next event.
pub(super) const SOON: Duration = Duration::from_millis(300);
/// How often it is looked at least.
const SELDOM: Duration = Duration::from_secs(60);
/// The same where the kernel has no inotify instance for this user any more.
const UNWATCHED: Duration = Duration::from_secs(2);

/// Keeps one endpoint reachable.
pub(super) struct Keeper {
    watch: Option<OwnedFd>,
    mounts: Option<File>,
    interval: Duration,
    next: Instant,
    complained: bool,
}

impl Keeper {
    /// Begins to watch.
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let watch = watch(endpoint);
        let mounts = File::open("/proc/self/mountinfo").ok();
        Self { watch, mounts, interval: SELDOM, next: Instant::now() + SOON, complained: false }
    }

    /// What reports an event.
    pub(super) fn events(&self) -> impl Iterator<Item = PollFd<'_>> {
        let watch = self.watch.iter().map(|fd| PollFd::new(fd, PollFlags::IN));
        watch.chain(self.mounts.iter().map(|mounts| PollFd::new(mounts, PollFlags::PRI)))
    }

    /// How long until it is to be looked.
    pub(super) fn patience(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Takes the events that came.
    pub(super) fn noticed(&mut self) {
        let mut buffer = [0; 4096];
        // Their content doesn't matter.
        while self.watch.as_ref().is_some_and(|fd| rustix::io::read(fd, &mut buffer).is_ok_and(|n| n > 0)) {}
        // Not later each time: mounts may change all the time.
        self.interval = SOON;
        self.next = self.next.min(Instant::now() + SOON);
    }

    /// Looks, if it is time, and has the endpoint made again if it is gone. Whether it was.
    pub(super) fn look(&mut self, endpoint: &mut Endpoint) -> bool {
        if Instant::now() < self.next {
            return false;
        }
        let gone = !endpoint.is_reachable();
        if gone {
            match endpoint.restore() {
                Ok(()) => {
                    (self.interval, self.complained) = (SOON, false);
                    tracing::info!(
                        "the control socket was removed: it is {} now",
                        endpoint.socket().display()
                    );
                }
                Err(error) if !self.complained => {
                    self.complained = true;
                    tracing::warn!(
                        "the control socket was removed, and `rotate` can't reach this mount: {error}"
                    );
                }
                Err(_) => {}
            }
            self.watch = watch(endpoint);
        }
        let seldom = if self.watch.is_some() && !self.complained { SELDOM } else { UNWATCHED };
        self.next = Instant::now() + self.interval.min(seldom);
        self.interval = (self.interval * 2).min(seldom);
        gone
    }
}

fn watch(endpoint: &Endpoint) -> Option<OwnedFd> {
    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    // An unlink of a bound socket changes its attributes: the socket keeps the inode.
    let what = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::DONT_FOLLOW;
    for path in endpoint.paths() {
        // The registry file may not be there yet.
        let _ = inotify::add_watch(&fd, path, what);
    }
    Some(fd)
}
