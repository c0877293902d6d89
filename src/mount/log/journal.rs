//! The native protocol of systemd-journald: a datagram of fields, which it keeps as they are, so that `journalctl
//! REKEYFS_VAULT=/srv/vault` finds the lines of a vault. <https://systemd.io/JOURNAL_NATIVE_PROTOCOL>
//!
//! The crate tracing-journald isn't used: its socket blocks, so a request would wait for a journal that is stuck, and it has one
//! priority for each level, where a notice has another one than the rest of level info.

use std::env;
use std::os::fd::{AsFd, BorrowedFd};

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// The variable by which systemd says which stream leads to the journal: `DEVICE:INODE`.
const STREAM: &str = "JOURNAL_STREAM";

/// Whether standard error is the stream to the journal that systemd made for this service.
pub(super) fn is_stderr() -> bool {
    env::var(STREAM).is_ok_and(|stream| is_stream(std::io::stderr().as_fd(), &stream))
}

fn is_stream(fd: BorrowedFd<'_>, stream: &str) -> bool {
    let Some((device, inode)) = stream.split_once(':') else { return false };
    let (Ok(device), Ok(inode)) = (device.parse::<u64>(), inode.parse::<u64>()) else { return false };
    rustix::fs::fstat(fd).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (device, inode))
}

/// Appends a field to a datagram. A value with a line feed, as a path may be, is written with its length.
pub(super) fn push(datagram: &mut Vec<u8>, name: &str, value: &[u8]) {
    datagram.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value);
    datagram.push(b'\n');
}

/// The name of a field of the journal for a field of a line: `REKEYFS_KEY` for `key`.
pub(super) fn field_name(name: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("REKEYFS_{}", name.chars().map(word).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn fields_are_as_the_protocol_wants_them() {
        let mut datagram = Vec::new();
        push(&mut datagram, "MESSAGE", b"mounted");
        push(&mut datagram, &field_name("lower-path"), b"a\nb");
        assert_eq!(datagram, b"MESSAGE=mounted\nREKEYFS_LOWER_PATH\n\x03\0\0\0\0\0\0\0a\nb\n");
    }

    #[test]
    fn only_the_stream_that_systemd_names_is_the_journals() {
        let (stream, other) = UnixStream::pair().unwrap();
        let stat = rustix::fs::fstat(&stream).unwrap();
        let name = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_stream(stream.as_fd(), &name));
        assert!(!is_stream(other.as_fd(), &name));
        for wrong in ["", ":", "8", "a:b", "-1:-1"] {
            assert!(!is_stream(stream.as_fd(), wrong), "{wrong}");
        }
    }
}
