//! When and where threads run, and how busy the machine is.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A processor core, by the kernel's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Core(usize);

/// A set of cores.
#[derive(Clone, Debug)]
pub struct Cores(CpuSet);

impl Cores {
    /// Those that the calling thread may run on.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn allowed() -> rustix::io::Result<Self> {
        sched_getaffinity(None).map(Self)
    }

    /// Each of them.
    #[cfg(test)]
    pub(crate) fn each(&self) -> impl Iterator<Item = Core> {
        (0..CpuSet::MAX_CPU).map(Core).filter(|&core| self.contains(core))
    }

    /// Whether a core is one of them.
    pub fn contains(&self, core: Core) -> bool {
        core.0 < CpuSet::MAX_CPU && self.0.is_set(core.0)
    }
}

/// A thread, of whatever process, by the kernel's number for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadId(pub u32);

/// Has the calling thread run only when nothing else wants its core (SCHED_IDLE), for good: no privilege is needed for
/// that, but one to take it back.
///
/// # Errors
/// Those of the system call.
pub fn run_when_idle() -> rustix::io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a live sched_param, which the call only reads; 0 is the calling thread.
    let r = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) };
    if r == 0 { Ok(()) } else { Err(super::last_errno()) }
}

/// The calling thread.
pub fn this_thread() -> ThreadId {
    ThreadId(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs())
}

/// Has a thread of this process run as others do again, after [`run_when_idle`].
///
/// # Errors
/// EPERM without CAP_SYS_NICE, unless RLIMIT_NICE allows it; ESRCH if it has ended.
pub fn run_as_others(thread: ThreadId) -> rustix::io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    let thread = libc::pid_t::try_from(thread.0).map_err(|_| rustix::io::Errno::SRCH)?;
    // SAFETY: the pointer is to a live sched_param, which the call only reads.
    let r = unsafe { libc::sched_setscheduler(thread, libc::SCHED_OTHER, &raw const none) };
    if r == 0 { Ok(()) } else { Err(super::last_errno()) }
}

/// Has the calling thread run on this core alone, even if it might not before.
///
/// # Errors
/// EINVAL if the process may never run there.
pub fn run_on(core: Core) -> rustix::io::Result<()> {
    if core.0 >= CpuSet::MAX_CPU {
        return Err(rustix::io::Errno::INVAL);
    }
    let mut only = CpuSet::new();
    only.set(core.0);
    sched_setaffinity(None, &only)
}

/// The core that a thread runs on, or did last. None if it is gone, or can't be seen. Takes some microseconds.
pub fn core_of(thread: ThreadId) -> Option<Core> {
    let stat = fs::read(format!("/proc/{}/stat", thread.0)).ok()?;
    last_core(&stat)
}

/// Field 39 of proc_pid_stat(5); the second, a name in parentheses, may contain anything.
fn last_core(stat: &[u8]) -> Option<Core> {
    let name_ends = stat.iter().rposition(|&b| b == b')')?;
    let mut fields = std::str::from_utf8(&stat[name_ends + 1..]).ok()?.split_ascii_whitespace();
    fields.nth(39 - 3)?.parse().ok().map(Core)
}

/// Tells how many threads of the machine run or want to.
#[derive(Debug)]
pub struct Runnable(File);

impl Runnable {
    /// # Errors
    /// /proc can't be read.
    pub fn open() -> std::io::Result<Self> {
        File::open("/proc/loadavg").map(Self)
    }

    /// How many run or want to just now, the calling thread among them. None if that can't be told.
    pub fn count(&self) -> Option<usize> {
        let mut text = [0; 128];
        let got = self.0.read_at(&mut text, 0).ok()?;
        runnable(&text[..got])
    }
}

/// The fourth field of proc_loadavg(5), up to its slash.
fn runnable(loadavg: &[u8]) -> Option<usize> {
    let fields = std::str::from_utf8(loadavg).ok()?;
    fields.split_ascii_whitespace().nth(3)?.split_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_files_are_found_whatever_a_program_calls_itself() {
        let stat = |name: &str| {
            let rest = (4..=38).map(|n| format!("1{n} ")).collect::<String>();
            last_core(format!("77 ({name}) S {rest}3 0 0 0\n").as_bytes())
        };
        assert_eq!(stat("tar"), Some(Core(3)));
        assert_eq!(stat("a) R 1 2 (b"), Some(Core(3)));
        assert_eq!(last_core(b"77 (tar) S 1 2"), None);
        assert_eq!(last_core(b""), None);
        assert_eq!(runnable(b"0.44 0.87 1.38 3/152 25447\n"), Some(3));
        assert_eq!(runnable(b"0.44 0.87"), None);
    }

    #[test]
    fn a_thread_goes_to_the_core_it_is_bound_to_and_is_found_there() {
        std::thread::spawn(|| {
            let me = this_thread();
            let core = core_of(me).unwrap();
            let before = Cores::allowed().unwrap();
            assert!(before.contains(core) && !before.contains(Core(usize::MAX)));
            run_on(core).unwrap();
            assert!(Cores::allowed().unwrap().contains(core));
            assert_eq!(core_of(me), Some(core));
            assert_eq!(rustix::thread::sched_getcpu(), core.0);
            run_when_idle().unwrap();
            assert!(Runnable::open().unwrap().count().unwrap() >= 1);
            assert_eq!(run_on(Core(usize::MAX)), Err(rustix::io::Errno::INVAL));
        })
        .join()
        .unwrap();
        assert_eq!(core_of(ThreadId(u32::MAX)), None);
    }
}
