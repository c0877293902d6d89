//! Which calls fail, on which threads, and which calls were made.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::{Mutex, MutexGuard};

use super::op::Op;
use super::short_write::ShortWrite;
use crate::storage::errno::{Errno, Result};

/// What becomes of the calls after the failed one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// They work: an error that goes away (a full disk, say).
    Recover,
    /// They fail, all of them: what is on disk now is what a killed process leaves.
    Stop,
    /// So many of them work, then all fail (EIO): a process that is killed while it deals with an error.
    StopAfter(u64),
}

/// Which call fails.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many matching calls work before one fails.
    pub skip: u64,
    /// The kind that is counted; `None`: every kind.
    pub only: Option<Op>,
    /// What the failed call returns, and every later one after a stop.
    pub errno: Errno,
    /// What comes then.
    pub after: After,
}

struct ArmedPlan {
    plan: Option<Plan>,
    matched: u64,
    fired: bool,
    /// How many calls came after the failed one.
    since: u64,
    /// The write that ends early, by its place among all calls, and what of it is made.
    short: Option<(u64, ShortWrite)>,
    /// Calls that the lower filesystem lacks, and the error that it returns each time.
    refused: Vec<(Op, Errno)>,
    calls: Vec<Op>,
}

impl ArmedPlan {
    fn call(&mut self, op: Op) -> Result<()> {
        self.calls.push(op);
        if let Some((_, errno)) = self.refused.iter().find(|(refused, _)| *refused == op) {
            return Err(*errno);
        }
        let Some(plan) = self.plan else { return Ok(()) };
        if self.fired {
            self.since += 1;
            return match plan.after {
                After::Recover => Ok(()),
                After::Stop => Err(plan.errno),
                After::StopAfter(calls) if self.since <= calls => Ok(()),
                After::StopAfter(_) => Err(Errno::IO),
            };
        }
        if plan.only.is_some_and(|only| only != op) {
            return Ok(());
        }
        if self.matched == plan.skip {
            self.fired = true;
            return Err(plan.errno);
        }
        self.matched += 1;
        Ok(())
    }
}

type SharedPlan = Arc<Mutex<ArmedPlan>>;

thread_local! {
    static THREAD: RefCell<Option<SharedPlan>> = const { RefCell::new(None) };
}
static PROCESS_ARMED: AtomicBool = AtomicBool::new(false);
static PROCESS: Mutex<Option<SharedPlan>> = Mutex::new(None);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn in_force() -> Option<SharedPlan> {
    let thread = THREAD.with_borrow(Clone::clone);
    if thread.is_none() && PROCESS_ARMED.load(Ordering::Acquire) {
        return PROCESS.lock().clone();
    }
    thread
}

/// In the environment of a daemon under test: names of [`Op`]s, with commas; before the first call of each the process stops itself
/// (SIGSTOP), once the file that [`STOPS_WHEN`] names is there. It makes the call when it is continued.
const STOPS: &str = "REKEYFS_STOPS";
const STOPS_WHEN: &str = "REKEYFS_STOPS_WHEN";
static TO_STOP: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| {
    let named = std::env::var(STOPS).unwrap_or_default();
    Mutex::new(named.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
});

fn stop_if_asked(op: Op) {
    let mut to_stop = TO_STOP.lock();
    if to_stop.is_empty() {
        return;
    }
    let name = format!("{op:?}");
    if let Some(at) = to_stop.iter().position(|asked| *asked == name)
        && std::env::var_os(STOPS_WHEN).is_some_and(|file| std::path::Path::new(&file).exists())
    {
        to_stop.remove(at);
        drop(to_stop);
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        // Another thread may take the signal; this one stops a moment later.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// In the environment of a daemon under test: names of [`Op`]s, with commas; the first call of each panics.
const PANICS: &str = "REKEYFS_PANICS";
static TO_PANIC: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| {
    let named = std::env::var(PANICS).unwrap_or_default();
    Mutex::new(named.split(',').map(str::to_owned).collect())
});

fn panic_if_asked(op: Op) {
    let name = format!("{op:?}");
    let mut to_panic = TO_PANIC.lock();
    if let Some(at) = to_panic.iter().position(|asked| *asked == name) {
        to_panic.remove(at);
        drop(to_panic);
        panic!("{PANICS} asks for a panic in {name}");
    }
}

pub(super) fn point(op: Op) -> Result<()> {
    stop_if_asked(op);
    panic_if_asked(op);
    in_force().map_or(Ok(()), |state| state.lock().call(op))
}

pub(super) fn write_point(offset: u64, len: usize) -> Result<usize> {
    stop_if_asked(Op::Pwrite);
    panic_if_asked(Op::Pwrite);
    let Some(state) = in_force() else { return Ok(len) };
    let mut state = state.lock();
    let number = state.calls.len() as u64;
    state.call(Op::Pwrite)?;
    Ok(match state.short {
        Some((at, short)) if at == number => short.of(offset, len),
        _ => len,
    })
}

/// A plan and its result so far. It takes effect on a thread or on the process.
#[derive(Clone)]
pub struct Faults(SharedPlan);

impl Faults {
    /// With a plan.
    pub fn new(plan: Plan) -> Self {
        Self::with(Some(plan))
    }

    /// Nothing fails; a first run learns how many calls there are.
    pub fn record() -> Self {
        Self::with(None)
    }

    /// Every call fails (EIO) after `skip` calls have worked.
    pub fn stop_after(skip: u64) -> Self {
        Self::new(Plan { skip, only: None, errno: Errno::IO, after: After::Stop })
    }

    /// One call fails with `errno` after `skip` calls have worked.
    pub fn fail_once(skip: u64, errno: Errno) -> Self {
        Self::new(Plan { skip, only: None, errno, after: After::Recover })
    }

    fn with(plan: Option<Plan>) -> Self {
        let (refused, calls) = (Vec::new(), Vec::new());
        let state = ArmedPlan { plan, matched: 0, fired: false, since: 0, short: None, refused, calls };
        Self(Arc::new(Mutex::new(state)))
    }

    /// In addition, a write that is the call after `skip` others ends early; a further call writes the rest.
    #[must_use]
    pub fn short_after(self, skip: u64, short: ShortWrite) -> Self {
        self.0.lock().short = Some((skip, short));
        self
    }

    /// In addition, every call of this kind fails: the lower filesystem doesn't have it, or not for us.
    #[must_use]
    pub fn refusing(self, op: Op, errno: Errno) -> Self {
        self.0.lock().refused.push((op, errno));
        self
    }

    /// In force on this thread until the scope is dropped; goes before one for the process. Several
    /// threads can share one plan.
    #[must_use]
    pub fn on_this_thread(&self) -> ThreadScope {
        let before = THREAD.replace(Some(self.0.clone()));
        ThreadScope { before, here: PhantomData }
    }

    /// In force on all threads until the scope is dropped; others wait here until then.
    #[must_use]
    pub fn on_all_threads(&self) -> ProcessScope {
        let turn = ONE_AT_A_TIME.lock();
        *PROCESS.lock() = Some(self.0.clone());
        PROCESS_ARMED.store(true, Ordering::Release);
        ProcessScope { _turn: turn }
    }

    /// How many calls there were, failed ones included.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls.len() as u64
    }

    /// The calls so far, in their order.
    pub fn log(&self) -> Vec<Op> {
        self.0.lock().calls.clone()
    }

    /// Whether every further call fails.
    pub fn stopped(&self) -> bool {
        let state = self.0.lock();
        state.fired
            && match state.plan.map(|plan| plan.after) {
                None | Some(After::Recover) => false,
                Some(After::Stop) => true,
                Some(After::StopAfter(calls)) => state.since > calls,
            }
    }

    /// Whether the planned failure has happened.
    pub fn fired(&self) -> bool {
        self.0.lock().fired
    }
}

/// Takes a plan out of force on its thread when dropped.
pub struct ThreadScope {
    before: Option<SharedPlan>,
    here: PhantomData<*const ()>,
}

impl Drop for ThreadScope {
    fn drop(&mut self) {
        THREAD.replace(self.before.take());
    }
}

/// Takes a plan out of force on the process when dropped.
pub struct ProcessScope {
    _turn: MutexGuard<'static, ()>,
}

impl Drop for ProcessScope {
    fn drop(&mut self) {
        PROCESS_ARMED.store(false, Ordering::Release);
        *PROCESS.lock() = None;
    }
}
