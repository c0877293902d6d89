//! The thread of a mount that writes the key backups which are kept: after each change of keys, and once a minute, since the
//! disk that one lies on may be there again, and another command may have changed the keyring. A disk that doesn't answer
//! stops this thread alone, neither rotations nor the end of the mount.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::keyring::Keys;

/// How often backups are looked at while nothing changes.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long the end of a mount waits for a backup that is being written.
const PATIENCE: Duration = Duration::from_secs(10);

/// The thread. It ends when this is dropped, and writes what is due before that.
pub(super) struct BackupKeeper {
    shared: Arc<KeeperState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct KeeperState {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Default)]
struct Asked {
    /// The keyring changed since the backups were last looked at.
    due: bool,
    stop: bool,
    ended: bool,
}

impl BackupKeeper {
    /// Starts it: backups that a crash left behind are written first.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(super) fn start(keys: Arc<Keys>) -> io::Result<Self> {
        let shared = Arc::new(KeeperState::default());
        shared.asked.lock().due = true;
        keys.keep_backups_in_background({
            let shared = Arc::clone(&shared);
            Box::new(move || {
                shared.asked.lock().due = true;
                shared.changed.notify_all();
            })
        });
        let thread = std::thread::Builder::new().name("rekeyfs-backup".into()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&keys, &shared)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for BackupKeeper {
    fn drop(&mut self) {
        let mut asked = self.shared.asked.lock();
        asked.stop = true;
        self.shared.changed.notify_all();
        self.shared.changed.wait_while_for(&mut asked, |asked| !asked.ended, PATIENCE);
        let ended = asked.ended;
        drop(asked);
        if !ended {
            tracing::warn!("a key backup is still being written, and its disk doesn't answer: it is left");
        } else if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of key backups panicked");
        }
    }
}

/// Says that the thread has ended, however it does.
struct Ended<'a>(&'a KeeperState);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.asked.lock().ended = true;
        self.0.changed.notify_all();
    }
}

fn run(keys: &Keys, shared: &KeeperState) {
    let _ended = Ended(shared);
    loop {
        let mut asked = shared.asked.lock();
        if !asked.due && !asked.stop {
            shared.changed.wait_for(&mut asked, INTERVAL);
        }
        if asked.stop && !asked.due {
            return;
        }
        asked.due = false;
        drop(asked);
        keys.write_kept_backups();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AliasName;
    use crate::keyring::testing::{Fixture, KDF};
    use crate::keyring::{BackupSeal, KeyRef};
    use crate::unlock::Secret;

    #[test]
    fn a_change_is_in_the_backup_before_the_mount_has_ended() {
        let f = Fixture::new();
        let secret = Secret::KeyFile(zeroize::Zeroizing::new([1; 32]));
        let opened = f.create(&[&secret]);
        let keys = opened.keys;
        let keeper = BackupKeeper::start(Arc::clone(&keys)).unwrap();
        let pass = Secret::Passphrase(zeroize::Zeroizing::new(b"backup".to_vec()));
        let seal = BackupSeal::under_passphrase(keys.vault_id(), &pass, KDF, keys.now()).unwrap();
        let to = f.dir.path().join("kept");
        let info = keys.keep_backup(&opened.proof, &to, seal).unwrap();
        assert_eq!((info.problem, info.lag), (None, Some(Default::default())));
        for _ in 0..3 {
            keys.rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
        }
        drop(keeper);
        let lag = keys.key_backup().unwrap().lag().unwrap();
        assert_eq!((lag.versions, lag.generations), (0, 0));
        assert!(std::fs::read(&to).unwrap().starts_with(b"RKFB"));
    }
}
