//! Turns results into answers, for kinds of answers that several requests share.

use std::time::Duration;

use fuser::{Errno, Generation, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyWrite, ReplyXattr};

use super::answer::Answer;
use super::convert;
use super::errno::errno;
use crate::vault::{Attr, Result};

/// Bytes of a page of memory.
const PAGE: usize = 4096;

pub(super) fn entry(reply: Answer<ReplyEntry>, result: Result<Attr>, ttl: Duration) {
    match result {
        Ok(attr) => {
            let generation = convert::generation(attr.generation);
            reply.send(|reply| reply.entry(&ttl, &convert::file_attr(&attr), generation));
        }
        Err(error) => reply.error(errno(&error)),
    }
}

/// As [`entry`]; that there is none is known for as long.
pub(super) fn looked_up(reply: Answer<ReplyEntry>, result: Result<Attr>, ttl: Duration) {
    match result {
        Err(error) if errno(&error).code() == libc::ENOENT => {
            reply.send(|reply| reply.entry(&ttl, &convert::no_entry(), Generation(0)));
        }
        result => entry(reply, result, ttl),
    }
}

pub(super) fn attributes(reply: Answer<ReplyAttr>, result: Result<Attr>, ttl: Duration) {
    match result {
        Ok(attr) => reply.send(|reply| reply.attr(&ttl, &convert::file_attr(&attr))),
        Err(error) => reply.error(errno(&error)),
    }
}

pub(super) fn empty(reply: Answer<ReplyEmpty>, result: Result<()>) {
    match result {
        Ok(()) => reply.send(ReplyEmpty::ok),
        Err(error) => reply.error(errno(&error)),
    }
}

pub(super) fn written(reply: Answer<ReplyWrite>, result: Result<usize>) {
    match result {
        // A write is at most 1 MiB.
        Ok(written) => reply.send_written(written, |reply| reply.written(written as u32)),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Answers with a value for a buffer of `space` bytes, ERANGE if it is longer; 0 asks for the length.
pub(super) fn sized(reply: Answer<ReplyXattr>, space: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(length) if space == 0 => reply.send(|reply| reply.size(length)),
        Ok(length) if length <= space => reply.send(|reply| reply.data(value)),
        _ => reply.error(Errno::ERANGE),
    }
}

/// `size` bytes of `buffer`, which grows if needed, from a page boundary on: the kernel copies an answer page by page, and
/// would copy each page in two pieces if the answer began in the middle of one.
pub(super) fn page_aligned(buffer: &mut Vec<u8>, size: usize) -> &mut [u8] {
    if buffer.len() < size + PAGE {
        buffer.resize(size + PAGE, 0);
    }
    let at = buffer.as_ptr().align_offset(PAGE).min(PAGE);
    &mut buffer[at..at + size]
}
