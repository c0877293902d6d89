//! The adapter itself: what it serves with, what all requests have in common, and how the kernel learns of changes that it
//! doesn't expect.

use std::sync::Arc;

use fuser::{INodeNo, ReplyAttr, ReplyEmpty, ReplyEntry};

use super::activity::Activity;
use super::answer::{Answer, Reply};
use super::busy_poll::{BusyPoller, Served};
use super::convert;
use super::errno::{errno, may_be_made_in_part};
use super::kernel::{Caching, KernelCache, Permissions};
use super::panics;
use super::pool::{Pool, Task};
use super::replies::{attributes, empty, entry};
use super::trace::RequestTrace;
use crate::events::Actor;
use crate::ids::{Ino, TimeChange};
use crate::metrics::{Operation, Requests};
use crate::sys::schedule::ThreadId;
use crate::vault::{Attr, Caller, Error, FileKind, SetAttr, Vault};

/// The caller in requests that the kernel sends by itself.
const NO_THREAD: ThreadId = ThreadId(0);

/// What a request asks for.
#[derive(Clone, Copy)]
pub(super) struct Work {
    operation: Operation,
    ino: Ino,
    bulk: bool,
    use_of_it: bool,
}

impl Work {
    /// One that is served quickly.
    pub(super) fn on(operation: Operation, node: INodeNo) -> Self {
        Self { operation, ino: convert::ino(node), bulk: false, use_of_it: true }
    }

    /// Whether it shows something that takes a key: names do, too.
    fn needs_key(&self) -> bool {
        use Operation::{Flush, Forget, Fsync, FsyncDir, Release, ReleaseDir, StatFs};
        !matches!(self.operation, Flush | Forget | Fsync | FsyncDir | Release | ReleaseDir | StatFs)
    }

    /// It is no use of the mount (see [`Activity`]).
    pub(super) fn no_use(self) -> Self {
        Self { use_of_it: false, ..self }
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
    pub(super) xattrs: bool,
    pub(super) caching: Caching,
    kernel: KernelCache,
    poller: Option<BusyPoller>,
    requests: &'static Requests,
    activity: Arc<Activity>,
}

impl Adapter {
    /// An adapter for `vault`, which runs syncs on `pool`. With `writeback` the kernel gathers writes in its cache. `kernel` is
    /// connected once the session exists. Without `xattrs` no file has extended attributes, nor ACLs. Without a `poller` threads
    /// sleep between requests.
    pub fn new(
        vault: Arc<Vault>,
        pool: Pool,
        permissions: Permissions,
        writeback: bool,
        xattrs: bool,
        kernel: KernelCache,
        poller: Option<BusyPoller>,
    ) -> Self {
        let requests = Requests::of_this_process();
        let activity = Arc::default();
        let caching = Caching::of(vault.sharing());
        Self { vault, pool, permissions, writeback, xattrs, caching, kernel, poller, requests, activity }
    }

    /// Whether it is used.
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Changes attributes, and answers. If a size can't be set the kernel keeps the old one and its pages, though the change
    /// may not have been undone: it must look again. With the writeback cache the kernel keeps the mtime that it set,
    /// whatever the answer says. It must look again too if the lower filesystem stored another one, since it has no times
    /// so late or early.
    pub(super) fn change_attributes(
        &self,
        ino: Ino,
        change: &SetAttr,
        caller: &Caller,
        reply: Answer<ReplyAttr>,
    ) {
        let unseen = if change.size.is_some() { self.clearing_unseen(ino) } else { Ok(()) };
        let done = unseen.and_then(|()| self.vault.setattr(ino, change, caller));
        let another = |now: &Attr| matches!(change.mtime, Some(TimeChange::At(time)) if time != now.mtime);
        let keeps = |now: &Attr| self.writeback && now.kind == FileKind::Regular;
        let shown_wrong = done.as_ref().is_ok_and(|now| keeps(now) && another(now));
        let in_part = change.size.is_some() && done.as_ref().is_err_and(may_be_made_in_part);
        self.attributes(reply, done);
        if in_part {
            self.pool.submit(Task::LookAgain { ino });
        } else if shown_wrong {
            self.pool.submit(Task::Forget { ino });
        }
    }

    /// Answers with an entry.
    pub(super) fn entry(&self, reply: Answer<ReplyEntry>, found: Result<Attr, Error>) {
        entry(reply, found, self.caching.ttl());
    }

    /// Answers with attributes.
    pub(super) fn attributes(&self, reply: Answer<ReplyAttr>, found: Result<Attr, Error>) {
        attributes(reply, found, self.caching.ttl());
    }

    /// Answers an unlink, or a rename over a name. When the kernel gets the answer it decrements the link count of an inode
    /// that has other names, even if it has asked for the count since the name was removed. So it must ask again.
    pub(super) fn unlinked(&self, reply: Answer<ReplyEmpty>, linked: Result<Option<Ino>, Error>) {
        let left = *linked.as_ref().unwrap_or(&None);
        empty(reply, linked.map(drop));
        left.inspect(|&ino| self.refresh_attributes(ino));
    }

    /// Serves a request in the name of the process that sent it. Afterwards the thread polls for the next request.
    pub(super) fn serve<R: Reply>(
        &self,
        request: &fuser::Request,
        work: Work,
        reply: R,
        handler: impl FnOnce(Answer<R>),
    ) {
        if work.use_of_it {
            self.activity.note();
        }
        {
            let _acting = Actor::of(request.uid(), request.pid()).act();
            let trace = RequestTrace::begin(self.requests, work.operation, work.ino);
            let _entered = trace.enter();
            let answer = Answer::new(reply, trace);
            if work.needs_key() && !self.vault.may_show() {
                answer.error(errno(&Error::LeaseOver));
            } else {
                panics::caught(work.operation.name(), || handler(answer));
            }
        }
        if let Some(poller) = &self.poller {
            let caller = Some(ThreadId(request.pid())).filter(|&caller| caller != NO_THREAD);
            poller.poll_for_next(Served { caller, bulk: work.bulk });
        }
    }

    /// Whether root, who may do anything else, may execute it: not a file that nobody may execute.
    pub(super) fn may_root_execute(&self, ino: Ino) -> Result<(), Error> {
        let attr = self.vault.getattr(ino)?;
        let refused = attr.kind == FileKind::Regular && attr.perm & 0o111 == 0;
        if refused { Err(Error::Denied) } else { Ok(()) }
    }

    /// Makes the kernel ask for an inode's attributes before it uses them again.
    pub(super) fn refresh_attributes(&self, ino: Ino) {
        if let Err(error) = self.kernel.drop_attributes(ino) {
            tracing::warn!(%error, ino = ino.0, "the kernel may show a mode that has changed");
        }
    }
}
