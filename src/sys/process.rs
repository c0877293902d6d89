//! Splitting the process.

use rustix::process::Pid;

/// Which side of a [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The process that called; its child is named.
    Parent(Pid),
    /// The new process.
    Child,
}

/// `fork(2)`. The child has this thread only, so call it before any other thread is started: what another
/// thread has locked (the allocator, say) would stay locked in the child. Refused with EBUSY if there is one.
///
/// # Errors
/// EBUSY, or what the system call says: EAGAIN, ENOMEM.
pub fn fork() -> rustix::io::Result<Forked> {
    // Unreadable only without /proc, where the caller's word has to do.
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        return Err(rustix::io::Errno::BUSY);
    }
    // SAFETY: there is one thread (checked above), so no lock is held by one that the child lacks.
    let pid = unsafe { libc::fork() };
    match pid {
        0 => Ok(Forked::Child),
        pid => Pid::from_raw(pid).filter(|_| pid > 0).map(Forked::Parent).ok_or_else(super::last_errno),
    }
}
