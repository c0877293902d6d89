//! What is measured and logged of each request: how long it took and what it was answered with are counted
//! ([`crate::metrics`]); where the log wants it, there is a span too, with what it was and the inode it was about. Fields and
//! an example of the span are in docs/logging.md. Names and contents never come into it.
//!
//! A request reads the clock when it begins and when it is answered; nothing else does, span or not. Spans are of level
//! debug. Where they aren't wanted, a request costs one load and comparison for them when it begins, and a comparison when
//! it ends: nothing is allocated.

use std::time::Instant;

use tracing::span::EnteredSpan;
use tracing::{Level, Span};

use crate::ids::Ino;
use crate::metrics::{Operation, Requests};

/// The target of these spans and their lines in filters, as in `REKEYFS_LOG=rekeyfs::request=debug`.
const TARGET: &str = "rekeyfs::request";

/// What is known of a request that isn't answered yet. It is counted, and its line written, when this is dropped.
pub(super) struct RequestTrace {
    requests: &'static Requests,
    operation: Operation,
    began: Instant,
    /// What the caller gets: EIO for a request whose answer is dropped, since fuser answers so.
    errno: i32,
    span: Option<Box<Span>>,
}

impl RequestTrace {
    /// The request begins now. `ino` is the inode that it names, the directory's where it names an entry of one.
    pub(super) fn begin(requests: &'static Requests, operation: Operation, ino: Ino) -> Self {
        let wanted = tracing::enabled!(target: TARGET, Level::DEBUG);
        let span = if wanted { Self::span(operation, ino) } else { None };
        Self { requests, operation, began: Instant::now(), errno: libc::EIO, span }
    }

    #[cold]
    fn span(operation: Operation, ino: Ino) -> Option<Box<Span>> {
        let operation = operation.name();
        Some(Box::new(tracing::debug_span!(target: TARGET, "request", operation, ino = ino.0)))
    }

    /// The request was answered; 0: as it was asked.
    pub(super) fn answered(&mut self, errno: i32) {
        self.errno = errno;
    }

    /// Counts bytes of a file that the request read.
    pub(super) fn read(&self, bytes: usize) {
        self.requests.read(bytes);
    }

    /// Counts bytes of a file that the request wrote.
    pub(super) fn written(&self, bytes: usize) {
        self.requests.written(bytes);
    }

    /// Puts what this thread logs into the request's span, until the value is dropped.
    pub(super) fn enter(&self) -> Option<EnteredSpan> {
        self.span.as_deref().map(|span| span.clone().entered())
    }
}

impl Drop for RequestTrace {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.requests.answered(self.operation, took, self.errno);
        if let Some(span) = &self.span {
            let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            tracing::debug!(target: TARGET, parent: &**span, errno = self.errno, duration_us, "answered");
        }
    }
}
