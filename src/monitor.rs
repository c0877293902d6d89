//! How long work is watched and cancelled: a sweep, a count, a re-encryption, a check.
//!
//! A [`Cancellation`] is a request to stop, shared by all who may make it (a signal handler, a client that hangs up, the
//! end of a mount) and by the work. It is never taken back. Work looks at it at each place where it can stop and leave
//! everything whole; what is done by then stays done.
//!
//! A [`Monitor`] is what the work holds: the cancellation, and the one who receives its [`Progress`]. The receiver says
//! nothing back: to stop the work, it cancels. Whoever runs the work for another adds a reason of its own to stop, such
//! as the end of the mount, by a linked cancellation ([`Monitor::linked_to`]).
//!
//! A daemon learns that its client is gone when it sends it something. So work reports every second or two, and where
//! it has nothing new it reports the same again ([`Monitor::keep_alive`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use time_left::{Part, TimeLeft};

pub mod time_left;

/// How far work on files is, as the control protocol and reports write it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Files looked at.
    pub seen: u64,
    /// Of these, re-wrapped or re-encrypted by this work.
    pub rewrapped: u64,
    /// Of these, unchanged though they should have been changed: a key isn't usable, or the file can't be written.
    pub failed: u64,
    /// Regular files in all, once that is known; a file with several names may count for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Of the file that is being re-encrypted.
    #[serde(default, skip_serializing_if = "Part::is_nothing")]
    pub part: Part,
    /// What the work still takes, from this report on, once that can be said.
    #[serde(default, rename = "left_ms", skip_serializing_if = "Option::is_none")]
    pub left: Option<TimeLeft>,
}

/// The work was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("stopped")]
pub struct Cancelled;

/// A request to stop that may come. Clones are the same one.
#[derive(Clone, Default, Debug)]
pub struct Cancellation {
    requested: Arc<AtomicBool>,
    /// Those that it is linked to.
    others: Vec<Arc<AtomicBool>>,
}

impl Cancellation {
    /// A new one, which is cancelled too when one of `sources` is, and cancels none of them.
    pub fn linked_to(sources: &[&Self]) -> Self {
        let flags = |source: &&Self| {
            std::iter::once(&source.requested).chain(&source.others).cloned().collect::<Vec<_>>()
        };
        Self { requested: Arc::default(), others: sources.iter().flat_map(flags).collect() }
    }

    /// Requests the stop.
    pub fn cancel(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether the stop was requested.
    pub fn is_cancelled(&self) -> bool {
        self.requested.load(Ordering::SeqCst) || self.others.iter().any(|other| other.load(Ordering::SeqCst))
    }

    /// Fails once the stop was requested.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}

/// Requested by setting the flag, which is all that a signal handler may do.
impl From<Arc<AtomicBool>> for Cancellation {
    fn from(requested: Arc<AtomicBool>) -> Self {
        Self { requested, others: Vec::new() }
    }
}

/// What long work holds of the one who asked for it.
pub struct Monitor<'a> {
    cancellation: Cancellation,
    receiver: Option<&'a mut (dyn FnMut(Progress) + 'a)>,
    last: Progress,
}

impl<'a> Monitor<'a> {
    /// Passes progress on to `receiver`, which may cancel the work.
    pub fn new(cancellation: &Cancellation, receiver: &'a mut (dyn FnMut(Progress) + 'a)) -> Self {
        Self { receiver: Some(receiver), ..Self::silent(cancellation) }
    }

    /// Nobody receives the progress.
    pub fn silent(cancellation: &Cancellation) -> Self {
        Self { cancellation: cancellation.clone(), receiver: None, last: Progress::default() }
    }

    /// For work that nobody watches or cancels.
    pub fn unattended() -> Self {
        Self::silent(&Cancellation::default())
    }

    /// The same, cancelled by `other` too.
    pub fn linked_to(&mut self, other: &Cancellation) -> Monitor<'_> {
        let receiver: Option<&mut dyn FnMut(Progress)> = match &mut self.receiver {
            Some(receiver) => Some(&mut **receiver),
            None => None,
        };
        let cancellation = Cancellation::linked_to(&[&self.cancellation, other]);
        Monitor { cancellation, receiver, last: self.last }
    }

    /// What may cancel the work.
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// Fails once the work was cancelled.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn check(&self) -> Result<(), Cancelled> {
        self.cancellation.check()
    }

    /// Reports how far the work is.
    pub fn report(&mut self, progress: Progress) {
        self.last = progress;
        self.keep_alive();
    }

    /// Reports the same as last time.
    pub fn keep_alive(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            receiver(self.last);
        }
    }

    /// What was reported last.
    pub fn last(&self) -> Progress {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_cancellation_follows_its_sources_and_cancels_none() {
        let (signal, mount) = (Cancellation::default(), Cancellation::default());
        let work = Cancellation::linked_to(&[&signal, &mount]);
        let part = Cancellation::linked_to(&[&work]);
        part.cancel();
        assert!(part.is_cancelled() && part.clone().is_cancelled());
        assert!(!work.is_cancelled() && !signal.is_cancelled() && !mount.is_cancelled());
        let other = Cancellation::linked_to(&[&work]);
        assert_eq!(other.check(), Ok(()));
        mount.cancel();
        assert_eq!((work.check(), other.check(), signal.check()), (Err(Cancelled), Err(Cancelled), Ok(())));
    }

    #[test]
    fn a_receiver_gets_all_progress_through_a_linked_monitor_and_can_cancel() {
        let (asked, ends) = (Cancellation::default(), Cancellation::default());
        let mut seen = Vec::new();
        let mut receiver = |progress: Progress| {
            seen.push(progress.seen);
            if seen.len() == 3 {
                asked.cancel();
            }
        };
        let mut monitor = Monitor::new(&asked, &mut receiver);
        let mut linked = monitor.linked_to(&ends);
        linked.report(Progress { seen: 1, ..Progress::default() });
        linked.keep_alive();
        assert_eq!((linked.check(), linked.last().seen), (Ok(()), 1));
        linked.report(Progress { seen: 2, ..Progress::default() });
        assert_eq!(linked.check(), Err(Cancelled));
        assert_eq!(seen, [1, 1, 2]);
    }
}
