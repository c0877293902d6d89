//! What a process inherits, and what of it a mount must not depend on: it lives longer than the shell, the script, the
//! service manager or the language runtime that started it, and ends only when it is unmounted.
//!
//! The rule. Every command, before anything else ([`reset_for_command`]):
//! - no signal is blocked, and SIGCHLD has its default action: helpers are waited for (ignored, `wait` says ECHILD);
//! - SIGXFSZ has a handler that does nothing: a write beyond the limit on file sizes is EFBIG, not the end;
//! - the umask masks nothing of the owner's: a keyring of mode 0 couldn't be opened again.
//!
//! A process that serves a mount, in the background or not, once it has its secret, which may come through an inherited
//! descriptor (`reset_for_mount`):
//! - inherited descriptors but the standard three are closed, with the locks and the ends of pipes that they stand for;
//! - its working directory is `/`, and keeps no filesystem busy: paths are absolute by now;
//! - interval timers are stopped: what `alarm` leaves running, exec passes on, and it would end a mount in the
//!   foreground without unmounting (one in the background is a fork, which has none);
//! - limits are lifted as far as they go (`limits::lift`); what remains of them is warned of;
//! - in the background it has a session of its own (`mount/daemon.rs`), and signals that were ignored have
//!   their default action. In the foreground SIGINT and SIGHUP stay ignored where they were, as nohup(1) and a shell's
//!   `&` want it.
//!
//! In a mount, modes are those of the request: the umask that comes with it is set around each creating call
//! (`storage::caller`). Nice value, scheduling class, I/O priority, OOM score, control group and namespaces stay as they
//! are: with these an administrator places a process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::Mode;
use rustix::process::umask;
use signal_hook::consts::{SIGCHLD, SIGXFSZ};

use super::limits;
use crate::sys;

/// The owner's bits of a mode.
const OWNER: u32 = 0o700;

/// At the start of every command. The only thread calls it.
pub fn reset_for_command() {
    sys::signals::unblock_all();
    sys::signals::stop_ignoring(SIGCHLD);
    // A handler, not SIG_IGN: helpers would inherit that.
    if let Err(error) = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))) {
        tracing::debug!(%error, "no handler for SIGXFSZ");
    }
    let inherited = umask(Mode::from_raw_mode(0o077));
    umask(inherited - Mode::from_raw_mode(OWNER));
}

/// In the process that serves a mount of `vault`, before it has threads.
pub(super) fn reset_for_mount(vault: &Path, foreground: bool) {
    if let Err(error) = sys::process::close_inherited_descriptors() {
        tracing::warn!("descriptors that were inherited stay open: /proc/self/fd: {error}");
    }
    if let Err(error) = rustix::process::chdir("/") {
        tracing::debug!("the working directory stays what it was: {error}");
    }
    sys::signals::stop_timers();
    if !foreground {
        sys::signals::stop_ignoring_all();
    }
    for remaining in limits::lift() {
        tracing::warn!("{}: {remaining}", vault.display());
    }
}
