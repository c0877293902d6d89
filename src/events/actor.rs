//! In whose name something happens: the process that asked, not the daemon that carries it out.

use std::cell::Cell;

/// A process that asked for something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Actor {
    /// Its effective user id.
    pub uid: u32,
    /// Its process id; 0 if unknown (a process of another pid namespace, or the kernel itself).
    pub pid: u32,
}

thread_local! {
    static ACTING: Cell<Option<Actor>> = const { Cell::new(None) };
}

impl Actor {
    /// This process.
    pub fn own() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            pid: rustix::process::getpid().as_raw_nonzero().get().unsigned_abs(),
        }
    }

    /// In whose name this thread works: the actor set by [`Actor::act`], else this process.
    pub fn current() -> Self {
        ACTING.get().unwrap_or_else(Self::own)
    }

    /// Makes this thread work in the actor's name until the returned value is dropped.
    #[must_use]
    pub fn act(self) -> Acting {
        Acting { before: ACTING.replace(Some(self)) }
    }
}

/// Ends [`Actor::act`] when it is dropped, also by a panic.
pub struct Acting {
    before: Option<Actor>,
}

impl Drop for Acting {
    fn drop(&mut self) {
        ACTING.set(self.before);
    }
}
