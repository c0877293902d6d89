//! A span for each request, with what it was, the inode it was about, the errno it was answered with and how long that
//! took; its fields and an example are in docs/logging.md. Names and contents never come into it.
//!
//! Spans are of level debug. Where they aren't wanted, a request costs one load and comparison for them when it begins,
//! and a comparison when it ends: no clock is read and nothing is allocated.

use std::time::Instant;

use tracing::span::EnteredSpan;
use tracing::{Level, Span};

use crate::ids::Ino;

/// The target of these spans and their lines in filters, as in `REKEYFS_LOG=rekeyfs::request=debug`.
const TARGET: &str = "rekeyfs::request";

/// What is known of a request that isn't answered yet.
pub(super) struct RequestTrace(Option<Box<Traced>>);

struct Traced {
    span: Span,
    began: Instant,
    /// What the caller gets: EIO for a request whose answer is dropped, since fuser answers so.
    errno: i32,
}

impl RequestTrace {
    /// The request begins now. `operation` is FUSE's word for it, `ino` the inode that it names, the directory's where it
    /// names an entry of one.
    pub(super) fn begin(operation: &'static str, ino: Ino) -> Self {
        if !tracing::enabled!(target: TARGET, Level::DEBUG) {
            return Self(None);
        }
        Self::begin_traced(operation, ino)
    }

    #[cold]
    fn begin_traced(operation: &'static str, ino: Ino) -> Self {
        let span = tracing::debug_span!(target: TARGET, "request", operation, ino = ino.0);
        Self(Some(Box::new(Traced { span, began: Instant::now(), errno: libc::EIO })))
    }

    /// The request was answered; 0: as it was asked. The line is written when this is dropped.
    pub(super) fn answered(&mut self, errno: i32) {
        if let Some(traced) = &mut self.0 {
            traced.errno = errno;
        }
    }

    /// Puts what this thread logs into the request's span, until the value is dropped.
    pub(super) fn enter(&self) -> Option<EnteredSpan> {
        self.0.as_ref().map(|traced| traced.span.clone().entered())
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let duration_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(target: TARGET, parent: &self.span, errno = self.errno, duration_us, "answered");
    }
}
