//! Fault injection for tests: fails the n-th mutating call, once or it and every later one, cuts a write short,
//! and records the order of calls; or has a daemon panic in one. Compiled in with `cfg(test)` and the feature `fault-injection` only; otherwise
//! `point` is an empty inline function.

#[cfg(any(test, feature = "fault-injection"))]
pub use plan::{After, Faults, Part, Plan, ProcessScope, ThreadScope};

use super::Result;

#[cfg(test)]
mod mishap;
#[cfg(test)]
pub(crate) use mishap::Mishap;

/// The kinds of calls that have a fault point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// `create_file`.
    Create,
    /// `mkdir`.
    Mkdir,
    /// `mknod`.
    Mknod,
    /// `symlink`.
    Symlink,
    /// `link`, `link_fd`.
    Link,
    /// `unlink`.
    Unlink,
    /// `rmdir`.
    Rmdir,
    /// `rename`.
    Rename,
    /// `rename` with flags, which not every filesystem has.
    RenameFlagged,
    /// `pwrite_all`.
    Pwrite,
    /// `truncate`.
    Truncate,
    /// `punch`.
    Punch,
    /// `zero_range`.
    ZeroRange,
    /// `allocate_keep_size`.
    Allocate,
    /// `allocate`.
    AllocatePlain,
    /// `chmod` and its kin.
    Chmod,
    /// `chown` and its kin.
    Chown,
    /// `set_times` and its kin.
    SetTimes,
    /// `setxattr` and its kin.
    SetXattr,
    /// `removexattr` and its kin.
    RemoveXattr,
    /// `fdatasync`.
    Fdatasync,
    /// `fsync`.
    Fsync,
    /// `syncfs`.
    Syncfs,
    /// `wait_stable`.
    WaitStable,
}

/// Fails if a plan in force says that this call is to fail; the call isn't made then.
#[cfg(any(test, feature = "fault-injection"))]
pub(super) fn point(op: Op) -> Result<()> {
    plan::point(op)
}

/// Nothing: fault injection isn't compiled in.
#[cfg(not(any(test, feature = "fault-injection")))]
#[inline(always)]
pub(super) fn point(_op: Op) -> Result<()> {
    Ok(())
}

/// [`point`] of a write of `len` bytes at `offset`: how many of them are to be written now.
#[cfg(any(test, feature = "fault-injection"))]
pub(super) fn write_point(offset: u64, len: usize) -> Result<usize> {
    plan::write_point(offset, len)
}

/// All of them: fault injection isn't compiled in.
#[cfg(not(any(test, feature = "fault-injection")))]
#[inline(always)]
pub(super) fn write_point(_offset: u64, len: usize) -> Result<usize> {
    Ok(len)
}

#[cfg(any(test, feature = "fault-injection"))]
mod plan {
    use std::cell::RefCell;
    use std::marker::PhantomData;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, LazyLock};

    use parking_lot::{Mutex, MutexGuard};

    use super::Op;
    use crate::storage::{Errno, Result};

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

    /// How much of a write is made before it is cut short.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Part {
        /// The first half, up to a page boundary, which is where kernels cut writes: inside a page it is whole.
        Pages,
        /// The first byte.
        Byte,
        /// The first half, wherever that ends.
        Half,
        /// All but the last byte.
        AllButOne,
    }

    impl Part {
        /// How many of `len` bytes at `offset`: at least one, and all of a single one.
        fn of(self, offset: u64, len: usize) -> usize {
            let part = match self {
                Self::Pages => return before_a_page(offset, len),
                Self::Byte => 1,
                Self::Half => len / 2,
                Self::AllButOne => len.saturating_sub(1),
            };
            part.max(1).min(len)
        }
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

    struct State {
        plan: Option<Plan>,
        matched: u64,
        fired: bool,
        /// How many calls came after the failed one.
        since: u64,
        /// The write to cut short, by its place among all calls, and what of it is made.
        short: Option<(u64, Part)>,
        /// What the lower filesystem doesn't have, and says so each time.
        refused: Vec<(Op, Errno)>,
        calls: Vec<Op>,
    }

    impl State {
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

    type Shared = Arc<Mutex<State>>;

    thread_local! {
        static THREAD: RefCell<Option<Shared>> = const { RefCell::new(None) };
    }
    static PROCESS_ARMED: AtomicBool = AtomicBool::new(false);
    static PROCESS: Mutex<Option<Shared>> = Mutex::new(None);
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn in_force() -> Option<Shared> {
        let thread = THREAD.with_borrow(Clone::clone);
        if thread.is_none() && PROCESS_ARMED.load(Ordering::Acquire) {
            return PROCESS.lock().clone();
        }
        thread
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
        panic_if_asked(op);
        in_force().map_or(Ok(()), |state| state.lock().call(op))
    }

    pub(super) fn write_point(offset: u64, len: usize) -> Result<usize> {
        panic_if_asked(Op::Pwrite);
        let Some(state) = in_force() else { return Ok(len) };
        let mut state = state.lock();
        let number = state.calls.len() as u64;
        state.call(Op::Pwrite)?;
        Ok(match state.short {
            Some((at, part)) if at == number => part.of(offset, len),
            _ => len,
        })
    }

    fn before_a_page(offset: u64, len: usize) -> usize {
        let half = (offset + len as u64 / 2) & !4095;
        let first = (offset & !4095) + 4096;
        let end = half.max(first).min(offset + len as u64);
        usize::try_from(end - offset).unwrap_or(len)
    }

    /// A plan and what has come of it. Does nothing before it is put in force on a thread or the process.
    #[derive(Clone)]
    pub struct Faults(Shared);

    impl Faults {
        /// With a plan.
        pub fn new(plan: Plan) -> Self {
            Self::with(Some(plan))
        }

        /// That fails nothing and only records: a first run learns how many calls there are to fail.
        pub fn record() -> Self {
            Self::with(None)
        }

        /// That stops for good (EIO) once `skip` calls have worked.
        pub fn stop_after(skip: u64) -> Self {
            Self::new(Plan { skip, only: None, errno: Errno::IO, after: After::Stop })
        }

        /// That fails one call with `errno` once `skip` calls have worked.
        pub fn fail_once(skip: u64, errno: Errno) -> Self {
            Self::new(Plan { skip, only: None, errno, after: After::Recover })
        }

        fn with(plan: Option<Plan>) -> Self {
            let (refused, calls) = (Vec::new(), Vec::new());
            let state = State { plan, matched: 0, fired: false, since: 0, short: None, refused, calls };
            Self(Arc::new(Mutex::new(state)))
        }

        /// In addition, a write that is the call after `skip` others writes this part of it only, and the rest is
        /// written by a further call.
        #[must_use]
        pub fn short_after(self, skip: u64, part: Part) -> Self {
            self.0.lock().short = Some((skip, part));
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

        /// How many calls have come by, failed ones included.
        pub fn calls(&self) -> u64 {
            self.0.lock().calls.len() as u64
        }

        /// The calls that have come by, in their order.
        pub fn log(&self) -> Vec<Op> {
            self.0.lock().calls.clone()
        }

        /// Whether calls fail for good by now.
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
        before: Option<Shared>,
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
}
