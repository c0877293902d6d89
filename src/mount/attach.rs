//! Getting a FUSE session's descriptor: as root from the kernel directly, else through fusermount3, which is setuid and checks
//! what a user may do.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};
use rustix::process::{getegid, geteuid};

use super::context::SecurityContext;
use super::error::MountError;
use super::fusermount::{explain, fusermount, no_fusermount};
use super::mountinfo::FILESYSTEM_TYPE;
use super::mountpoint::Mountpoint;
use super::options::MountOptions;
use crate::fuse::Permissions;

const DEVICE: &str = "/dev/fuse";

/// fusermount3 finds the socket for its answer by this variable.
const SOCKET_VARIABLE: &str = "_FUSE_COMMFD";

/// Mounts at `mountpoint`, the directory that was checked, and returns the session's descriptor. Nothing is served yet.
pub(super) fn attach(
    options: &MountOptions,
    vault: &Path,
    mountpoint: &Mountpoint,
    permissions: Permissions,
) -> Result<OwnedFd, MountError> {
    let source = options.fsname.clone().unwrap_or_else(|| vault.as_os_str().to_owned());
    if geteuid().is_root() {
        directly(options, &source, mountpoint, permissions)
    } else {
        through_fusermount(options, &source, mountpoint, permissions)
    }
}

/// Whether each session thread can have a descriptor of its own, for which the device must be opened again.
pub(super) fn can_clone() -> bool {
    open_device().is_ok()
}

fn open_device() -> std::io::Result<File> {
    File::options().read(true).write(true).open(DEVICE)
}

/// Checks that there is a FUSE device, before the user is asked for anything.
pub(super) fn check_device() -> Result<(), MountError> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::metadata(DEVICE) {
        Ok(found) if !found.file_type().is_char_device() => Err(MountError::Fuse(format!(
            "{DEVICE} is no device; have it made anew with `rm {DEVICE}; mknod -m 666 {DEVICE} c 10 229`, or give the \
             container the device"
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(MountError::Fuse(format!(
            "{DEVICE} is missing; load the module with `modprobe fuse`, or give the container the device"
        ))),
        _ => Ok(()),
    }
}

fn directly(
    options: &MountOptions,
    source: &OsStr,
    mountpoint: &Mountpoint,
    permissions: Permissions,
) -> Result<OwnedFd, MountError> {
    let device = open_device().map_err(|error| {
        MountError::Fuse(format!("{DEVICE}: {error}; a container must be given the device"))
    })?;
    // 40000: the root of a vault is a directory. The kernel asks for its mode later.
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        geteuid().as_raw(),
        getegid().as_raw()
    );
    if options.allow_other || options.allow_root {
        data.push_str(",allow_other");
    }
    if permissions == Permissions::Kernel {
        data.push_str(",default_permissions");
    }
    data.extend(options.contexts_for_kernel().iter().map(SecurityContext::for_kernel));
    let data = CString::new(data).map_err(|_| MountError::Fuse("mount data holds NUL".to_owned()))?;
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::NOSUID, !options.suid);
    flags.set(MountFlags::NODEV, !options.dev);
    flags.set(MountFlags::NOEXEC, options.noexec);
    flags.set(MountFlags::NOSYMFOLLOW, options.no_symlinks);
    flags.set(MountFlags::NOATIME, options.no_atime);
    flags.set(MountFlags::RDONLY, options.read_only);
    match mount(source, mountpoint.held(), FILESYSTEM_TYPE, flags, data.as_c_str()) {
        Ok(()) => Ok(device.into()),
        Err(Errno::PERM) => Err(MountError::Fuse(
            "the kernel refused (EPERM); mounting takes CAP_SYS_ADMIN, which containers lack as a rule"
                .to_owned(),
        )),
        Err(Errno::NODEV) => {
            Err(MountError::Fuse("the kernel has no FUSE; load the module with `modprobe fuse`".to_owned()))
        }
        Err(error) => Err(MountError::Fuse(format!("the kernel refused: {error}"))),
    }
}

fn through_fusermount(
    options: &MountOptions,
    source: &OsStr,
    mountpoint: &Mountpoint,
    permissions: Permissions,
) -> Result<OwnedFd, MountError> {
    let failed = |error: Errno| MountError::Fuse(format!("no socket for fusermount3: {error}"));
    // The helper inherits its end: no other program is started meanwhile, there being no other thread.
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None).map_err(failed)?;
    rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::CLOEXEC).map_err(failed)?;
    let mut command = fusermount(&["-o".as_ref(), &helper_options(options, source, permissions)]);
    // It resolves the path of its working directory again, so the caller checks afterwards where it mounted.
    command
        .current_dir(mountpoint.held())
        .args(["--", "."])
        .env(SOCKET_VARIABLE, theirs.as_raw_fd().to_string());
    let child = command.spawn().map_err(no_fusermount)?;
    drop(theirs);
    let received = receive_descriptor(&ours);
    drop(ours);
    let output = child.wait_with_output().map_err(no_fusermount)?;
    match received {
        Some(session) => Ok(session),
        None => Err(MountError::Fuse(explain(&output.stderr))),
    }
}

fn helper_options(options: &MountOptions, source: &OsStr, permissions: Permissions) -> OsString {
    let mut list = b"subtype=rekeyfs,fsname=".to_vec();
    for &byte in source.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            list.push(b'\\');
        }
        list.push(byte);
    }
    let flags = [
        (options.allow_other || options.allow_root, ",allow_other"),
        (permissions == Permissions::Kernel, ",default_permissions"),
        (options.noexec, ",noexec"),
        (options.no_atime, ",noatime"),
        (options.read_only, ",ro"),
    ];
    for (_, name) in flags.into_iter().filter(|(wanted, _)| *wanted) {
        list.extend_from_slice(name.as_bytes());
    }
    for context in options.contexts_for_kernel().iter().filter_map(SecurityContext::for_helper) {
        list.extend_from_slice(context.as_bytes());
    }
    list.extend_from_slice(b",nosuid,nodev");
    OsString::from_vec(list)
}

fn receive_descriptor(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    loop {
        match recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(&mut byte)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            Err(_) => return None,
            Ok(_) => break,
        }
    }
    ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_gets_its_options_unmistakably() {
        let mut options = MountOptions::new("/v".into(), "/m".into());
        let list = helper_options(&options, OsStr::new("/a,b\\c"), Permissions::Kernel);
        assert_eq!(list, "subtype=rekeyfs,fsname=/a\\,b\\\\c,default_permissions,nosuid,nodev");
        options.read_only = true;
        options.allow_other = true;
        options.noexec = true;
        let list = helper_options(&options, OsStr::new("x"), Permissions::RootOnly);
        assert_eq!(list, "subtype=rekeyfs,fsname=x,allow_other,noexec,ro,nosuid,nodev");
    }
}
