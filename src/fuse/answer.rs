//! The answer to one request, which goes with it from thread to thread: fuser's reply, and what is counted and logged of the
//! request. If it is dropped, as by a panic, fuser answers with EIO, and the log says so.

use fuser::{
    Errno, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
};
use tracing::span::EnteredSpan;

use super::trace::RequestTrace;

/// One of fuser's replies.
pub(super) trait Reply {
    /// Answers with an errno.
    fn refuse(self, errno: Errno);
}

macro_rules! replies {
    ($($reply:ty),* $(,)?) => {
        $(impl Reply for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

replies! {
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr,
}

/// Of requests that the kernel wants no answer to.
pub(super) struct NoReply;

impl Reply for NoReply {
    fn refuse(self, _errno: Errno) {}
}

/// The answer that is owed to a request.
pub(super) struct Answer<R> {
    reply: R,
    trace: RequestTrace,
}

impl<R: Reply> Answer<R> {
    pub(super) fn new(reply: R, trace: RequestTrace) -> Self {
        Self { reply, trace }
    }

    /// Answers that it is done.
    pub(super) fn send(mut self, send: impl FnOnce(R)) {
        send(self.reply);
        self.trace.answered(0);
    }

    /// Answers with an errno.
    pub(super) fn error(mut self, errno: Errno) {
        self.reply.refuse(errno);
        self.trace.answered(errno.code());
    }

    /// Answers a read of that many bytes.
    pub(super) fn send_read(self, bytes: usize, send: impl FnOnce(R)) {
        self.trace.read(bytes);
        self.send(send);
    }

    /// Answers a write of that many bytes.
    pub(super) fn send_written(self, bytes: usize, send: impl FnOnce(R)) {
        self.trace.written(bytes);
        self.send(send);
    }

    /// What entries are added to before it is sent.
    pub(super) fn reply(&mut self) -> &mut R {
        &mut self.reply
    }

    /// See [`RequestTrace::enter`].
    pub(super) fn enter(&self) -> Option<EnteredSpan> {
        self.trace.enter()
    }
}
