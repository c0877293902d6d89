//! Creating files as the caller: file system uid and gid and the umask of one thread, for the length of
//! one call. The ids are a thread's own; so is the umask once the thread has parted from the others
//! (`unshare(CLONE_FS)`), which its first call here does. A new thread shares the umask of the one that starts
//! it, so none is to be started inside such a call.

use std::cell::Cell;

use rustix::fs::Mode;
use rustix::process::{getegid, geteuid, umask};
use rustix::thread::{CapabilitiesSecureBits, capabilities_secure_bits, set_capabilities_secure_bits};

use super::{Errno, Result};
use crate::sys;

/// In whose name something is created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Owner of what is created.
    pub uid: u32,
    /// Its group, unless the directory has the set-group-ID bit.
    pub gid: u32,
    /// umask; the lower filesystem applies it, unless the directory has a default ACL.
    pub umask: u32,
}

/// What the thread is when it acts for no one.
#[derive(Clone, Copy)]
struct Own {
    uid: u32,
    gid: u32,
    umask: u32,
}

thread_local! {
    static OWN: Cell<Option<Own>> = const { Cell::new(None) };
}

/// Runs `act` with the caller's ids and umask, and goes back to the daemon's own after it, also when it
/// panics. Capabilities are kept: what the caller may do, the kernel has checked. A daemon that isn't root
/// can't change its ids and creates everything as its own. No system call where nothing differs.
///
/// # Errors
/// EPERM if a root without CAP_SETUID or CAP_SETGID can't become the caller, or the thread can't have a
/// umask of its own; what `act` returns.
pub fn as_caller<T, E: From<Errno>>(
    caller: Caller,
    act: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let own = match OWN.get() {
        Some(own) => own,
        None => prepare_thread()?,
    };
    let _restore = Restore::switch(own, caller)?;
    act()
}

fn prepare_thread() -> Result<Own> {
    sys::unshare_fs()?;
    let mask = umask(Mode::from_raw_mode(0o077));
    umask(mask);
    let own = Own { uid: geteuid().as_raw(), gid: getegid().as_raw(), umask: mask.as_raw_mode() };
    if own.uid == 0 {
        // Without CAP_SETPCAP this fails, and the lower filesystem checks the caller a second time.
        let _ = capabilities_secure_bits()
            .and_then(|bits| set_capabilities_secure_bits(bits | CapabilitiesSecureBits::NO_SETUID_FIXUP));
    }
    OWN.set(Some(own));
    Ok(own)
}

/// What has to be undone.
struct Restore {
    uid: Option<u32>,
    gid: Option<u32>,
    umask: Option<u32>,
}

impl Restore {
    fn switch(own: Own, caller: Caller) -> Result<Self> {
        let mut restore = Self { uid: None, gid: None, umask: None };
        let mask = caller.umask & 0o777;
        if mask != own.umask {
            umask(Mode::from_raw_mode(mask));
            restore.umask = Some(own.umask);
        }
        if own.uid == 0 {
            // The group first: the user may cost the right to change it.
            if caller.gid != own.gid {
                restore.gid = Some(own.gid);
                sys::set_fsgid(caller.gid)?;
            }
            if caller.uid != own.uid {
                restore.uid = Some(own.uid);
                sys::set_fsuid(caller.uid)?;
            }
        }
        Ok(restore)
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // Going back to the effective ids is always allowed.
        if let Some(uid) = self.uid {
            let _ = sys::set_fsuid(uid);
        }
        if let Some(gid) = self.gid {
            let _ = sys::set_fsgid(gid);
        }
        if let Some(mask) = self.umask {
            umask(Mode::from_raw_mode(mask));
        }
    }
}
/// Whether a caller may give a file of group `of` a set-group-ID bit, or let it keep one: it is of that group, or root
/// with CAP_FSETID. Its further groups are read from /proc of its thread, which waits meanwhile; of a thread that can't
/// be seen from here (0, or one of another pid namespace) none are known.
pub fn may_keep_setgid(uid: u32, gid: u32, thread: u32, of: u32) -> bool {
    if gid == of {
        return true;
    }
    let status =
        if thread == 0 { None } else { std::fs::read_to_string(format!("/proc/{thread}/status")).ok() };
    match status {
        Some(status) => status_keeps_setgid(&status, uid, of),
        None => uid == 0,
    }
}

fn status_keeps_setgid(status: &str, uid: u32, of: u32) -> bool {
    const FSETID: u32 = 4;
    let line =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    // Capabilities in a user namespace look like real ones: root is root.
    let capabilities = u64::from_str_radix(line("CapEff:"), 16).unwrap_or(0);
    let by_right = uid == 0 && capabilities & (1 << FSETID) != 0;
    by_right || line("Groups:").split_ascii_whitespace().any(|group| group.parse() == Ok(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_the_group_or_root_keeps_setgid() {
        let status = "Name:\tx\nGid:\t5\t5\t5\t5\nGroups:\t5 70 800 \nCapEff:\t0000000000000010\n";
        assert!(status_keeps_setgid(status, 1000, 70) && status_keeps_setgid(status, 1000, 800));
        assert!(!status_keeps_setgid(status, 1000, 7) && !status_keeps_setgid("", 1000, 7));
        assert!(status_keeps_setgid(status, 0, 7));
        assert!(!status_keeps_setgid("Groups:\t\nCapEff:\t000001ffffffffef\n", 0, 7));
        assert!(may_keep_setgid(1000, 7, 0, 7) && may_keep_setgid(0, 0, 0, 7));
        assert!(!may_keep_setgid(1000, 6, 0, 7));
    }
}
