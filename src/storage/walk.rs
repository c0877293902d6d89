//! Walking a path by descriptors, one name after the other, so that it is known who could have redirected it.
//!
//! A symlink is followed only if root or the user for whom the path is walked made it: another user who may write
//! in a directory on the way can change what is in it, but can't lead out of it. The result is held by its descriptor,
//! whatever happens to its names afterwards.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use super::entries::{mkdir, open, open_dir, open_path, readlink_fd};
use super::stat::{FileKind, Stat, fstat};
use super::{Errno, Result};

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;
/// Bits of a mode that let others than the owner make and rename entries.
const WRITABLE_BY_OTHERS: u16 = 0o022;
/// The bit that leaves entries to their owners nevertheless.
const STICKY: u16 = 0o1000;

/// A request in flight when the daemon ends is aborted; later ones find no connection.
fn tells_of_a_dead_daemon(error: Errno) -> bool {
    matches!(error, Errno::NOTCONN | Errno::CONNABORTED)
}

/// How far a walk got.
#[derive(Debug)]
pub struct Walked {
    fd: OwnedFd,
    path: PathBuf,
    end: End,
    exposed: Option<PathBuf>,
}

/// How a walk ended.
#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    There,
    /// The rest of the path could not be walked; whether it goes up again.
    Stopped {
        error: Errno,
        climbs: bool,
    },
    ForeignLink {
        link: PathBuf,
        owner: u32,
    },
}

/// Walks `path` for the user `uid`. A walk that didn't reach the end of the path is no error: it holds the
/// last place that it reached.
///
/// # Errors
/// If there is no path, or no working directory for a relative one.
pub fn walk(path: &Path, uid: u32) -> io::Result<Walked> {
    let absolute = std::path::absolute(path)?;
    let mut walk =
        Walk { uid, fd: root()?, path: PathBuf::from("/"), exposed: None, links: 0, todo: Vec::new() };
    walk.push(&absolute);
    let mut end = End::There;
    while let Some(name) = walk.todo.pop() {
        if let Some(stopped) = walk.step(&name) {
            end = stopped;
            break;
        }
    }
    Ok(Walked { fd: walk.fd, path: walk.path, end, exposed: walk.exposed })
}

/// Opens a directory to be read, walked for this process's user, and returns its path: absolute, without symlinks.
///
/// # Errors
/// As [`Walked::there`]; those of `openat(2)`.
pub fn open_walked(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let (place, path) = walk(path, rustix::process::geteuid().as_raw())?.there()?.into_parts();
    Ok((open_dir(place.as_fd(), b".")?, path))
}

/// Makes a directory, where what it is to lie in is walked as by [`open_walked`], and opens it.
///
/// # Errors
/// As [`open_walked`]; those of `mkdirat(2)`.
pub fn make_walked(path: &Path, mode: u32) -> io::Result<(OwnedFd, PathBuf)> {
    let absolute = std::path::absolute(path)?;
    let (Some(above), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let (above, path) = walk(above, rustix::process::geteuid().as_raw())?.there()?.into_parts();
    mkdir(above.as_fd(), name.as_bytes(), mode)?;
    Ok((open_dir(above.as_fd(), name.as_bytes())?, path.join(name)))
}

/// Holds what is at a path, an O_PATH descriptor, where what it lies in is walked as by [`open_walked`]; a symlink at its end
/// is what is held.
///
/// # Errors
/// As [`open_walked`].
pub fn hold_walked(path: &Path) -> io::Result<OwnedFd> {
    let absolute = std::path::absolute(path)?;
    let (Some(above), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(io::ErrorKind::IsADirectory.into());
    };
    let (above, _) = walk(above, rustix::process::geteuid().as_raw())?.there()?.into_parts();
    Ok(open_path(above.as_fd(), name.as_bytes())?)
}

struct Walk {
    uid: u32,
    fd: OwnedFd,
    path: PathBuf,
    exposed: Option<PathBuf>,
    links: usize,
    /// Names still to go, the next one last.
    todo: Vec<OsString>,
}

impl Walk {
    fn push(&mut self, path: &Path) {
        let names = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        });
        let names: Vec<OsString> = names.collect();
        self.todo.extend(names.into_iter().rev());
    }

    fn step(&mut self, name: &OsStr) -> Option<End> {
        let opened = match open_entry(self.fd.as_fd(), name.as_bytes()) {
            Ok(opened) => opened,
            Err(error) => {
                let climbs = name == ".." || self.todo.iter().any(|name| name == "..");
                return Some(End::Stopped { error, climbs });
            }
        };
        if name == ".." {
            self.fd = opened;
            self.path.pop();
            return None;
        }
        // The attributes of a mount's root can't be read without access to it, or when its daemon is gone.
        let found = fstat(opened.as_fd()).ok();
        if !is_closed(fstat(self.fd.as_fd()).ok(), found, self.uid) {
            self.exposed.get_or_insert_with(|| self.path.clone());
        }
        match found.filter(|stat| stat.kind() == FileKind::Symlink) {
            Some(link) => self.follow(&opened, link.uid, name),
            None => {
                self.fd = opened;
                self.path.push(name);
                None
            }
        }
    }

    fn follow(&mut self, link: &OwnedFd, owner: u32, name: &OsStr) -> Option<End> {
        if !is_ours(owner, self.uid) {
            return Some(End::ForeignLink { link: self.path.join(name), owner });
        }
        self.links += 1;
        let target = match readlink_fd(link.as_fd()) {
            Ok(_) if self.links > MAX_LINKS => Err(Errno::LOOP),
            target => target,
        };
        match target.map(|target| PathBuf::from(OsString::from_vec(target))) {
            Ok(target) => {
                if target.is_absolute() {
                    match root() {
                        Ok(root) => self.fd = root,
                        Err(error) => return Some(End::Stopped { error, climbs: true }),
                    }
                    self.path = PathBuf::from("/");
                }
                self.push(&target);
                None
            }
            Err(error) => Some(End::Stopped { error, climbs: true }),
        }
    }
}

fn root() -> Result<OwnedFd> {
    open(CWD, b"/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
}

/// As a directory first: only that has the kernel mount what mounts itself when it is used.
fn open_entry(at: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    match open(at, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => open_path(at, name),
        opened => opened,
    }
}

fn is_ours(owner: u32, uid: u32) -> bool {
    owner == uid || owner == 0
}

/// Whether nobody but root and the user `uid` can have put this entry into this directory, or can take it away.
fn is_closed(dir: Option<Stat>, entry: Option<Stat>, uid: u32) -> bool {
    let (Some(dir), Some(entry)) = (dir, entry) else { return false };
    is_ours(dir.uid, uid)
        && (dir.perm() & WRITABLE_BY_OTHERS == 0 || (dir.perm() & STICKY != 0 && is_ours(entry.uid, uid)))
}

impl Walked {
    /// What it reached: an O_PATH descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where that was when it was walked: absolute, without symlinks.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The end of the path.
    ///
    /// # Errors
    /// Why the walk didn't reach it.
    pub fn there(self) -> io::Result<Self> {
        match &self.end {
            End::There => Ok(self),
            End::Stopped { error, .. } => Err((*error).into()),
            End::ForeignLink { link, owner } => Err(io::Error::other(format!(
                "{} is a symlink that uid {owner} made, so it is not followed; name what it leads to",
                link.display()
            ))),
        }
    }

    /// Whether it reached the end of the path.
    pub fn is_there(&self) -> bool {
        self.end == End::There
    }

    /// Whether the rest of the path, if any, lies below what the walk reached, where this process has no access or
    /// the daemon is gone.
    pub fn covers_the_rest(&self) -> bool {
        match &self.end {
            End::There => true,
            End::Stopped { error, climbs } => {
                !climbs && (*error == Errno::ACCESS || tells_of_a_dead_daemon(*error))
            }
            End::ForeignLink { .. } => false,
        }
    }

    /// Whether it reached a FUSE filesystem whose daemon is gone, though the kernel may still know the
    /// attributes of its root: only `fstatfs` asks the daemon.
    pub fn nobody_answers(&self) -> bool {
        rustix::fs::fstatfs(&self.fd).is_err_and(tells_of_a_dead_daemon)
    }

    /// The first directory on the way in which others than root and the user could have put something else, or
    /// still can.
    pub fn exposed(&self) -> Option<&Path> {
        self.exposed.as_deref()
    }

    /// The descriptor and the path.
    pub fn into_parts(self) -> (OwnedFd, PathBuf) {
        (self.fd, self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        (dir, path)
    }

    #[test]
    fn own_symlinks_lead_on_and_the_path_says_where() {
        let (_dir, at) = place();
        fs::create_dir_all(at.join("a/b")).unwrap();
        symlink(at.join("a"), at.join("absolute")).unwrap();
        symlink("absolute/b/..", at.join("relative")).unwrap();
        let walked = walk(&at.join("relative/./b/../b"), me()).unwrap().there().unwrap();
        assert_eq!(walked.path(), at.join("a/b"));
        assert_eq!(walked.exposed(), None);
        symlink("loop", at.join("loop")).unwrap();
        let looped = walk(&at.join("loop"), me()).unwrap().there().unwrap_err();
        assert_eq!(looped.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn a_symlink_of_another_user_is_not_followed() {
        let (_dir, at) = place();
        fs::create_dir(at.join("dir")).unwrap();
        symlink("dir", at.join("link")).unwrap();
        if me() == 0 {
            std::os::unix::fs::lchown(at.join("link"), Some(65_533), None).unwrap();
            let refused = walk(&at.join("link"), 0).unwrap();
            assert!(!refused.covers_the_rest());
            assert!(refused.there().unwrap_err().to_string().contains("uid 65533"));
            assert!(walk(&at.join("link"), 65_533).unwrap().there().is_ok());
        }
    }

    #[test]
    fn who_could_have_put_it_there_is_known() {
        let (_dir, at) = place();
        fs::create_dir_all(at.join("open/dir")).unwrap();
        let exposed = |mode| {
            fs::set_permissions(at.join("open"), fs::Permissions::from_mode(mode)).unwrap();
            walk(&at.join("open/dir"), me()).unwrap().exposed().map(Path::to_owned)
        };
        assert_eq!(exposed(0o755), None);
        assert_eq!(exposed(0o1777), None);
        assert_eq!(exposed(0o777), Some(at.join("open")));
        assert_eq!(exposed(0o775), Some(at.join("open")));
    }

    #[test]
    fn a_walk_that_stops_holds_the_last_place() {
        let (_dir, at) = place();
        fs::write(at.join("file"), b"").unwrap();
        let stopped = walk(&at.join("file/x"), me()).unwrap();
        assert_eq!(stopped.path(), at.join("file"));
        assert!(!stopped.covers_the_rest());
        assert!(!walk(&at.join("none/x"), me()).unwrap().covers_the_rest());
        assert_eq!(
            walk(&at.join("none"), me()).unwrap().there().unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
