//! Rotations and deletions that fall due while a vault is mounted. They are checked at mount and every minute from then on. A
//! check that finds nothing due only looks at the keys in memory. What is done is in the log by its event; here only what can't be.
//!
//! A mount that is read-only, from the start or for a while, changes no key by itself; what fell due meanwhile is done once it is
//! writable.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::keyring::Keys;
use crate::monitor::{Cancellation, Monitor};
use crate::service::OpenVault;

/// How late a rotation may be. By the wall clock and in small steps, so that a machine that slept isn't
/// later than one that didn't.
const INTERVAL: Duration = Duration::from_secs(60);

/// The thread that makes due rotations and deletions. It ends when this is dropped.
pub(super) struct Scheduler {
    shared: Arc<SchedulerState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct SchedulerState {
    stopping: Cancellation,
    /// Held while it is cancelled, and from the last look at it until the thread sleeps: so none misses the wake-up.
    sleep: Mutex<()>,
    wake: Condvar,
}

impl Scheduler {
    /// Starts it.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(super) fn start(keys: Arc<Keys>, open: Arc<OpenVault>) -> io::Result<Self> {
        let shared = Arc::new(SchedulerState::default());
        let thread = std::thread::Builder::new().name("rekeyfs-due".into()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&keys, &open, &shared)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        {
            let _awake = self.shared.sleep.lock();
            self.shared.stopping.cancel();
        }
        self.shared.wake.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the rotation thread panicked");
        }
    }
}

fn run(keys: &Keys, open: &OpenVault, shared: &SchedulerState) {
    let mut complained = false;
    while !shared.stopping.is_cancelled() {
        keys.events().catch_up();
        if !open.is_read_only() {
            make_due(keys, open, shared, &mut complained);
        }
        let mut sleep = shared.sleep.lock();
        if !shared.stopping.is_cancelled() {
            shared.wake.wait_for(&mut sleep, INTERVAL);
        }
    }
}

fn make_due(keys: &Keys, open: &OpenVault, shared: &SchedulerState, complained: &mut bool) {
    match keys.rotate_due() {
        Ok(_) => *complained = false,
        // Tried again every minute; one line in the log is enough.
        Err(_) if *complained => {}
        Err(error) => {
            *complained = true;
            tracing::warn!("a rotation is due and can't be made: {error}");
        }
    }
    if let Err(error) = keys.expire_due() {
        tracing::warn!("key material has expired and can't be deleted: {error}");
    }
    delete_due(open, shared);
}

/// Deletes the keys whose date has passed. Deletions that are blocked are in the audit log and in the status.
fn delete_due(open: &OpenVault, shared: &SchedulerState) {
    match open.delete_due(&mut Monitor::silent(&shared.stopping)) {
        Ok(done) => {
            for deletion in done {
                if let Some(why) = deletion.blocked {
                    tracing::warn!("a key's date of deletion has passed: {why}");
                }
            }
        }
        Err(error) => tracing::warn!("a key's date of deletion has passed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use zeroize::Zeroizing;

    use super::*;
    use crate::crypto::password::KdfParams;
    use crate::crypto::suite::Suite;
    use crate::ids::{AliasName, KeyVersion, Timestamp};
    use crate::keyring::{Clock, KeyringFile, OpenOptions, SeenGenerations};
    use crate::kms::Call;
    use crate::unlock::Secret;
    use crate::vault::{Sharing, Vault, VaultOptions};

    struct Moved(AtomicI64);

    impl Clock for Moved {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn what_fell_due_before_the_mount_is_rotated_at_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Moved(AtomicI64::new(0)));
        let options = OpenOptions {
            host: SeenGenerations::at(dir.path().join("state")),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..OpenOptions::default()
        };
        let secret = Secret::KeyFile(Zeroizing::new([1; 32]));
        let kdf = KdfParams { memory_kib: 8 << 10, passes: 1, lanes: 1 };
        let opened = KeyringFile::create(dir.path(), Suite::Aes256Gcm, &[&secret], kdf, &options).unwrap();
        let keys = opened.keys;
        std::fs::create_dir(dir.path().join("tree")).unwrap();
        let tree = std::fs::File::open(dir.path().join("tree")).unwrap();
        let plain =
            VaultOptions { read_only: false, lazy_rewrap: false, no_atime: false, sharing: Sharing::Alone };
        let vault = Vault::new(tree.into(), Arc::clone(&keys), plain).unwrap();
        let open = Arc::new(OpenVault::with_files(vault));
        let start = || Scheduler::start(Arc::clone(&keys), Arc::clone(&open)).unwrap();
        let call = Call::EnableKeyRotation {
            key_id: AliasName::default_alias().to_string(),
            rotation_period_in_days: Some(90),
        };
        keys.call(&call).unwrap();
        let version = || keys.current(&AliasName::default_alias()).unwrap().version;
        drop(start());
        assert_eq!(version(), KeyVersion(1), "nothing is due");

        clock.0.store(90 * 86_400_000, Ordering::SeqCst);
        let scheduler = start();
        while version() == KeyVersion(1) {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(scheduler);
        assert_eq!(version(), KeyVersion(2));

        let doomed = keys.create_key_for_test("alias/doomed".parse().unwrap()).to_string();
        let pending_window_in_days = Some(7);
        keys.call(&Call::ScheduleKeyDeletion { key_id: doomed, pending_window_in_days, force: None })
            .unwrap();
        drop(start());
        assert_eq!(keys.keys().len(), 3, "its date has not come");
        clock.0.fetch_add(7 * 86_400_000, Ordering::SeqCst);
        let scheduler = start();
        while keys.keys().len() == 3 {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(scheduler);
    }
}
