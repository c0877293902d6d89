//! Long work on all files: a count, a re-wrap. It goes on while pages come and go, one at a time, and what came of the last one
//! stays known. Each is one request on a control connection; to stop it, or to end the console, hangs that up, and the daemon
//! stops after the files under way. What is done stays done.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rekeyfs::control::Client;
use rekeyfs::ids::Timestamp;
use rekeyfs::monitor::{Cancellation, Monitor, Progress};
use rekeyfs::printable::counted;
use rekeyfs::service::{ErrorKind, ErrorReply, Operations, Result, Rewrap, RewrapReport, Status};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::vault::Vault;

/// How long a form waits for the work that it began: most is done by then.
const SOON: Duration = Duration::from_secs(1);

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    Count,
    /// Of all files that are stale, not more in a second than that.
    Rewrap {
        max_rate: Option<NonZeroU32>,
    },
}

/// How far it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Running(Progress),
    /// What came of it, and when.
    Done(String, Timestamp),
    Failed(ErrorReply, Timestamp),
}

/// A piece of work.
#[derive(Clone)]
pub(crate) struct Job {
    /// Its number, by which the script asks for it.
    pub(crate) id: u64,
    pub(crate) work: Work,
    cancellation: Cancellation,
    state: watch::Receiver<State>,
}

/// The last piece of work, if there was any.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<Option<Job>>);

impl Work {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Rewrap { .. } => "Re-wrap",
        }
    }

    /// How far it is, in words.
    pub(crate) fn told(self, progress: &Progress) -> String {
        let seen = match progress.total {
            Some(total) => format!("{} of {} seen", progress.seen, files(total.max(progress.seen))),
            None => format!("{} seen", files(progress.seen)),
        };
        match self {
            Self::Count => seen,
            Self::Rewrap { .. } => format!("{seen}, {} re-wrapped", progress.rewrapped),
        }
    }

    fn carry_out(self, client: &Client, monitor: &mut Monitor<'_>) -> Result<String> {
        match self {
            Self::Count => match client.count_files(monitor) {
                Ok(status) => Ok(told_count(&status)),
                Err(error) if error.kind == ErrorKind::Stopped => Ok("stopped before the end".to_owned()),
                Err(error) => Err(error),
            },
            Self::Rewrap { max_rate } => {
                let order = Rewrap { max_rate, ..Rewrap::default() };
                client.rewrap(&order, monitor).map(|report| told_rewrap(&report))
            }
        }
    }
}

fn files(count: u64) -> String {
    counted(count, "file", "files")
}

fn told_count(status: &Status) -> String {
    let unknown = match status.files_unknown {
        0 => String::new(),
        n => format!(
            "; of {} it isn't known which key they need",
            counted(n, "file or directory", "files or directories")
        ),
    };
    format!("{} counted{unknown}", files(status.files_seen))
}

fn told_rewrap(report: &RewrapReport) -> String {
    let Progress { seen, rewrapped, .. } = report.progress;
    let mut text = format!("{} seen, {rewrapped} re-wrapped", files(seen));
    if let Some(left) = report.left() {
        text = format!("{text}; {left}");
    }
    if report.complete { text } else { format!("stopped before the end: {text}; what is done stays done") }
}

impl Job {
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(*self.state.borrow(), State::Running(_))
    }

    /// Stops it soon.
    pub(crate) fn stop(&self) {
        self.cancellation.cancel();
    }

    /// Waits a moment for its end.
    pub(crate) async fn wait(&self) {
        let _ = timeout(SOON, self.end()).await;
    }

    /// Waits for its end.
    pub(crate) async fn end(&self) {
        let _ = self.state.clone().wait_for(|state| !matches!(state, State::Running(_))).await;
    }
}

impl Jobs {
    /// The last one.
    pub(crate) fn last(&self) -> Option<Job> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins some work.
    ///
    /// # Errors
    /// Other work is under way.
    pub(crate) fn start(&self, vault: &Vault, work: Work) -> Result<Job> {
        let cancellation = Cancellation::default();
        let (running, state) = watch::channel(State::Running(Progress::default()));
        let job = self.begin(work, cancellation.clone(), state)?;
        let vault = vault.clone();
        tokio::spawn(async move {
            let progress = running.clone();
            let done = vault.ask(move |client| {
                let mut receiver = |now| drop(progress.send_replace(State::Running(now)));
                work.carry_out(client, &mut Monitor::new(&cancellation, &mut receiver))
            });
            running.send_replace(match done.await {
                Ok(told) => State::Done(told, Timestamp::now()),
                Err(error) => State::Failed(error, Timestamp::now()),
            });
        });
        Ok(job)
    }

    /// The next job, unless one is under way.
    fn begin(&self, work: Work, cancellation: Cancellation, state: watch::Receiver<State>) -> Result<Job> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = last.as_ref().filter(|job| job.is_running()) {
            let what = other.work.name();
            let message = format!("{what}: it is under way already; wait for its end, or stop it");
            return Err(ErrorReply::new(ErrorKind::Busy, message));
        }
        let id = last.as_ref().map_or(1, |job| job.id + 1);
        let job = Job { id, work, cancellation, state };
        *last = Some(job.clone());
        Ok(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REWRAP: Work = Work::Rewrap { max_rate: None };

    #[test]
    fn one_piece_of_work_is_under_way_at_a_time_and_the_last_one_stays_known() {
        let jobs = Jobs::default();
        assert!(jobs.last().is_none());
        let (running, state) = watch::channel(State::Running(Progress::default()));
        let first = jobs.begin(REWRAP, Cancellation::default(), state.clone()).unwrap();
        let refused =
            jobs.begin(Work::Count, Cancellation::default(), state.clone()).map(|job| job.id).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Busy);
        assert!(refused.message.starts_with("Re-wrap: it is under way"), "{refused:?}");
        running.send_replace(State::Done("60 files".to_owned(), Timestamp(0)));
        assert_eq!(jobs.last().unwrap().state(), State::Done("60 files".to_owned(), Timestamp(0)));
        let second = jobs.begin(Work::Count, Cancellation::default(), state).unwrap();
        assert_eq!((first.id, second.id, jobs.last().unwrap().work), (1, 2, Work::Count));
    }

    #[test]
    fn progress_is_told_with_what_is_known_of_the_whole() {
        let progress = Progress { seen: 12, rewrapped: 5, ..Progress::default() };
        assert_eq!(REWRAP.told(&progress), "12 files seen, 5 re-wrapped");
        let progress = Progress { total: Some(60), ..progress };
        assert_eq!(REWRAP.told(&progress), "12 of 60 files seen, 5 re-wrapped");
        assert_eq!(Work::Count.told(&Progress { seen: 61, ..progress }), "61 of 61 files seen");
    }

    #[test]
    fn what_came_of_a_re_wrap_says_what_was_left_and_whether_it_was_stopped() {
        let report = |failed, complete| RewrapReport {
            progress: Progress { seen: 9, rewrapped: 7, failed, ..Progress::default() },
            complete,
            versions: Vec::new(),
            staying: Default::default(),
        };
        assert_eq!(told_rewrap(&report(0, true)), "9 files seen, 7 re-wrapped");
        let left = told_rewrap(&report(2, false));
        assert!(left.starts_with(
            "stopped before the end: 9 files seen, 7 re-wrapped; 2 files or directories were left"
        ));
        assert!(left.ends_with("; what is done stays done"), "{left}");
    }
}
