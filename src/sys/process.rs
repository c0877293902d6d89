//! Splitting the process, starting others, and closing what was inherited.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::c_int;
use rustix::process::Pid;

/// By these a service manager finds the process that it started, and that process finds the manager (sd_notify(3),
/// sd_listen_fds(3)).
const OF_THE_SERVICE_MANAGER: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// A command that runs another program, which can't speak to the service manager in this one's name. All programs that
/// rekeyfs runs are started by it.
pub fn helper(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    OF_THE_SERVICE_MANAGER.iter().for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// A [`helper`] that nothing is left to: no variable, no descriptor but the standard three, `/` as its working directory,
/// no core dump, and a session of its own, so a group of its own and no terminal. The kernel kills it when the thread that
/// starts it ends, which has to wait for it therefore.
pub fn confined_helper(program: impl AsRef<OsStr>) -> Command {
    let mut command = helper(program);
    command.env_clear().current_dir("/");
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec there are system calls alone: nothing is allocated, and no lock is taken.
    unsafe { command.pre_exec(move || Ok(confine(parent)?)) };
    command
}

/// Forbids core dumps to this process and those that it starts. A limit of 0 writes no file, but is as good as none where
/// core_pattern names a program, which systemd-coredump is; of 1 the kernel dumps nothing, to neither (core(5)). What was
/// forbidden before stays so.
///
/// # Errors
/// Those of the system call.
pub fn forbid_core_dumps() -> rustix::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = Some(getrlimit(Resource::Core).maximum.map_or(1, |maximum| maximum.min(1)));
    setrlimit(Resource::Core, Rlimit { current: limit, maximum: limit })
}

/// In the child.
fn confine(parent: Pid) -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // A parent that died before that sends no signal.
    if rustix::process::getppid() != Some(parent) {
        return Err(rustix::io::Errno::SRCH);
    }
    rustix::process::setsid()?;
    forbid_core_dumps()?;
    let first = libc::STDERR_FILENO as libc::c_uint + 1;
    // SAFETY: descriptors stay open until exec, so objects that own them stay valid.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) }
    {
        0 => Ok(()),
        _ => Err(super::last_errno()),
    }
}

/// Gives the calling thread a descriptor table of its own, which has no more than standard input, output and error. To be
/// called as the first thing of a thread, which from then on uses no descriptor that another thread has opened.
///
/// # Errors
/// Those of the system calls (EPERM under some seccomp filters, ENOSYS before Linux 5.9).
pub fn keep_standard_descriptors() -> rustix::io::Result<()> {
    // SAFETY: objects that own descriptors belong to other threads, which keep the process's table: these stay open
    // there. This thread owns none yet, so no number that it uses changes its meaning.
    unsafe {
        rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES)?;
        let first = libc::STDERR_FILENO as libc::c_uint + 1;
        match libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) {
            0 => Ok(()),
            _ => Err(super::last_errno()),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_thread_lets_go_of_descriptors_that_the_others_keep() {
        let file = File::open("/proc/self/status").unwrap();
        let number = file.as_raw_fd();
        let open = move || File::open(format!("/proc/thread-self/fd/{number}")).is_ok();
        let (before, after) = std::thread::spawn(move || {
            let before = open();
            keep_standard_descriptors().unwrap();
            (before, open())
        })
        .join()
        .unwrap();
        assert_eq!((before, after, open()), (true, false, true));
    }

    #[test]
    fn a_confined_helper_ends_with_the_thread_that_started_it() {
        let started = std::thread::spawn(|| confined_helper("/bin/sleep").arg("100").spawn());
        let mut child = started.join().unwrap().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
    }

    #[test]
    fn a_helper_knows_nothing_of_the_service_manager() {
        let command = helper("/bin/true");
        let removed: Vec<_> =
            command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert_eq!(removed.len(), OF_THE_SERVICE_MANAGER.len());
        assert!(OF_THE_SERVICE_MANAGER.iter().all(|name| removed.contains(&OsStr::new(name))));
    }
}
