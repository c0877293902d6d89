//! The options of a mount, checked before the user or the kernel is asked for anything.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::ids::KeyVersion;

use super::context::{SecurityContext, selinux_is_enabled};
use super::error::MountError;
use crate::unlock::CostLimit;
use crate::vault::{Sharing, VaultOptions};

/// The options of a mount. [`MountOptions::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// The vault's directory.
    pub vault: PathBuf,
    /// Where to mount it.
    pub mountpoint: PathBuf,
    /// Serve in this process instead of a daemon.
    pub foreground: bool,
    /// Let other users in, as far as modes, owners and ACLs allow.
    pub allow_other: bool,
    /// Let root in, who without it sees an ordinary user's mount as anyone else does.
    pub allow_root: bool,
    /// Refuse to follow symlinks in the mount.
    pub no_symlinks: bool,
    /// SELinux contexts.
    pub contexts: Vec<SecurityContext>,
    /// Refuse writes.
    pub read_only: bool,
    /// Share the vault with mounts of other hosts. A vault that was shared once is always mounted so.
    pub shared: bool,
    /// Unmount once nothing used the mount for so long.
    pub idle: Option<Duration>,
    /// Re-wrap stale files when they are used.
    pub lazy_rewrap: bool,
    /// Let the kernel gather writes in its cache. Without it each write is sent at once, and the times of a file are those of its
    /// writes.
    pub writeback: bool,
    /// Keep extended attributes and ACLs. Without it the kernel asks for none, and permissions go by modes alone.
    pub xattrs: bool,
    /// Honour set-user-id bits and file capabilities.
    pub suid: bool,
    /// Honour device nodes.
    pub dev: bool,
    /// Refuse to execute.
    pub noexec: bool,
    /// Reading changes no access time. Without it the lower filesystem's own options decide.
    pub no_atime: bool,
    /// Mount over a directory that isn't empty.
    pub nonempty: bool,
    /// Accept a keyring that is older than, or diverged from, the one that this host has seen.
    pub accept_rollback: bool,
    /// With that: the number of the next version of each key, if it isn't known.
    pub next_version: Option<KeyVersion>,
    /// What may be spent on trying unlock slots.
    pub limit: CostLimit,
    /// The source in the list of mounts, instead of the vault's path.
    pub fsname: Option<OsString>,
}

impl MountOptions {
    /// A mount in the background, for its owner alone, writable, without suid and device nodes.
    pub fn new(vault: PathBuf, mountpoint: PathBuf) -> Self {
        Self {
            vault,
            mountpoint,
            foreground: false,
            allow_other: false,
            allow_root: false,
            no_symlinks: false,
            contexts: Vec::new(),
            read_only: false,
            shared: false,
            idle: None,
            lazy_rewrap: true,
            writeback: true,
            xattrs: true,
            suid: false,
            dev: false,
            noexec: false,
            no_atime: false,
            nonempty: false,
            accept_rollback: false,
            next_version: None,
            limit: CostLimit::Usual,
            fsname: None,
        }
    }

    /// Whether it is to read what another host may be writing.
    pub(super) fn reads_beside_a_writer(&self) -> bool {
        self.shared && self.read_only
    }

    pub(super) fn vault_options(&self, sharing: Sharing) -> VaultOptions {
        VaultOptions {
            read_only: self.read_only,
            lazy_rewrap: self.lazy_rewrap,
            no_atime: self.no_atime,
            sharing,
        }
    }

    /// # Errors
    /// [`MountError::Option`] for a combination that can't work.
    pub(super) fn validate(&self) -> Result<(), MountError> {
        if let Some(fsname) = &self.fsname
            && (fsname.is_empty() || fsname.as_bytes().iter().any(|b| matches!(b, 0 | b'\n')))
        {
            return Err(MountError::Option {
                option: "fsname",
                problem: "empty, or holds NUL or a line end",
            });
        }
        let root = rustix::process::geteuid().is_root();
        if self.suid && !root {
            return Err(MountError::Option { option: "suid", problem: "only root may give it" });
        }
        if self.dev && !root {
            return Err(MountError::Option { option: "dev", problem: "only root may give it" });
        }
        if self.no_symlinks && !root {
            return Err(MountError::Option { option: "nosymfollow", problem: "only root may give it" });
        }
        if let Some(context) = self.contexts_for_kernel().iter().find(|c| !root && c.for_helper().is_none()) {
            let problem = "fusermount3 takes no context with a comma; mount as root";
            return Err(MountError::Option { option: context.name(), problem });
        }
        Ok(())
    }

    /// The contexts, where the kernel takes any.
    pub(super) fn contexts_for_kernel(&self) -> &[SecurityContext] {
        if selinux_is_enabled() { &self.contexts } else { &[] }
    }
}
