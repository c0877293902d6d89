//! The FUSE adapter: takes a request apart, calls the vault, replies. It decides nothing about files; what it
//! does decide is how the kernel may cache (everything, for long: the vault's lock makes the mount its only
//! user) and on which thread a request runs (syncs on a [`Pool`], all else on the session's).
//! A handler that panics answers EIO: fuser replies so for a reply that is dropped.

mod busy_poll;
mod convert;
mod data;
mod errno;
mod kernel;
mod listing;
mod operations;
mod owed;
mod pool;
mod replies;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fuser::{ReplyAttr, ReplyEmpty};

pub use busy_poll::BusyPoller;
use busy_poll::Served;
pub use errno::errno;
pub use kernel::KernelCache;
pub use pool::Pool;
use pool::Task;
use replies::attributes;

use crate::events::Actor;
use crate::ids::{Ino, TimeChange};
use crate::sys::schedule::ThreadId;
use crate::vault::{Attr, Caller, Error, FileKind, SetAttr, Vault};

/// From so many bytes on, what is done with them takes longer than to wake a thread on another core does.
const BULK: usize = 64 << 10;

/// What stands in requests that the kernel sends by itself.
const NO_THREAD: ThreadId = ThreadId(0);

/// Who checks permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permissions {
    /// The kernel, by mode, owner and ACL: mounts that others than root may enter.
    Kernel,
    /// Nobody: only root may enter, whom no permission stops. It saves the kernel a look at the parent's
    /// attributes with each create and unlink.
    RootOnly,
}

/// Serves one vault to one FUSE session.
pub struct Adapter {
    vault: Arc<Vault>,
    pool: Pool,
    permissions: Permissions,
    writeback: bool,
    kernel: KernelCache,
    poller: Option<BusyPoller>,
}

impl Adapter {
    /// An adapter for `vault`, which runs syncs on `pool`. The kernel is asked to gather writes in its cache if
    /// `writeback` says so. `kernel` is connected once the session exists. Threads sleep between requests unless
    /// `poller` says otherwise.
    pub fn new(
        vault: Arc<Vault>,
        pool: Pool,
        permissions: Permissions,
        writeback: bool,
        kernel: KernelCache,
        poller: Option<BusyPoller>,
    ) -> Self {
        Self { vault, pool, permissions, writeback, kernel, poller }
    }

    /// Changes attributes, and answers. A size that can't be set leaves the kernel with the old one and its pages, though
    /// the change may not have been undone. With the writeback cache the kernel keeps the mtime that it set, whatever the
    /// answer says: where the lower filesystem has made another of it, for it has no times so late or early, the kernel is
    /// to look again.
    fn change_attributes(&self, ino: Ino, change: &SetAttr, caller: &Caller, reply: ReplyAttr) {
        let done = self.vault.setattr(ino, change, caller);
        let another = |now: &Attr| matches!(change.mtime, Some(TimeChange::At(time)) if time != now.mtime);
        let keeps = |now: &Attr| self.writeback && now.kind == FileKind::Regular;
        let shown_wrong = done.as_ref().is_ok_and(|now| keeps(now) && another(now));
        let in_part = change.size.is_some() && done.as_ref().is_err_and(data::may_be_made_in_part);
        attributes(reply, done);
        if in_part {
            self.pool.submit(Task::LookAgain { ino });
        } else if shown_wrong {
            self.pool.submit(Task::Forget { ino });
        }
    }

    /// Answers an unlink, or a rename over a name. The kernel counts the links of an inode that has others down by one when
    /// it gets the answer, also if it has asked since the name went how many there are: so it is to ask again.
    fn unlinked(&self, reply: ReplyEmpty, linked: Result<Option<Ino>, Error>) {
        let left = *linked.as_ref().unwrap_or(&None);
        replies::empty(reply, linked.map(drop));
        left.inspect(|&ino| self.refresh_attributes(ino));
    }

    /// An ACL is part of the mode. Where the kernel checks permissions it knows; else it has to be told.
    fn after_xattr_change(&self, ino: Ino, name: &[u8]) {
        if self.permissions == Permissions::RootOnly && name == b"system.posix_acl_access" {
            self.refresh_attributes(ino);
        }
    }

    /// As [`guarded`], in the name of the process that sent the request; the thread then polls for the next one.
    fn guarded_for(&self, request: &fuser::Request, operation: &'static str, handler: impl FnOnce()) {
        self.guarded_with(request, false, operation, handler);
    }

    /// As [`Self::guarded_for`], for a request that takes long if it is `bulk`.
    fn guarded_with(
        &self,
        request: &fuser::Request,
        bulk: bool,
        operation: &'static str,
        handler: impl FnOnce(),
    ) {
        {
            let _acting = Actor { uid: request.uid(), pid: request.pid() }.act();
            guarded(operation, handler);
        }
        if let Some(poller) = &self.poller {
            let caller = Some(ThreadId(request.pid())).filter(|&caller| caller != NO_THREAD);
            poller.poll_for_next(Served { caller, bulk });
        }
    }

    /// Has the kernel ask for an inode's attributes before it next uses them.
    fn refresh_attributes(&self, ino: Ino) {
        if let Err(error) = self.kernel.drop_attributes(ino) {
            tracing::warn!(%error, ino = ino.0, "the kernel may show a mode that has changed");
        }
    }
}

/// Runs a handler; a panic in it is logged with its cause and costs this request alone.
fn guarded(operation: &'static str, handler: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(handler)) {
        let cause = panic.downcast_ref::<String>().map(String::as_str);
        let cause = cause.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it gave no cause");
        tracing::error!(operation, cause, "a handler panicked; its request was answered with EIO");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_handler_that_panics_is_logged_with_its_cause_and_stops_nothing() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let three = [0; 3];
            let at = std::hint::black_box(7);
            guarded("lookup", || _ = std::hint::black_box(three[at]));
            guarded("getattr", || panic!("a plain text"));
        });
        let said = String::from_utf8(log.0.lock().clone()).unwrap();
        for expected in ["lookup", "the index is 7", "getattr", "a plain text", "EIO"] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
}
