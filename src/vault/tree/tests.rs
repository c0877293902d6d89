//! The namespace without a mount: on a vault in a temporary directory, looked at from both sides.

mod changed_elsewhere;
mod faults;
mod inodes;
mod listing;
mod may_only_read;
mod modes;
mod names;
mod reencrypt;
mod renames;
mod threads;
mod xattrs;

use crate::ids::{Ino, PlainOffset};
use crate::storage::RenameFlags;
use crate::vault::testing::{TestVault, me};
use crate::vault::{Error, OpenFlags, Privileges, Result, Vault};

const READ: OpenFlags = OpenFlags { read: true, write: false, truncate: false };
const PLAIN: RenameFlags = RenameFlags::empty();

/// Looks up a path from the root.
fn find(vault: &Vault, path: &str) -> Result<Ino> {
    path.split('/')
        .filter(|name| !name.is_empty())
        .try_fold(Ino::ROOT, |dir, name| Ok(vault.lookup(dir, name.as_bytes())?.ino))
}

/// The directory and the last name of a path.
fn split(vault: &Vault, path: &str) -> (Ino, Vec<u8>) {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    (find(vault, dir).unwrap(), name.as_bytes().to_vec())
}

fn mkdir(vault: &Vault, path: &str) -> Ino {
    let (dir, name) = split(vault, path);
    vault.mkdir(dir, &name, 0o755, &me()).unwrap().ino
}

fn write(vault: &Vault, path: &str, content: &[u8]) -> Ino {
    let (dir, name) = split(vault, path);
    let flags = OpenFlags { read: true, write: true, truncate: false };
    let (attr, handle) = vault.create(dir, &name, 0o644, flags, &me()).unwrap();
    vault.write(attr.ino, PlainOffset(0), content, Privileges::Keep).unwrap();
    vault.release(attr.ino, handle).unwrap();
    attr.ino
}

fn read(vault: &Vault, path: &str) -> Result<Vec<u8>> {
    let ino = find(vault, path)?;
    let handle = vault.open(ino, READ, &me())?;
    let mut out = vec![0; 1 << 16];
    let n = vault.read(ino, PlainOffset(0), &mut out)?;
    vault.release(ino, handle)?;
    out.truncate(n);
    Ok(out)
}

fn rename(vault: &Vault, from: &str, to: &str, flags: RenameFlags) -> Result<()> {
    let (from_dir, from) = split(vault, from);
    let (to_dir, to) = split(vault, to);
    vault.rename((from_dir, &from), (to_dir, &to), flags)
}

fn unlink(vault: &Vault, path: &str) -> Result<()> {
    let (dir, name) = split(vault, path);
    vault.unlink(dir, &name)
}

fn rmdir(vault: &Vault, path: &str) -> Result<()> {
    let (dir, name) = split(vault, path);
    vault.rmdir(dir, &name)
}

/// The names in a directory, sorted, without `.` and `..`.
fn list(vault: &Vault, dir: Ino) -> Vec<Vec<u8>> {
    let handle = vault.opendir(dir).unwrap();
    let mut names = Vec::new();
    vault
        .readdir(dir, handle, 0, &mut |entry| {
            names.push(entry.name.to_vec());
            true
        })
        .unwrap();
    vault.releasedir(dir, handle).unwrap();
    names.retain(|name| name != b"." && name != b"..");
    names.sort();
    names
}

/// What is in a lower directory, sorted.
fn lower(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The only lower directory in a lower directory.
fn only_dir(dir: &std::path::Path) -> std::path::PathBuf {
    let mut dirs: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    dirs.retain(|path| path.is_dir());
    assert_eq!(dirs.len(), 1);
    dirs.remove(0)
}
