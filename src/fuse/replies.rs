//! Answers that several requests share: a result becomes a reply.

use fuser::{Errno, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyWrite, ReplyXattr};

use super::convert;
use super::errno::errno;
use super::kernel::TTL;
use crate::vault::{Attr, Result};

/// Bytes of a page of memory.
const PAGE: usize = 4096;

pub(super) fn entry(reply: ReplyEntry, result: Result<Attr>) {
    match result {
        Ok(attr) => {
            reply.entry(&TTL, &convert::file_attr(&attr), convert::generation(attr.generation));
        }
        Err(error) => reply.error(errno(&error)),
    }
}

pub(super) fn attributes(reply: ReplyAttr, result: Result<Attr>) {
    match result {
        Ok(attr) => reply.attr(&TTL, &convert::file_attr(&attr)),
        Err(error) => reply.error(errno(&error)),
    }
}

pub(super) fn empty(reply: ReplyEmpty, result: Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

pub(super) fn written(reply: ReplyWrite, result: Result<usize>) {
    match result {
        // A write is at most 1 MiB.
        Ok(written) => reply.written(written as u32),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Answers with a value that may be longer than the caller has room for; 0 asks for its length.
pub(super) fn sized(reply: ReplyXattr, room: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(length) if room == 0 => reply.size(length),
        Ok(length) if length <= room => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}

/// `size` bytes of `buffer`, which grows if need be, from a page boundary on: the kernel takes an answer page by page,
/// and each in two pieces where it begins in the middle of one.
pub(super) fn page_aligned(buffer: &mut Vec<u8>, size: usize) -> &mut [u8] {
    if buffer.len() < size + PAGE {
        buffer.resize(size + PAGE, 0);
    }
    let at = buffer.as_ptr().align_offset(PAGE).min(PAGE);
    &mut buffer[at..at + size]
}
