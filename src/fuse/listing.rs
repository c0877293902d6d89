//! Listing directories: entries are added to an answer until it is full.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use super::adapter::Adapter;
use super::answer::Answer;
use super::convert;
use super::errno::errno;
use crate::ids::{Handle, Ino};

impl Adapter {
    /// Lists from a cookie on.
    pub(super) fn list(
        &self,
        directory: Ino,
        handle: Handle,
        cookie: u64,
        mut reply: Answer<ReplyDirectory>,
    ) {
        let done = self.vault.readdir(directory, handle, cookie, &mut |entry| {
            let (kind, name) = (convert::file_type(entry.kind), OsStr::from_bytes(entry.name));
            !reply.reply().add(INodeNo(entry.ino.0), entry.next_cookie, kind, name)
        });
        match done {
            Ok(()) => reply.send(ReplyDirectory::ok),
            Err(error) => reply.error(errno(&error)),
        }
    }

    /// As [`Adapter::list`], with attributes. An entry with attributes counts as looked up.
    pub(super) fn list_plus(
        &self,
        directory: Ino,
        handle: Handle,
        cookie: u64,
        mut reply: Answer<ReplyDirectoryPlus>,
    ) {
        let ttl = self.caching.ttl();
        let listed = self.vault.readdirplus(directory, handle, cookie, &mut |attr, name, next| {
            let generation = attr.map_or(Generation(0), |attr| convert::generation(attr.generation));
            let attr =
                attr.map_or_else(|| convert::entry_without_lookup(directory, name), convert::file_attr);
            !reply.reply().add(attr.ino, next, OsStr::from_bytes(name), &ttl, &attr, generation)
        });
        match listed {
            Ok(_) => reply.send(ReplyDirectoryPlus::ok),
            Err(error) => reply.error(errno(&error)),
        }
    }
}
