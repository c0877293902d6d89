//! Reading directories with the lower filesystem's own cookies, from a buffer that is reused.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, SeekFrom};
use rustix::io::retry_on_intr;

use super::stat::FileKind;
use super::{Errno, Result};
use crate::sys;

const BUFFER: usize = 32 * 1024;
/// Offsets in a `struct linux_dirent64`: ino u64, next cookie u64, record length u16, type u8, name with NUL.
const COOKIE: usize = 8;
const LENGTH: usize = 16;
const TYPE: usize = 18;
const NAME: usize = 19;

/// An entry of a lower directory; `.` and `..` are entries too.
#[derive(Clone, Copy, Debug)]
pub struct RawEntry<'a> {
    /// Lower name.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u64,
    /// Kind; `None`: the filesystem doesn't report it; `stat` does.
    pub kind: Option<FileKind>,
    /// The cookie of the position after this entry.
    pub next_cookie: u64,
}

/// A position in a lower directory.
pub struct DirStream {
    fd: OwnedFd,
    buffer: Box<[u8]>,
    filled: usize,
    at: usize,
    /// The cookie at which the buffer starts.
    start: u64,
    /// The cookie at which the kernel continues.
    end: u64,
}

impl DirStream {
    /// At the start of the directory. The descriptor must not be shared: its offset is the position.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, buffer: vec![0; BUFFER].into(), filled: 0, at: 0, start: 0, end: 0 }
    }

    /// The directory's descriptor.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Goes to a cookie that an entry of this directory had, or to the start (0), which reads afresh what has
    /// been created since. Other cookies are looked for in the buffer first.
    ///
    /// # Errors
    /// Those of `lseek(2)`.
    pub fn seek(&mut self, cookie: u64) -> Result<()> {
        if cookie != 0 && self.seek_in_buffer(cookie) {
            return Ok(());
        }
        rustix::fs::seek(&self.fd, SeekFrom::Start(cookie))?;
        (self.filled, self.at, self.start, self.end) = (0, 0, cookie, cookie);
        Ok(())
    }

    fn seek_in_buffer(&mut self, cookie: u64) -> bool {
        if cookie == self.start {
            self.at = 0;
            return true;
        }
        let mut at = 0;
        while let Some((entry, next)) = parse(&self.buffer[..self.filled], at) {
            if entry.next_cookie == cookie {
                self.at = next;
                if next >= self.filled {
                    self.end = cookie;
                }
                return true;
            }
            at = next;
        }
        false
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// Those of `getdents64(2)`; EIO if the kernel's answer is malformed.
    #[allow(clippy::should_implement_trait)] // An entry borrows the buffer, which an Iterator's item can't.
    pub fn next(&mut self) -> Result<Option<RawEntry<'_>>> {
        if self.at >= self.filled {
            self.filled = retry_on_intr(|| sys::getdents(self.fd.as_fd(), &mut self.buffer))?;
            (self.at, self.start) = (0, self.end);
            if self.filled == 0 {
                return Ok(None);
            }
        }
        let (entry, next) = parse(&self.buffer[..self.filled], self.at).ok_or(Errno::IO)?;
        self.at = next;
        if next >= self.filled {
            self.end = entry.next_cookie;
        }
        Ok(Some(entry))
    }
}

/// The entry at `at`, and where the next one is. `None`: no whole entry is there.
fn parse(buffer: &[u8], at: usize) -> Option<(RawEntry<'_>, usize)> {
    let rest = buffer.get(at..)?;
    let ino = u64::from_ne_bytes(*rest.first_chunk()?);
    let next_cookie = u64::from_ne_bytes(*rest.get(COOKIE..)?.first_chunk()?);
    let length = usize::from(u16::from_ne_bytes(*rest.get(LENGTH..)?.first_chunk()?));
    let kind = FileKind::from_lower(file_type(*rest.get(TYPE)?));
    let padded = rest.get(NAME..length)?;
    let name = padded.get(..padded.iter().position(|&b| b == 0)?)?;
    Some((RawEntry { name, ino, kind, next_cookie }, at + length))
}

/// `d_type` is the type bits of a mode, shifted.
fn file_type(d_type: u8) -> FileType {
    FileType::from_raw_mode(u32::from(d_type) << 12)
}
