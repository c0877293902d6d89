//! Signal masks and dispositions: setting them back, and holding signals back for a while. Handlers are signal-hook's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::c_int;

/// The kernel's signals, real-time ones included.
const ALL: std::ops::RangeInclusive<c_int> = 1..=64;

/// Empties the calling thread's signal mask, which later threads inherit.
pub fn unblock_all() {
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set, which pthread_sigmask then only reads; the old mask isn't asked for.
    // Neither fails for valid arguments.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Signals that don't reach the calling thread, and what they do, until this is dropped in the same thread. Those that came
/// meanwhile do it then.
pub struct HeldBack {
    /// The thread's signal mask as it was.
    before: libc::sigset_t,
    /// Readable while one of them waits. Nothing reads it.
    arrivals: OwnedFd,
    /// The mask is the thread's.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl HeldBack {
    /// Holds these signals back.
    ///
    /// # Errors
    /// Without a descriptor for their arrival nothing is held back.
    pub fn new(signals: impl IntoIterator<Item = c_int>) -> io::Result<Self> {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set that the other calls use, and pthread_sigmask the old mask. None keeps a
        // pointer. The descriptor is new, and owned by nothing else.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let arrivals = OwnedFd::from_raw_fd(fd);
            match libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr()) {
                0 => {
                    let before = before.assume_init();
                    Ok(Self { before, arrivals, _not_send: std::marker::PhantomData })
                }
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    /// Readable while one of them waits.
    pub fn arrivals(&self) -> BorrowedFd<'_> {
        self.arrivals.as_fd()
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        // SAFETY: the mask was filled in `new`; the old one isn't asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

/// Stops the process's interval timers, which alarm(2) and setitimer(2) set and exec passes on.
pub fn stop_timers() {
    const ZERO: libc::timeval = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let stopped = libc::itimerval { it_interval: ZERO, it_value: ZERO };
    for timer in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        // SAFETY: the new value is read during the call alone; the old one isn't asked for.
        unsafe { libc::setitimer(timer, &raw const stopped, std::ptr::null_mut()) };
    }
}

/// Whether the process ignores a signal. False for a number that is none.
pub fn is_ignored(signal: c_int) -> bool {
    let mut found = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is set; the kernel fills `found` where it returns 0.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), found.as_mut_ptr()) == 0
            && found.assume_init_ref().sa_sigaction == libc::SIG_IGN
    }
}

/// Gives a signal that is ignored its default action again. One that has a handler keeps it.
pub fn stop_ignoring(signal: c_int) {
    if is_ignored(signal) {
        // SAFETY: SIG_DFL runs no code of ours, and no handler is replaced.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// As [`stop_ignoring`], for all signals but SIGPIPE, which Rust's runtime ignores so that a write says EPIPE.
pub fn stop_ignoring_all() {
    ALL.filter(|signal| *signal != libc::SIGPIPE).for_each(stop_ignoring);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_gets_its_default_action_back() {
        // SAFETY: no handler runs. No other test uses this signal; its default action is to ignore it, too.
        unsafe { libc::signal(libc::SIGURG, libc::SIG_IGN) };
        assert!(is_ignored(libc::SIGURG));
        stop_ignoring(libc::SIGURG);
        assert!(!is_ignored(libc::SIGURG) && !is_ignored(-1));
        // The runtime's own choice stays.
        stop_ignoring_all();
        assert!(is_ignored(libc::SIGPIPE));
    }

    #[test]
    fn what_is_held_back_is_announced_and_comes_through_afterwards() {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        let came = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(libc::SIGWINCH, Arc::clone(&came)).unwrap();
        let announced = |held: &HeldBack| {
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::new(&held.arrivals(), PollFlags::IN)], Some(&at_once)) == Ok(1)
        };
        let held = HeldBack::new([libc::SIGWINCH]).unwrap();
        assert!(!announced(&held));
        signal_hook::low_level::raise(libc::SIGWINCH).unwrap();
        assert!(announced(&held) && !came.load(Ordering::SeqCst));
        drop(held);
        assert!(came.load(Ordering::SeqCst));
    }

    #[test]
    fn a_blocked_signal_comes_through_again() {
        std::thread::spawn(|| {
            let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
            let mut blocked = || {
                // SAFETY: as in unblock_all; the mask is this thread's alone.
                unsafe {
                    libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), set.as_mut_ptr());
                    libc::sigismember(set.as_ptr(), libc::SIGURG) == 1
                }
            };
            let mut one = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
            // SAFETY: as above.
            unsafe {
                libc::sigemptyset(one.as_mut_ptr());
                libc::sigaddset(one.as_mut_ptr(), libc::SIGURG);
                libc::pthread_sigmask(libc::SIG_BLOCK, one.as_ptr(), std::ptr::null_mut());
            }
            assert!(blocked());
            unblock_all();
            assert!(!blocked());
        })
        .join()
        .unwrap();
    }
}
