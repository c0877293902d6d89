//! Which processes use a mount: those with an open file, a working directory, a root or a program in there.
//!
//! No request is sent to the mount for that: statx(2) that asks for nothing has the device from the kernel alone. So it works
//! for a mount that is detached, that this user may not enter, or whose daemon hangs. Of other users' processes only root
//! learns anything.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

/// A process that uses a mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountUser {
    /// Its number.
    pub pid: u32,
    /// Its name, as ps(1) shows it: any text.
    pub name: String,
}

/// The processes that use the mounted filesystem with this device number, as far as this user may know.
pub fn users_of(device: u64) -> Vec<MountUser> {
    let uses = |process: &Path| {
        let links = ["cwd", "root", "exe"].map(|name| process.join(name)).into_iter();
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|file| file.path());
        links.chain(files).any(|link| lies_on(&link, device))
    };
    let user = |(pid, process): (u32, PathBuf)| {
        let name = fs::read(process.join("comm")).unwrap_or_default();
        let name = String::from_utf8_lossy(&name).trim_end().to_owned();
        uses(&process).then_some(MountUser { pid, name })
    };
    processes().filter_map(user).collect()
}

fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn lies_on(link: &Path, device: u64) -> bool {
    statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::empty())
        .is_ok_and(|found| makedev(found.stx_dev_major, found.stx_dev_minor) == device)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_process_with_an_open_file_is_found_and_nobody_on_a_device_that_is_not_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let me = std::process::id();
        let users = users_of(file.as_file().metadata().unwrap().dev());
        assert!(users.iter().any(|user| user.pid == me && !user.name.is_empty()), "{users:?}");
        assert_eq!(users_of(makedev(4095, 77)), []);
    }
}
