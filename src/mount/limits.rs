//! Resource limits and memory protection, which are set before the process has secrets or threads: other processes can't read
//! its memory, and limits that would end a mount or make it fail are raised.

use std::fmt;
use std::io;

use rustix::fd::AsFd;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use super::error::MountError;
use crate::sys;

/// How far the descriptor table is grown in one go: 512 KiB of kernel memory at most.
const DESCRIPTORS_AT_START: u64 = 1 << 16;

/// The fewest descriptors that a mount can work with: a daemon at rest has some 20, leaves 64 to itself
/// (`vault::tree::descriptors`), and opens files and directories for each request.
const DESCRIPTORS_AT_LEAST: u64 = 128;

/// Seconds of CPU time that are kept for unmounting, where that time is limited for good.
const TIME_TO_UNMOUNT: u64 = 10;

/// A limit that can't be lifted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Remaining {
    resource: Resource,
    hard: u64,
}

impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.hard;
        match self.resource {
            Resource::Fsize => {
                write!(
                    f,
                    "files of over {n} bytes can't be written (EFBIG), because of the hard limit that this"
                )?;
                f.write_str(" process was given (ulimit -f); mount without it")
            }
            Resource::Cpu => {
                write!(
                    f,
                    "it will be unmounted after {} s of CPU time, because of the hard limit of",
                    cpu_soft(n)
                )?;
                write!(f, " {n} s that this process was given (ulimit -t); mount without it")
            }
            _ => {
                write!(
                    f,
                    "the daemon ends when it needs more than {n} bytes of memory, because of the hard limit"
                )?;
                f.write_str(" that this process was given (ulimit -v, -d); mount without it")
            }
        }
    }
}

/// Raises the limits on file sizes, CPU time, memory and threads, and returns those that remain and matter: only root can exceed
/// a hard limit. If CPU time is limited, the last seconds are kept for SIGXCPU, which unmounts.
pub(super) fn lift() -> Vec<Remaining> {
    raise(Resource::Nproc);
    let lifted = [Resource::Fsize, Resource::Cpu, Resource::As, Resource::Data].into_iter();
    lifted.filter_map(lift_one).collect()
}

fn lift_one(resource: Resource) -> Option<Remaining> {
    // Ignored on failure: only root may, and a container's root may not.
    let _ = setrlimit(resource, Rlimit { current: None, maximum: None });
    let maximum = getrlimit(resource).maximum;
    let current = match (resource, maximum) {
        (Resource::Cpu, Some(hard)) => Some(cpu_soft(hard)),
        _ => maximum,
    };
    let _ = setrlimit(resource, Rlimit { current, maximum });
    maximum.map(|hard| Remaining { resource, hard })
}

/// The soft limit of CPU time below this hard one: at that the kernel kills.
fn cpu_soft(hard: u64) -> u64 {
    hard.saturating_sub(TIME_TO_UNMOUNT).max(hard / 2)
}

/// Keeps other processes of the same user from reading this one's memory (ptrace, /proc, core dumps), and raises the limit of
/// locked memory. Called at the start of every command, since most of them hold keys at some time. Forked children inherit
/// both; executed programs only inherit the limits.
pub fn protect_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user can read this one's memory");
    }
    // It lowers a limit, so it doesn't fail.
    let _ = sys::process::forbid_core_dumps();
    if rustix::process::geteuid().is_root() {
        // Ignored on failure: a container's root may not. `warn_of_unlocked_memory` says what came of it.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    } else {
        raise(Resource::Memlock);
    }
}

/// What is to be said where keys could not be locked into memory: how much they take, why that isn't locked, and what helps.
pub(super) fn warn_of_unlocked_memory() -> Option<String> {
    let allowed = getrlimit(Resource::Memlock).current;
    sys::locked::refusal().map(|refusal| unlocked_memory(&refusal, allowed, sys::locked::wanted() as u64))
}

/// The limit is to blame only where it is less than what is wanted: containers refuse locked memory whatever it is.
fn unlocked_memory(refusal: &io::Error, allowed: Option<u64>, wanted: u64) -> String {
    let take = format!("keys could be swapped out: they take {} KiB of locked memory", wanted >> 10);
    match allowed.filter(|allowed| *allowed < wanted) {
        Some(allowed) => format!(
            "{take}, and {} KiB are allowed; raise the limit and mount again (LimitMEMLOCK= in a unit, memlock in \
             /etc/security/limits.conf, ulimit -l)",
            allowed >> 10
        ),
        None => format!(
            "{take}, which the limit allows and the system refuses ({refusal}); in a container, give it the capability \
             CAP_IPC_LOCK and the system call mlock, or encrypt the host's swap space"
        ),
    }
}

/// Checks that the limit of open files can be raised to what a mount needs.
///
/// # Errors
/// [`MountError::Descriptors`].
pub(super) fn check_descriptors() -> Result<(), MountError> {
    match getrlimit(Resource::Nofile).maximum {
        Some(hard) if hard < DESCRIPTORS_AT_LEAST => {
            Err(MountError::Descriptors { hard, needed: DESCRIPTORS_AT_LEAST })
        }
        _ => Ok(()),
    }
}

/// Raises the limit of open files as far as it goes, and grows the descriptor table: growing it once threads
/// run makes the kernel wait for an RCU grace period each time it doubles.
pub(super) fn raise_descriptors() {
    raise(Resource::Nofile);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS_AT_START);
    let highest = limit.min(DESCRIPTORS_AT_START).saturating_sub(1);
    if let Ok(highest) = i32::try_from(highest) {
        // Closed at once: it is the table that stays.
        let _ = rustix::io::fcntl_dupfd_cloexec(std::io::stderr().as_fd(), highest);
    }
}

fn raise(resource: Resource) {
    let limit = getrlimit(resource);
    let _ = setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_limited_cpu_time_some_is_kept_for_unmounting() {
        assert_eq!([0, 1, 2, 12, 20, 3600].map(cpu_soft), [0, 0, 1, 6, 10, 3590]);
    }

    #[test]
    fn unlocked_memory_is_told_in_figures_with_what_raises_the_limit() {
        let told = unlocked_memory(&io::Error::from_raw_os_error(libc::ENOMEM), Some(8 << 10), 192 << 10);
        for part in ["192 KiB", " 8 KiB are allowed", "LimitMEMLOCK=", "limits.conf", "ulimit -l"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    #[test]
    fn a_limit_that_is_high_enough_is_not_blamed_for_memory_that_is_not_locked() {
        for allowed in [None, Some(192 << 10), Some(8 << 20)] {
            let told = unlocked_memory(&io::Error::from_raw_os_error(libc::EPERM), allowed, 192 << 10);
            for part in ["192 KiB", "the system refuses (Operation not permitted", "CAP_IPC_LOCK"] {
                assert!(told.contains(part), "{part}: {told}");
            }
            assert!(!told.contains("are allowed") && !told.contains("ulimit"), "{told}");
        }
    }

    #[test]
    fn what_remains_is_told_with_its_option() {
        for (resource, option) in
            [(Resource::Fsize, "-f"), (Resource::Cpu, "-t"), (Resource::As, "-v"), (Resource::Data, "-d")]
        {
            let text = Remaining { resource, hard: 7 }.to_string();
            assert!(text.contains(option) && text.contains('7') && !text.contains('\n'), "{text}");
        }
    }
}
