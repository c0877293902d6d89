//! Splitting the process, and closing what it inherited.

use libc::c_int;
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
/// EBUSY, or those of the system call: EAGAIN, ENOMEM.
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

/// Closes the descriptors, other than standard input, output and error, that were open when the program began. They
/// are those without FD_CLOEXEC: a descriptor with it doesn't outlive `execve(2)`, and this program opens none without
/// it but the one that it hands to fusermount3 while there is one thread.
///
/// # Errors
/// If /proc/self/fd can't be read.
pub fn close_inherited_descriptors() -> std::io::Result<()> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<c_int>().ok()));
    }
    for fd in open.into_iter().filter(|fd| *fd > libc::STDERR_FILENO) {
        // SAFETY: F_GETFD takes no pointer and fails for a number that isn't open. What lacks FD_CLOEXEC was inherited,
        // so no object of this process owns it or will use it.
        unsafe {
            let flags = libc::fcntl(fd, libc::F_GETFD);
            if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
                libc::close(fd);
            }
        }
    }
    Ok(())
}
