//! The membership of a mount that reads what another host writes, for as long as it is served. One thread renews the lease, and takes into
//! use what that host has changed of the keyring before it says so (`keyring`, hosts). Another one watches the lease: the first may
//! wait for a cluster that doesn't answer. When the lease is over it has the vault withhold what takes a key, until the lease is
//! renewed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::error::MountError;
use super::membership::{ATTEMPTS, end_at_once, identity, until_the_next};
use crate::hosts::Mode;
use crate::keyring::{Keys, Membership, NotRenewed, lease};
use crate::storage::Lease;
use crate::sys::boottime::BootTime;
use crate::vault::Vault;

/// How often the lease is looked at at least: a machine that was suspended goes on with one that is over.
const WATCH: Duration = Duration::from_secs(1);
/// How long the end of a mount waits for each of the two threads: one that waits for a cluster that doesn't answer ends with the process.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);
/// How often it is looked whether a lease that was over is renewed.
const WITHHELD: Duration = Duration::from_millis(100);

/// The membership of a reader. It is left when this is dropped.
pub(super) struct ReaderMembership {
    vault: PathBuf,
    lease: Arc<Lease>,
    ends: Vec<Sender<()>>,
    renewing: Option<JoinHandle<Membership>>,
    watching: Option<JoinHandle<()>>,
}

impl ReaderMembership {
    /// Registers this mount, and takes the keyring into use that is there then.
    ///
    /// # Errors
    /// The vault isn't shared; what [`Keys::join`] says; [`MountError::Daemon`] if there is no thread to be had.
    pub(super) fn join(keys: &Arc<Keys>, vault: &Path) -> Result<Self, MountError> {
        if !keys.is_shared() {
            let problem = "the vault isn't shared: the host that writes it mounts it with --shared first";
            return Err(MountError::Option { option: "shared", problem });
        }
        let mut membership = keys.join(&identity(Mode::Reader)?)?;
        let lease = Lease::of_reader();
        lease.extend(membership.lease_end());
        let (end, ended) = channel();
        let renewing = std::thread::Builder::new().name("rekeyfs-lease".into()).spawn({
            let (keys, lease, vault) = (Arc::clone(keys), Arc::clone(&lease), vault.to_owned());
            move || {
                renew_until(&ended, &keys, &mut membership, &lease, &vault);
                membership
            }
        });
        let renewing = Some(renewing.map_err(MountError::Daemon)?);
        Ok(Self { vault: vault.to_owned(), lease, ends: vec![end], renewing, watching: None })
    }

    /// From now on the vault shows nothing that takes a key while the lease is over.
    ///
    /// # Errors
    /// [`MountError::Daemon`] if there is no thread to be had.
    pub(super) fn guard(&mut self, vault: &Arc<Vault>) -> Result<(), MountError> {
        vault.serve_under(Arc::clone(&self.lease));
        let (end, ended) = channel();
        let watching = std::thread::Builder::new().name("rekeyfs-withhold".into()).spawn({
            let (lease, vault) = (Arc::clone(&self.lease), Arc::clone(vault));
            move || watch_until(&ended, &lease, &vault)
        });
        self.ends.push(end);
        self.watching = Some(watching.map_err(MountError::Daemon)?);
        Ok(())
    }

    /// Ends the thread that watches the lease, and gives the vault back.
    pub(super) fn unguard(&mut self) {
        self.ends.truncate(1);
        let Some(watching) = self.watching.take() else { return };
        match ended(watching) {
            Some(Ok(())) => {}
            Some(Err(_)) => tracing::error!("the thread that watches the lease panicked"),
            // It wipes a file that is being read, from storage that doesn't answer.
            None => tracing::warn!("{}: what withholds its files is still at work", self.vault.display()),
        }
    }
}

/// Joins a thread that is to end soon; none if it doesn't: it ends with the process.
fn ended<T>(thread: JoinHandle<T>) -> Option<std::thread::Result<T>> {
    let began = Instant::now();
    while !thread.is_finished() && began.elapsed() < PATIENCE {
        std::thread::sleep(POLL);
    }
    thread.is_finished().then(|| thread.join())
}

fn renew_until(
    ended: &Receiver<()>,
    keys: &Keys,
    membership: &mut Membership,
    lease_of_it: &Lease,
    vault: &Path,
) {
    let (mut pause, mut failing) = (until_the_next(BootTime::now()), false);
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let began = BootTime::now();
        pause = match keys.renew(membership) {
            Ok(end) => {
                lease_of_it.extend(end);
                if std::mem::take(&mut failing) {
                    tracing::info!("{}: its lease is renewed: it is read again", vault.display());
                }
                until_the_next(began)
            }
            Err(why @ NotRenewed::Evicted(_)) => end_at_once(vault, &why),
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(
                        "{}: its lease can't be renewed, and nothing that takes a key is shown once it is over: {error}",
                        vault.display()
                    );
                }
                lease() / ATTEMPTS
            }
        };
    }
}

fn watch_until(ended: &Receiver<()>, lease: &Lease, vault: &Vault) {
    let mut withheld = false;
    loop {
        let pause = if withheld { WITHHELD } else { lease.left().clamp(POLL, WATCH) };
        if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        if lease.live() {
            withheld = false;
        } else if !std::mem::replace(&mut withheld, true) {
            vault.withhold();
        }
    }
}

impl Drop for ReaderMembership {
    fn drop(&mut self) {
        self.unguard();
        self.ends.clear();
        let Some(renewing) = self.renewing.take() else { return };
        let vault = self.vault.display();
        match ended(renewing) {
            None => {
                tracing::warn!(
                    "{vault}: the writer waits for this mount's lease to end: that it left can't be written"
                );
            }
            Some(Ok(mut membership)) => {
                if let Err(error) = membership.leave() {
                    tracing::warn!(
                        "{vault}: the writer waits for this mount's lease to end, for that it left can't be written: {error}"
                    );
                }
            }
            Some(Err(_)) => tracing::error!("the thread that renews the lease panicked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_mount_waits_for_no_thread_that_waits_for_its_storage() {
        let (answers, storage) = channel::<()>();
        let stuck = std::thread::spawn(move || storage.recv());
        let began = Instant::now();
        assert!(ended(stuck).is_none());
        assert!(began.elapsed() >= PATIENCE);
        drop(answers);
        assert_eq!(ended(std::thread::spawn(|| 7)).unwrap().unwrap(), 7);
    }
}
