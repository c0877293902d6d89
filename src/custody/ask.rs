//! Asking helpers: one, or several at once, under one deadline.
//!
//! Everything happens in the calling thread, which waits for all pipes together. A question goes
//!
//! ```text
//! waits ──► runs ──► answered or refused
//!   ▲         │ busy, and there is time
//!   └─────────┘ at most 3 tries
//! ```
//!
//! and what still runs after that, or after its deadline, is asked to end (SIGTERM) and killed a second later.

use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};
use zeroize::Zeroizing;

use super::process::{Program, Progress, Running};
use super::prompt::{Prompt, PromptKind};
use super::protocol;
use super::refusal::{Refusal, RefusalKind, shown};
use crate::crypto::random;
use crate::printable;

/// How many helpers run at once.
pub const MAX_AT_ONCE: usize = 4;
/// How often a helper that is busy is asked.
const MAX_TRIES: u32 = 3;
/// How much a helper may ask a person.
const MAX_PROMPTS: u32 = 8;
/// How long a person has for touching a device.
const TOUCH: Duration = Duration::from_secs(60);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// Before a helper that is busy and doesn't say when is asked again; doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// The line that a helper ended with, or why there is none.
pub(super) type Answer<'a> = Result<&'a [u8], Refusal>;

/// How long a helper may take after it has asked a person for this.
fn time_after(prompted: Option<PromptKind>, limit: Duration) -> Duration {
    if prompted == Some(PromptKind::Touch) { TOUCH } else { limit }
}

/// The refusal for a helper that took longer: after a touch was asked for, it is the person who didn't come.
fn overdue(prompted: Option<PromptKind>, limit: Duration) -> Refusal {
    let time = time_after(prompted, limit).as_secs_f32();
    match prompted {
        Some(PromptKind::Touch) => {
            Refusal::new(RefusalKind::NeedsUser, format!("nobody touched it in {time} s"))
        }
        _ => Refusal::new(RefusalKind::Offline, format!("no answer in {time} s")),
    }
}

/// Asks one helper.
pub(super) fn ask_one<T>(
    asked: Asked,
    limit: Duration,
    on: &mut dyn Prompt,
    parse: impl Fn(&[u8]) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let mut result = Err(Refusal::new(RefusalKind::Internal, ""));
    ask(vec![Ok(asked)], limit, on, &mut |_, answer| {
        result = answer.and_then(&parse);
        true
    });
    result
}

/// A question to a helper.
pub(super) struct Asked {
    program: Program,
    request: Zeroizing<Vec<u8>>,
    interactive: bool,
    tries: u32,
    /// Set when it is first asked.
    until: Option<Instant>,
    /// What it asked a person for last.
    prompted: Option<PromptKind>,
    state: State,
}

enum State {
    Waits {
        from: Option<Instant>,
    },
    Runs {
        running: Running,
        prompts: u32,
    },
    /// Its answer counts no more.
    Stops {
        running: Running,
        kill_at: Instant,
    },
    Done,
}

impl Asked {
    pub(super) fn new(program: Program, request: Zeroizing<Vec<u8>>, interactive: bool) -> Self {
        let state = State::Waits { from: None };
        Self { program, request, interactive, tries: 0, until: None, prompted: None, state }
    }

    fn is_running(&self) -> bool {
        matches!(self.state, State::Runs { .. } | State::Stops { .. })
    }

    /// When something is to be done even if nothing happens.
    fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Waits { from } => *from,
            State::Runs { .. } => self.until,
            State::Stops { kill_at, .. } => Some(*kill_at),
            State::Done => None,
        }
    }

    fn start(&mut self, limit: Duration) -> Result<(), Refusal> {
        self.tries += 1;
        self.until.get_or_insert_with(|| Instant::now() + limit);
        let running = Running::start(&self.program, &self.request, self.interactive);
        let running = running.map_err(|error| {
            let cause = format!("{} can't be started: {error}", printable::path(&self.program.path));
            Refusal::new(RefusalKind::Internal, cause)
        })?;
        self.state = State::Runs { running, prompts: 0 };
        Ok(())
    }

    fn stop(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Done) {
            State::Runs { running, .. } => {
                running.terminate();
                State::Stops { running, kill_at: Instant::now() + GRACE }
            }
            stops @ State::Stops { .. } => stops,
            State::Waits { .. } | State::Done => State::Done,
        };
    }

    /// Goes on with what runs. The refusal or `true` is its result; what it printed is in the state then.
    fn advance(&mut self, limit: Duration, on: &mut dyn Prompt) -> Option<Result<(), Refusal>> {
        loop {
            let State::Runs { running, prompts } = &mut self.state else { return None };
            match running.advance() {
                Progress::Going if self.until.is_some_and(|until| until <= Instant::now()) => {
                    return Some(Err(overdue(self.prompted, limit)));
                }
                Progress::Going => return None,
                Progress::Babbles(what) => return Some(Err(Refusal::new(RefusalKind::Internal, what))),
                Progress::Ended(status) if status.success() => return Some(Ok(())),
                Progress::Ended(status) => {
                    let last = running.last_error_line();
                    let colon = if last.is_empty() { "" } else { ": " };
                    let cause = format!("its helper ended with {status}{colon}{last}");
                    return Some(Err(Refusal::new(RefusalKind::Internal, cause)));
                }
                Progress::Prompt(kind, text) => {
                    *prompts += 1;
                    let may = self.interactive && *prompts <= MAX_PROMPTS;
                    let answer = if may { on.ask(kind, &shown(&text)) } else { None };
                    let Some(answer) = answer else {
                        return Some(Err(Refusal::new(RefusalKind::NeedsUser, text)));
                    };
                    running.reply(protocol::answer_line(&answer));
                    self.until = Some(Instant::now() + time_after(Some(kind), limit));
                    self.prompted = Some(kind);
                }
            }
        }
    }

    /// Whether it is to be asked again, after this refusal.
    fn retries(&mut self, refusal: &Refusal) -> bool {
        let RefusalKind::Busy { retry_after } = refusal.kind else { return false };
        let pause = retry_after.unwrap_or(PAUSE * 2u32.pow(self.tries.min(8) - 1));
        // Those that were refused together shouldn't come back together.
        let from = Instant::now() + pause + pause.mul_f32(f32::from(random::array::<1>()[0]) / 512.0);
        let again = self.tries < MAX_TRIES && self.until.is_some_and(|until| from < until);
        if again {
            self.state = State::Waits { from: Some(from) };
        }
        again
    }

    fn log(&self) {
        if let State::Runs { running, .. } | State::Stops { running, .. } = &self.state {
            let errors = running.errors();
            for line in errors.lines().filter(|line| !line.trim().is_empty()) {
                tracing::info!("{}: {}", printable::path(&self.program.path), printable::line(line));
            }
        }
    }
}

/// Runs all of it to its end. `take` gets each result once, and says whether it is enough.
pub(super) fn ask(
    all: Vec<Result<Asked, Refusal>>,
    limit: Duration,
    on: &mut dyn Prompt,
    take: &mut dyn FnMut(usize, Answer<'_>) -> bool,
) {
    let mut enough = false;
    let mut going: Vec<(usize, Asked)> = Vec::with_capacity(all.len());
    for (at, asked) in all.into_iter().enumerate() {
        match asked {
            Ok(asked) => going.push((at, asked)),
            Err(refusal) => enough |= take(at, Err(refusal)),
        }
    }
    while !going.is_empty() {
        if enough {
            going.iter_mut().for_each(|(_, asked)| asked.stop());
        }
        let mut running = going.iter().filter(|(_, asked)| asked.is_running()).count();
        for (at, asked) in &mut going {
            let now = Instant::now();
            let may = matches!(asked.state, State::Waits { from } if from.is_none_or(|from| from <= now));
            if may && running < MAX_AT_ONCE {
                match asked.start(limit) {
                    Ok(()) => running += 1,
                    Err(refusal) => {
                        asked.state = State::Done;
                        enough |= take(*at, Err(refusal));
                    }
                }
            }
        }
        wait(&going);
        for (at, asked) in &mut going {
            if let State::Stops { running, kill_at } = &mut asked.state {
                let ended = !matches!(running.advance(), Progress::Going | Progress::Prompt(..));
                if ended || *kill_at <= Instant::now() {
                    // What hasn't ended is killed as it is dropped.
                    asked.state = State::Done;
                }
                continue;
            }
            let Some(result) = asked.advance(limit, on) else { continue };
            let refusal = match (&asked.state, &result) {
                (State::Runs { running, .. }, Ok(())) => protocol::refused(running.answer()).err(),
                (_, Err(refusal)) => Some(refusal.clone()),
                (_, Ok(())) => None,
            };
            if refusal.is_some() {
                asked.log();
            }
            if refusal.as_ref().is_some_and(|refusal| asked.retries(refusal)) {
                continue;
            }
            if !enough {
                let answer = match (&asked.state, refusal) {
                    (State::Runs { running, .. }, None) => Ok(running.answer()),
                    (_, refusal) => Err(refusal.unwrap_or_else(|| Refusal::new(RefusalKind::Internal, ""))),
                };
                enough |= take(*at, answer);
            }
            asked.stop();
        }
        going.retain(|(_, asked)| !matches!(asked.state, State::Done));
    }
}

/// Until a helper does something, or something is due.
fn wait(going: &[(usize, Asked)]) {
    let mut fds = Vec::new();
    for (_, asked) in going {
        if let State::Runs { running, .. } | State::Stops { running, .. } = &asked.state {
            running.poll_on(&mut fds);
        }
    }
    let due = going.iter().filter_map(|(_, asked)| asked.due()).min();
    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
    // One that waits for its turn, and nothing that runs: its turn is now.
    if fds.is_empty() && left.is_none() {
        return;
    }
    let left = left.and_then(|left| Timespec::try_from(left + Duration::from_millis(1)).ok());
    // A signal ends it early, which does no harm.
    let _ = poll(&mut fds, left.as_ref());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touch_that_does_not_come_is_not_an_offline_custodian() {
        let said = |prompted| overdue(prompted, Duration::from_secs(10)).to_string();
        assert_eq!(said(Some(PromptKind::Touch)), "needs a PIN or a touch: nobody touched it in 60 s");
        assert_eq!(said(Some(PromptKind::Pin)), "can't be reached: no answer in 10 s");
        assert_eq!(said(None), "can't be reached: no answer in 10 s");
    }
}
