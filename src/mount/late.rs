//! Says that the writer's lease is about to end. The kernel kills a mount whose lease is over, and a process that is killed says nothing;
//! the thread that renews the lease waits for the storage meanwhile.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::events::NOTICES;
use crate::keyring::lease;
use crate::storage::Lease;

/// What part of a lease is left when its renewal is late.
const LATE: u32 = 3;

/// The thread that looks at the lease. It ends when this is dropped.
pub(super) struct LateWatch {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LateWatch {
    /// Looks at the lease of the mount of this vault.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(super) fn start(watched: Arc<Lease>, vault: PathBuf) -> io::Result<Self> {
        let (end, ended) = channel();
        let thread = std::thread::Builder::new()
            .name("rekeyfs-late".into())
            .spawn(move || watch_until(&ended, &watched, &vault))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

fn watch_until(ended: &Receiver<()>, watched: &Lease, vault: &Path) {
    let mut state = Renewals::InTime;
    // Until it would be late, if it isn't renewed.
    let pause = || watched.left().saturating_sub(lease() / LATE).max(lease() / 20);
    while ended.recv_timeout(pause()) == Err(RecvTimeoutError::Timeout) {
        if let Some(change) = state.look(watched.left()) {
            match change {
                Renewals::Late => tracing::warn!(
                    "{}: its lease hasn't been renewed for {:.1} s, for the storage below it doesn't answer, or what is logged above: this mount is \
                     killed in {:.1} s unless it is renewed by then, and what isn't synced is lost",
                    vault.display(),
                    lease().saturating_sub(watched.left()).as_secs_f32(),
                    watched.left().as_secs_f32(),
                ),
                Renewals::InTime => tracing::info!(
                    target: NOTICES,
                    "{}: its lease is renewed, and this mount goes on",
                    vault.display(),
                ),
            }
        }
    }
}

/// How the renewals come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Renewals {
    InTime,
    Late,
}

impl Renewals {
    /// What has changed, where the lease lasts for so long still.
    fn look(&mut self, left: Duration) -> Option<Self> {
        let now = if left < lease() / LATE { Self::Late } else { Self::InTime };
        (std::mem::replace(self, now) != now).then_some(now)
    }
}

impl Drop for LateWatch {
    fn drop(&mut self) {
        drop(self.end.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that looks at the lease panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_about_to_end_is_told_of_once_and_again_when_it_is_renewed() {
        let mut state = Renewals::InTime;
        let looks = [1.0, 0.6, 0.3, 0.1, 0.0, 0.9, 0.7].map(|part| state.look(lease().mul_f32(part)));
        let (late, in_time) = (Some(Renewals::Late), Some(Renewals::InTime));
        assert_eq!(looks, [None, None, late, None, None, in_time, None]);
    }
}
