//! `rekeyfs init`, `mount` and `umount` as clap takes them, and what mount(8) and umount(8) ask for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};

use super::super::exit;
use super::common::{Json, Kdf, Open, Pass, VERSION};
use crate::crypto::suite::Suite;

/// `rekeyfs init`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Init {
    /// The directory to make; an empty one may exist
    pub(in crate::cli) vault: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) pass: Pass,
    #[command(flatten)]
    pub(in crate::cli) kdf: Kdf,
    /// The cipher of file contents: aes-256-gcm or chacha20-poly1305
    #[arg(long, value_name = "SUITE", default_value = Suite::KNOWN[0].name())]
    pub(in crate::cli) suite: String,
    /// Make no recovery key
    #[arg(long)]
    pub(in crate::cli) no_recovery_key: bool,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs mount`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Mount {
    /// The vault's directory
    pub(in crate::cli) vault: PathBuf,
    /// An empty directory
    pub(in crate::cli) mountpoint: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    /// Stay in the foreground
    #[arg(long, short, conflicts_with = "json")]
    pub(in crate::cli) foreground: bool,
    /// Let other users in, as far as modes and owners allow
    #[arg(long)]
    pub(in crate::cli) allow_other: bool,
    /// Unmount once nothing used it for so long, as in 90s, 30m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = super::super::options::idle_time)]
    pub(in crate::cli) idle: Option<Duration>,
    /// Refuse writes
    #[arg(long)]
    pub(in crate::cli) read_only: bool,
    /// Share the vault with mounts of other hosts: nothing is served or written once this host can't renew its lease of it
    #[arg(long)]
    pub(in crate::cli) shared: bool,
    /// Don't re-wrap stale files when they are used
    #[arg(long)]
    pub(in crate::cli) no_rewrap: bool,
    /// Hand each write over at once: the kernel gathers none in its cache
    #[arg(long)]
    pub(in crate::cli) no_writeback: bool,
    /// Have no extended attributes, ACLs or file capabilities: each question for one is answered by the kernel
    #[arg(long)]
    pub(in crate::cli) no_xattrs: bool,
    /// Honour set-user-id bits and file capabilities
    #[arg(long)]
    pub(in crate::cli) suid: bool,
    /// Honour device nodes
    #[arg(long)]
    pub(in crate::cli) dev: bool,
    /// Mount options, as mount(8) takes them
    #[arg(short = 'o', value_name = "OPTS", long_help = super::super::options::help())]
    pub(in crate::cli) options: Vec<OsString>,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs umount`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Umount {
    /// The mountpoint, or the vault's directory
    pub(in crate::cli) mountpoint: PathBuf,
    /// Detach now, also if it is busy; the daemon ends when the last user does
    #[arg(long, short)]
    pub(in crate::cli) lazy: bool,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs VAULT MOUNTPOINT -o OPTS`, as mount(8) calls it for fstab.
#[derive(Parser, Debug)]
#[command(name = "mount.fuse.rekeyfs", version = VERSION, about = "Mount a rekeyfs vault, as mount(8) calls it")]
#[command(after_help = exit::HELP)]
pub(in crate::cli) struct Fstab {
    /// The vault's directory
    pub(in crate::cli) vault: PathBuf,
    /// An empty directory
    pub(in crate::cli) mountpoint: PathBuf,
    /// Mount options
    #[arg(short = 'o', value_name = "OPTS")]
    pub(in crate::cli) options: Vec<OsString>,
    /// Accept options that aren't known
    #[arg(short = 's')]
    pub(in crate::cli) sloppy: bool,
    /// Check the options and mount nothing
    #[arg(short = 'f')]
    pub(in crate::cli) fake: bool,
    /// Accepted, as mount(8) may pass it
    #[arg(short = 'v')]
    _verbose: bool,
    /// Accepted, as mount(8) may pass it
    #[arg(short = 'n')]
    _no_mtab: bool,
    /// Accepted, as mount(8) may pass it
    #[arg(short = 't', value_name = "TYPE")]
    _type: Option<OsString>,
}

/// `umount.fuse.rekeyfs MOUNTPOINT`, as umount(8) calls it.
#[derive(Parser, Debug)]
#[command(name = "umount.fuse.rekeyfs", version = VERSION, about = "Unmount a rekeyfs vault, as umount(8) calls it")]
#[command(after_help = exit::HELP)]
pub(in crate::cli) struct UmountHelper {
    /// The mountpoint
    pub(in crate::cli) mountpoint: PathBuf,
    /// Unmount at once, also if the daemon answers nothing: what programs have not synced is lost
    #[arg(short = 'f')]
    pub(in crate::cli) force: bool,
    /// Detach now, also if it is busy; the daemon ends when the last user does
    #[arg(short = 'l')]
    pub(in crate::cli) lazy: bool,
    /// If it is busy, make it read-only
    #[arg(short = 'r')]
    pub(in crate::cli) read_only: bool,
    /// Accepted, as umount(8) may pass it
    #[arg(short = 'n')]
    _no_mtab: bool,
    /// Accepted, as umount(8) may pass it
    #[arg(short = 'v')]
    _verbose: bool,
    /// Accepted, as umount(8) may pass it
    #[arg(short = 't', value_name = "TYPE")]
    _type: Option<OsString>,
    /// Refused: a vault is unmounted in the namespace of the process that asks for it
    #[arg(short = 'N', value_name = "NAMESPACE")]
    pub(in crate::cli) namespace: Option<OsString>,
}
