//! The adapter itself: what it serves with, what each request has in common, and what the kernel has to be told of a
//! change.

use std::sync::Arc;

use fuser::{INodeNo, ReplyAttr, ReplyEmpty};

use super::answer::{Answer, Reply};
use super::busy_poll::{BusyPoller, Served};
use super::convert;
use super::errno::may_be_made_in_part;
use super::kernel::{KernelCache, Permissions};
use super::panics;
use super::pool::{Pool, Task};
use super::replies::{attributes, empty};
use super::trace::RequestTrace;
use crate::events::Actor;
use crate::ids::{Ino, TimeChange};
use crate::sys::schedule::ThreadId;
use crate::vault::{Attr, Caller, Error, FileKind, SetAttr, Vault};

/// What stands in requests that the kernel sends by itself.
const NO_THREAD: ThreadId = ThreadId(0);

/// What a request asks for.
#[derive(Clone, Copy)]
pub(super) struct Work {
    operation: &'static str,
    ino: Ino,
    bulk: bool,
}

impl Work {
    /// One that is served quickly.
    pub(super) fn on(operation: &'static str, node: INodeNo) -> Self {
        Self { operation, ino: convert::ino(node), bulk: false }
    }

    /// It takes longer than waking a thread on another core does, if `bulk`.
    pub(super) fn bulk(self, bulk: bool) -> Self {
        Self { bulk, ..self }
    }
}

/// Serves one vault to one FUSE session.
pub struct Adapter {
    pub(super) vault: Arc<Vault>,
    pub(super) pool: Pool,
    pub(super) permissions: Permissions,
    pub(super) writeback: bool,
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
    pub(super) fn change_attributes(
        &self,
        ino: Ino,
        change: &SetAttr,
        caller: &Caller,
        reply: Answer<ReplyAttr>,
    ) {
        let done = self.vault.setattr(ino, change, caller);
        let another = |now: &Attr| matches!(change.mtime, Some(TimeChange::At(time)) if time != now.mtime);
        let keeps = |now: &Attr| self.writeback && now.kind == FileKind::Regular;
        let shown_wrong = done.as_ref().is_ok_and(|now| keeps(now) && another(now));
        let in_part = change.size.is_some() && done.as_ref().is_err_and(may_be_made_in_part);
        attributes(reply, done);
        if in_part {
            self.pool.submit(Task::LookAgain { ino });
        } else if shown_wrong {
            self.pool.submit(Task::Forget { ino });
        }
    }

    /// Answers an unlink, or a rename over a name. The kernel counts the links of an inode that has others down by one when
    /// it gets the answer, also if it has asked since the name went how many there are: so it is to ask again.
    pub(super) fn unlinked(&self, reply: Answer<ReplyEmpty>, linked: Result<Option<Ino>, Error>) {
        let left = *linked.as_ref().unwrap_or(&None);
        empty(reply, linked.map(drop));
        left.inspect(|&ino| self.refresh_attributes(ino));
    }

    /// An ACL is part of the mode. Where the kernel checks permissions it knows; else it has to be told.
    pub(super) fn after_xattr_change(&self, ino: Ino, name: &[u8]) {
        if self.permissions == Permissions::RootOnly && name == b"system.posix_acl_access" {
            self.refresh_attributes(ino);
        }
    }

    /// Serves a request in the name of the process that sent it; the thread then polls for the next one.
    pub(super) fn serve<R: Reply>(
        &self,
        request: &fuser::Request,
        work: Work,
        reply: R,
        handler: impl FnOnce(Answer<R>),
    ) {
        {
            let _acting = Actor { uid: request.uid(), pid: request.pid() }.act();
            let trace = RequestTrace::begin(work.operation, work.ino);
            let _entered = trace.enter();
            panics::caught(work.operation, || handler(Answer::new(reply, trace)));
        }
        if let Some(poller) = &self.poller {
            let caller = Some(ThreadId(request.pid())).filter(|&caller| caller != NO_THREAD);
            poller.poll_for_next(Served { caller, bulk: work.bulk });
        }
    }

    /// Has the kernel ask for an inode's attributes before it next uses them.
    pub(super) fn refresh_attributes(&self, ino: Ino) {
        if let Err(error) = self.kernel.drop_attributes(ino) {
            tracing::warn!(%error, ino = ino.0, "the kernel may show a mode that has changed");
        }
    }
}
