//! Running fusermount3, which is setuid: it mounts and unmounts for a user without CAP_SYS_ADMIN.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::error::MountError;
use crate::sys;

const HELPER: &str = "fusermount3";

/// Directories in which fusermount3 is looked for if it isn't in PATH: the mount may have been started without PATH.
const HELPER_DIRS: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];

/// The path of fusermount3.
fn helper() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(HELPER_DIRS.map(PathBuf::from));
    let mut found = places.filter(|dir| dir.is_absolute()).map(|dir| dir.join(HELPER));
    found.find(|helper| helper.is_file()).unwrap_or_else(|| HELPER.into())
}

/// A command that runs fusermount3 and captures its messages.
pub(super) fn fusermount(arguments: &[&OsStr]) -> Command {
    let mut command = sys::process::helper(helper());
    // Ctrl-C in the terminal of a mount in the foreground is for the mount alone.
    command.process_group(0);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

pub(super) fn no_fusermount(error: std::io::Error) -> MountError {
    MountError::Fuse(match error.kind() {
        std::io::ErrorKind::NotFound => "fusermount3 is missing; install the package fuse3".to_owned(),
        std::io::ErrorKind::PermissionDenied => {
            format!("fusermount3: {error}; this user may not run it: have the package fuse3 installed again")
        }
        _ => format!("fusermount3: {error}"),
    })
}

/// What helps against a refusal of fusermount3, by words of its messages.
const REMEDIES: [(&str, &str); 6] = [
    ("user_allow_other", "root adds that line there"),
    ("no write access to mountpoint", "choose a directory that you may write in"),
    (
        "/dev/fuse: Permission denied",
        "root lets users in with `chmod 666 /dev/fuse`, which udev does as a rule",
    ),
    ("/dev/fuse: No such", "root loads the module with `modprobe fuse`, or gives the container the device"),
    ("Operation not permitted", "it must be setuid root, and a container must have CAP_SYS_ADMIN"),
    ("too many FUSE filesystems", "unmount one, or have root raise mount_max in /etc/fuse.conf"),
];

/// The messages of fusermount3, on one line, and what helps.
pub(super) fn explain(stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    let mut said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    if said.is_empty() {
        return "fusermount3 gave no descriptor and no reason".to_owned();
    }
    if let Some((_, remedy)) = REMEDIES.iter().find(|(words, _)| said.contains(words)) {
        said = format!("{said}; {remedy}");
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_helps() {
        let said =
            b"fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf\n";
        assert!(explain(said).ends_with("/etc/fuse.conf; root adds that line there"));
        let said = b"fusermount3: failed to open /dev/fuse: Permission denied";
        assert!(explain(said).contains("Permission denied; root lets users in"));
    }

    #[test]
    fn a_refusal_is_one_line() {
        assert_eq!(explain(b"fusermount3: a\n\nb\n"), "fusermount3: a; b");
        assert!(!explain(b" \n").is_empty());
    }
}
