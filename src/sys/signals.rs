//! Signal masks and dispositions: setting them back. Handlers are signal-hook's.

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
