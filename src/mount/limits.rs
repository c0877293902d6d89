//! What the process asks of the kernel for itself before it has secrets or threads.

use rustix::fd::AsFd;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// How far the descriptor table is grown in one go: 512 KiB of kernel memory at most.
const DESCRIPTORS_AT_START: u64 = 1 << 16;

/// Keeps other processes of the same user from reading this one's memory (ptrace, /proc, core dumps).
pub(super) fn protect_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user can read the daemon's memory");
    }
    lower_to_zero(Resource::Core);
    if rustix::process::geteuid().is_root() {
        // Ignored on failure: a container's root may not. sys::locked::all_locked says what came of it.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    } else {
        raise(Resource::Memlock);
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

fn lower_to_zero(resource: Resource) {
    let _ = setrlimit(resource, Rlimit { current: Some(0), maximum: Some(0) });
}
