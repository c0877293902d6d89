//! The rotations that a schedule asks for, while a vault is mounted: checked when it is mounted and every
//! minute from then on. A check that finds nothing due costs a look at the keys in memory.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::keyring::Keys;

/// How late a rotation may be. By the wall clock and in small steps, so that a machine that slept isn't
/// later than one that didn't.
const INTERVAL: Duration = Duration::from_secs(60);

/// The thread that rotates what is due. Dropping it ends it.
pub(super) struct Scheduler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopping: Mutex<bool>,
    wake: Condvar,
}

impl Scheduler {
    /// Starts it.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(super) fn start(keys: Arc<Keys>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("rekeyfs-due".into()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&keys, &shared)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        *self.shared.stopping.lock() = true;
        self.shared.wake.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the rotation thread panicked");
        }
    }
}

fn run(keys: &Keys, shared: &Shared) {
    let mut stopping = shared.stopping.lock();
    let mut complained = false;
    while !*stopping {
        drop(stopping);
        match keys.rotate_due() {
            Ok(rotations) => {
                complained = false;
                for rotation in rotations {
                    tracing::info!(
                        "key {} is rotated, as its schedule says: version {} -> {}",
                        rotation.key,
                        rotation.old,
                        rotation.new
                    );
                }
            }
            // Tried again every minute; one line of it is enough.
            Err(_) if complained => {}
            Err(error) => {
                complained = true;
                tracing::warn!("a rotation is due and can't be made: {error}");
            }
        }
        stopping = shared.stopping.lock();
        if !*stopping {
            shared.wake.wait_for(&mut stopping, INTERVAL);
        }
    }
}
