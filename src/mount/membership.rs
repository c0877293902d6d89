//! A mount's membership among those that share its vault, for as long as it is served: a thread renews the lease (`keyring`,
//! hosts). The writer is killed by the kernel when its lease is over, even if it is stopped or waits for a cluster that doesn't answer:
//! another host may have the vault by then.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rustix::process::{Signal, getpid, kill_process};

use super::error::MountError;
use super::late::LateWatch;
use super::{lock, log};
use crate::hosts::{BootId, HostName, Mode};
use crate::keyring::{Identity, Keys, Membership, NotRenewed, lease};
use crate::storage::Lease;
use crate::sys::boottime::{BootTime, KillTimer};

/// How many renewals a lease has time for.
const RENEWALS: u32 = 3;
/// How many attempts a lease has time for, once a renewal has failed.
pub(super) const ATTEMPTS: u32 = 20;

/// The membership of the mount that may change the vault. It is left when this is dropped.
pub(super) struct WriterMembership {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread has.
struct Renewing {
    keys: Arc<Keys>,
    membership: Membership,
    lease: Arc<Lease>,
    timer: KillTimer,
    vault: PathBuf,
    _late: LateWatch,
}

impl WriterMembership {
    /// Marks the vault as shared, if it isn't yet, and registers this mount, whose vault's lock is held.
    ///
    /// # Errors
    /// What [`Keys::share`] and [`Keys::join`] say; [`MountError::Daemon`] if there is no timer or thread to be had.
    pub(super) fn join(keys: &Arc<Keys>, vault: &Path) -> Result<Self, MountError> {
        let who = identity(Mode::Writer)?;
        keys.share()?;
        let membership = keys.join(&who)?;
        let (keys, vault) = (Arc::clone(keys), vault.to_owned());
        let (end, ended) = channel();
        let (armed, arming) = channel();
        let thread = std::thread::Builder::new().name("rekeyfs-lease".into()).spawn(move || {
            match Renewing::begin(keys, membership, vault) {
                Ok(renewing) => {
                    // The receiver waits for it.
                    let _ = armed.send(Ok(()));
                    renewing.until(&ended);
                }
                Err(error) => drop(armed.send(Err(error))),
            }
        });
        let thread = thread.map_err(MountError::Daemon)?;
        let begun = Self { end: Some(end), thread: Some(thread) };
        let panicked = |_| Err(io::Error::other("the thread that renews the lease panicked"));
        arming.recv().unwrap_or_else(panicked).map_err(MountError::Daemon)?;
        Ok(begun)
    }
}

impl Renewing {
    fn begin(keys: Arc<Keys>, membership: Membership, vault: PathBuf) -> io::Result<Self> {
        let (timer, end) = (KillTimer::new()?, membership.lease_end());
        let lease = Lease::of_writer(end);
        let late = LateWatch::start(Arc::clone(&lease), vault.clone())?;
        let mut renewing = Self { keys, membership, lease, timer, vault, _late: late };
        renewing.extend(end)?;
        Ok(renewing)
    }

    /// Renews until it is told to end, and leaves.
    fn until(mut self, ended: &Receiver<()>) {
        let mut pause = until_the_next(BootTime::now());
        let mut failing = false;
        while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let began = BootTime::now();
            let renewed = self.keys.renew(&mut self.membership);
            pause = match renewed.and_then(|end| self.extend(end).map_err(into_errno)) {
                Ok(()) => {
                    failing = false;
                    until_the_next(began)
                }
                Err(why @ NotRenewed::Evicted(_)) => end_at_once(&self.vault, &why),
                Err(error) => {
                    if !failing {
                        let vault = self.vault.display();
                        tracing::warn!(
                            "{vault}: its lease can't be renewed, and this mount ends with it: {error}"
                        );
                    }
                    failing = true;
                    lease() / ATTEMPTS
                }
            };
        }
        let Self { membership, vault, .. } = &mut self;
        if let Err(error) = membership.leave() {
            let vault = vault.display();
            tracing::warn!(
                "{vault}: other hosts wait for this mount's lease to end, for that it left can't be written: {error}"
            );
        }
    }

    fn extend(&mut self, end: BootTime) -> io::Result<()> {
        self.timer.kill_at(end)?;
        self.lease.extend(end);
        Ok(())
    }
}

/// How long a member waits after a renewal. A lease lasts from the beginning of a renewal on: one that took long is followed at once.
pub(super) fn until_the_next(began: BootTime) -> Duration {
    (lease() / RENEWALS).saturating_sub(began.elapsed())
}

/// Ends the process: what it hasn't written yet would destroy what another host has.
pub(super) fn end_at_once(vault: &Path, why: &NotRenewed) -> ! {
    tracing::error!("{}: this mount ends now, without writing anything more: {why}", vault.display());
    log::finish();
    loop {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

fn into_errno(error: io::Error) -> NotRenewed {
    NotRenewed::Io(crate::storage::Errno::from_io_error(&error).unwrap_or(crate::storage::Errno::IO))
}

impl Drop for WriterMembership {
    fn drop(&mut self) {
        drop(self.end.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that renews the lease panicked");
        }
    }
}

/// This mount as a member that may do that.
///
/// # Errors
/// This host has no name.
pub(super) fn identity(mode: Mode) -> Result<Identity, MountError> {
    Ok(Identity { host: this_host()?, boot: boot_id(), mode })
}

fn this_host() -> Result<HostName, MountError> {
    let problem = "this host has no name by which others could tell it; give it one (hostname)";
    HostName::new(&lock::host()).ok_or(MountError::Option { option: "shared", problem })
}

/// For people. Zeros where the kernel doesn't say.
fn boot_id() -> BootId {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let bytes = HEXLOWER.decode(text.trim_end().replace('-', "").as_bytes()).ok();
    BootId(bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default())
}
