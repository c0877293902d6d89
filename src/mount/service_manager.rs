//! What a mount in the foreground tells the service manager that started it (systemd), by sd_notify(3).
//!
//! - `READY=1` once the mount answers: a statfs of its root has come back through the kernel.
//! - `STATUS=` a line for `systemctl status`: what is done, and at the end why there is no mount, whatever the reason and
//!   however early (`cli` tells it, which knows all of them).
//! - `STOPPING=1` when an unmount begins: at a signal, or when the kernel ends the session.
//! - `WATCHDOG=1` at half of the time that the manager allows, each after another such statfs. It says that the kernel
//!   delivers requests and that a session thread has answered one; the answer comes from the lower filesystem, so one
//!   that is stuck shows too. It says nothing of other requests, of keys or of data. Where the mount can't be asked it is
//!   sent without: once it is detached, while another mount covers it, and from the beginning of an unmount on, as the
//!   last sync may take long.
//!
//! **A process that waits for its own mount can't be killed** as long as it holds the session's descriptor: the kernel
//! ends the wait when that is closed. So the thread that asks has a descriptor table of its own, without it: when the
//! other threads are killed the session ends, and with it the wait. That thread logs nothing: the log's descriptor is in
//! the process's table.
//!
//! While it asks, for some microseconds, an unmount finds the mount busy, as with any program that looks at it.
//!
//! The variables by which the manager is found stay in the environment, which nothing changes once there are threads;
//! programs that this one runs don't inherit them (`sys::process::helper`).

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use sd_notify::NotifyState;

use super::mountinfo::{self, Mount};
use super::options::MountOptions;
use crate::printable;
use crate::sys::process::keep_standard_descriptors;

/// The variable that names the manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The service manager, or that there is none.
#[derive(Clone)]
pub(super) struct ServiceManager {
    listens: bool,
    /// An unmount has begun.
    stopping: Arc<AtomicBool>,
}

/// How a mount was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    /// It answered, if only by an error.
    Answered,
    /// Nobody serves it any more.
    Ended,
    /// It can't be reached by its path.
    OutOfReach,
}

impl ServiceManager {
    /// That of a mount with these options. Only one in the foreground has it: a daemon isn't the process that was
    /// started.
    pub(super) fn of(options: &MountOptions) -> Self {
        let manager = Self::of_this_process();
        Self { listens: manager.listens && options.foreground, ..manager }
    }

    /// Reports that the mount serves once it does, and from then on that it is alive, as often as is wanted.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(super) fn watch(&self, mount: Mount) -> io::Result<()> {
        if self.listens {
            let manager = self.clone();
            // Not joined: it may wait for the mount until the process has let go of it.
            std::thread::Builder::new()
                .name("rekeyfs-notify".to_owned())
                .spawn(move || manager.report(&mount))?;
        }
        Ok(())
    }

    /// That of this process, if it was started by one.
    fn of_this_process() -> Self {
        let listens = std::env::var_os(SOCKET).is_some_and(|path| !path.is_empty());
        Self { listens, stopping: Arc::default() }
    }

    /// An unmount has begun.
    pub(super) fn stopping(&self, doing: &str) {
        self.stopping.store(true, Ordering::Relaxed);
        self.send(&[NotifyState::Stopping, NotifyState::Status(&printable::line(doing))]);
    }

    /// What is done now.
    pub(super) fn status(&self, text: &str) {
        self.send(&[NotifyState::Status(&printable::line(text))]);
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        if self.listens {
            // The manager may be gone; the files matter more.
            let _ = sd_notify::notify(states);
        }
    }

    /// The life of the thread that asks. Nothing in here logs.
    fn report(&self, mount: &Mount) {
        // Where that is forbidden the mount isn't asked: this thread could keep the process from ending.
        let may_ask = keep_standard_descriptors().is_ok();
        if may_ask && ask(mount) == Asked::Ended {
            return;
        }
        let serves =
            format!("{} is mounted at {}", shown(&mount.source), shown(mount.mountpoint.as_os_str()));
        if self.stopping.load(Ordering::Relaxed) {
            self.send(&[NotifyState::Ready]);
        } else {
            self.send(&[NotifyState::Ready, NotifyState::Status(&serves)]);
        }
        let Some(period) = sd_notify::watchdog_enabled().map(ping_period) else { return };
        loop {
            std::thread::sleep(period);
            if may_ask && !self.stopping.load(Ordering::Relaxed) && ask(mount) == Asked::Ended {
                return;
            }
            self.send(&[NotifyState::Watchdog]);
        }
    }
}

/// Tells the service manager, if there is one, why a mount in the foreground failed.
pub fn report_failure(line: &str) {
    ServiceManager::of_this_process().status(line);
}

/// How often the watchdog is told, if it allows this long: an answer has the other half.
fn ping_period(allowed: Duration) -> Duration {
    (allowed / 2).max(Duration::from_millis(1))
}

fn shown(name: &OsStr) -> String {
    printable::line(&name.to_string_lossy()).into_owned()
}

/// Has the kernel ask the daemon for the state of the filesystem, which no cache answers. Waits for the answer.
fn ask(mount: &Mount) -> Asked {
    let found = mountinfo::now(mount);
    let Some(path) = found.filter(|now| mountinfo::at(&now.mountpoint).as_ref() == Some(now)) else {
        return Asked::OutOfReach;
    };
    match rustix::fs::statfs(&path.mountpoint) {
        Err(Errno::NOTCONN | Errno::CONNABORTED) => Asked::Ended,
        _ => Asked::Answered,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_mount_is_asked_by_its_path_if_that_leads_to_it() {
        let proc = std::fs::File::open("/proc/self/status").unwrap();
        let mount = mountinfo::of(proc.as_fd()).unwrap();
        if mountinfo::at(&mount.mountpoint).as_ref() == Some(&mount) {
            assert_eq!(ask(&mount), Asked::Answered);
        }
        let gone = Mount { device: u64::MAX, ..mount };
        assert_eq!(ask(&gone), Asked::OutOfReach);
    }

    #[test]
    fn the_watchdog_is_told_twice_in_its_time() {
        assert_eq!(ping_period(Duration::from_secs(60)), Duration::from_secs(30));
        assert!(ping_period(Duration::ZERO) > Duration::ZERO);
    }
}
