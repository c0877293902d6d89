//! Where in a mounted vault a PATH lies. It is taken as it was typed, from the current directory on, if that leads to
//! something in the mount; else from the mount's root on. A symlink at its end is what is checked; those before it, and
//! `.` and `..`, are followed as the kernel does.

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use crate::control::Entry;
use crate::ids::PathText;
use crate::mount::mountinfo;
use crate::storage::{self, Walked, walk};

/// The path from the mount's root on.
pub(super) fn in_mount(entry: &Entry, target: &Path, typed: &Path) -> PathText {
    let mountpoint = entry.mountpoint.as_path();
    let from_root = mountpoint.join(without_root(typed));
    let found = walked(entry, typed).or_else(|| walked(entry, &from_root));
    // What can't be walked is named as it was typed: a damaged directory can be checked too.
    let below = || [mountpoint, target].into_iter().find_map(|top| spelled_below(top, typed));
    PathText(found.or_else(below).unwrap_or_else(|| typed.to_owned()))
}

/// Where a path leads in the mount, from its root on; `None` if it leads to nothing there.
fn walked(entry: &Entry, path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let is_link = fs::symlink_metadata(&absolute).ok()?.is_symlink();
    // Of a symlink, the directory is walked in which it lies.
    let (way, name) = match (is_link, absolute.parent(), absolute.file_name()) {
        (true, Some(parent), Some(name)) => (parent.to_owned(), name.to_owned()),
        _ => (absolute.clone(), OsString::new()),
    };
    let me = rustix::process::geteuid().as_raw();
    let end = walk(&way, me).and_then(Walked::there).ok()?;
    let mount = mountinfo::of(end.fd()).filter(|mount| mount.device == entry.mount_dev)?;
    let below = end.path().strip_prefix(&mount.mountpoint).ok()?;
    // A part of the mount that is bound elsewhere has a root of its own.
    let again = walk(&entry.mountpoint.as_path().join(below), me).and_then(Walked::there).ok()?;
    let id = |walked: &Walked| storage::fstat(walked.fd().as_fd()).ok().map(|stat| (stat.dev, stat.ino));
    (id(&end)? == id(&again)?).then(|| if name.is_empty() { below.to_owned() } else { below.join(name) })
}

/// What follows `top` in a path, by their texts alone.
fn spelled_below(top: &Path, path: &Path) -> Option<PathBuf> {
    let (top, path) = (std::path::absolute(top).ok()?, std::path::absolute(path).ok()?);
    path.strip_prefix(top).ok().map(Path::to_owned)
}

fn without_root(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, Component::RootDir | Component::Prefix(_))).collect()
}
