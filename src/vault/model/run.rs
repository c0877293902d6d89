//! A vault and its model, side by side. What the kernel does is done here: look-ups are counted and forgotten,
//! known inodes are used without another look-up, open files live on without a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ops::{Op, Spot, name};
use super::state::{Body, Entry, Fails, How, Id, Model, Node, ROOT};
use super::{content, errno, observe};
use crate::ids::{AliasName, Handle, Ino, PlainOffset};
use crate::keyring::KeyRef;
use crate::monitor::Monitor;
use crate::storage::{Errno, RenameFlags};
use crate::vault::testing::{READ_WRITE, TestVault, me};
use crate::vault::{FallocMode, FileKind, Privileges, Reencrypted, Result, SetAttr, SyncScope, Vault};

const FIFO: u32 = 0o010_000;
pub(super) const SECOND: &str = "alias/second";
const MAX_OPEN: usize = 4;
const DEEPEST: usize = 3;

pub(super) fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| seed.wrapping_mul(31).wrapping_add((i % 251) as u8) | 1).collect()
}

pub(super) struct Run {
    pub(super) test: TestVault,
    pub(super) model: Model,
    /// Inodes that the kernel knows, and how often it has looked each up.
    known: BTreeMap<Id, (Ino, u64)>,
    open: Vec<(Id, Handle)>,
    /// Inodes that are gone but not forgotten.
    gone: Vec<(Ino, u64)>,
    /// Inodes that were replaced by re-encrypted ones and are not forgotten.
    replaced: Vec<(Ino, u64)>,
    /// The alias that each file follows which was seen to get a header.
    pub(super) follows: BTreeMap<Id, AliasName>,
    /// Of files with handles, the aliases of where they were when they got the first one.
    pub(super) found_under: BTreeMap<Id, Vec<AliasName>>,
}

impl Run {
    pub(super) fn new(test: TestVault) -> Self {
        test.keys().create_key_for_test(SECOND.parse().unwrap());
        Self {
            test,
            model: Model::new(),
            known: BTreeMap::new(),
            open: Vec::new(),
            gone: Vec::new(),
            replaced: Vec::new(),
            follows: BTreeMap::new(),
            found_under: BTreeMap::new(),
        }
    }

    pub(super) fn vault(&self) -> Arc<Vault> {
        self.test.vault.clone()
    }

    fn count(&mut self, id: Id, ino: Ino) {
        assert!(self.known.iter().all(|(other, known)| *other == id || known.0 != ino), "{ino:?} twice");
        let known = self.known.entry(id).or_insert((ino, 0));
        assert_eq!(known.0, ino, "an inode's number changed");
        known.1 += 1;
    }

    pub(super) fn dir_ino(&mut self, dir: Id) -> Ino {
        match self.known.get(&dir) {
            _ if dir == ROOT => Ino::ROOT,
            Some((ino, _)) => *ino,
            None => {
                let entry = self.model.names_of(dir).remove(0);
                self.look_up(&entry)
            }
        }
    }

    fn look_up(&mut self, entry: &Entry) -> Ino {
        let parent = self.dir_ino(entry.dir);
        let attr = self.vault().lookup(parent, &entry.name).unwrap();
        let id = entry.id.unwrap();
        assert_eq!(attr.kind, self.model.nodes[&id].kind());
        self.count(id, attr.ino);
        attr.ino
    }

    /// The inode of an entry, from what is known or by another look-up.
    pub(super) fn ino(&mut self, entry: &Entry, fresh: bool) -> Ino {
        match self.known.get(&entry.id.unwrap()) {
            Some((ino, _)) if !fresh => *ino,
            _ => self.look_up(entry),
        }
    }

    pub(super) fn spot(&self, spot: Spot) -> Option<Entry> {
        match spot {
            Spot::Entry(pick) => {
                let entries = self.model.entries();
                entries.get(usize::from(pick) % entries.len().max(1)).cloned()
            }
            Spot::Name(pick, index) => {
                let dirs: Vec<_> = self.model.dirs().into_iter().filter(|(_, d)| *d <= DEEPEST).collect();
                Some(self.model.at(dirs[usize::from(pick) % dirs.len()].0, &name(index)))
            }
        }
    }

    /// A file: one with a name, or one that is open.
    fn file(&mut self, pick: u8) -> Option<(Id, Ino)> {
        let named = self.entries_of(|kind| kind == FileKind::Regular);
        let index = usize::from(pick) % (named.len() + self.open.len()).max(1);
        match named.get(index) {
            Some(entry) => Some((entry.id?, self.ino(entry, pick >= 128))),
            None => self.open.get(index - named.len()).map(|(id, _)| (*id, self.known[id].0)),
        }
    }

    pub(super) fn entries_of(&self, wanted: impl Fn(FileKind) -> bool) -> Vec<Entry> {
        let mut entries = self.model.entries();
        entries.retain(|entry| entry.id.is_some_and(|id| wanted(self.model.nodes[&id].kind())));
        entries
    }

    /// A file or directory with a name.
    fn node(&mut self, pick: u8, wanted: impl Fn(FileKind) -> bool) -> Option<(Id, Ino)> {
        let entries = self.entries_of(wanted);
        let entry = entries.get(usize::from(pick) % entries.len().max(1))?;
        Some((entry.id?, self.ino(entry, pick >= 128)))
    }

    pub(super) fn handle_of(&self, id: Id) -> Option<Handle> {
        self.open.iter().find(|(open, _)| *open == id).map(|(_, handle)| *handle)
    }

    /// Does an operation to both, and compares what they say. `None`: there is nothing it could work on.
    pub(super) fn apply(&mut self, op: &Op) -> Option<()> {
        match *op {
            Op::Create { .. } | Op::Mkdir { .. } | Op::Symlink { .. } | Op::Fifo { .. } => self.make(op),
            Op::Unlink { at } => {
                let (at, parent) = self.at(at)?;
                agree(op, self.vault().unlink(parent, &at.name), self.model.unlink(&at)).map(drop)
            }
            Op::Rmdir { at } => {
                let (at, parent) = self.at(at)?;
                agree(op, self.vault().rmdir(parent, &at.name), self.model.rmdir(&at)).map(drop)
            }
            Op::Rename { from, to, how } => {
                let ((from, old), (to, new)) = (self.at(from)?, self.at(to)?);
                let flags = match how {
                    How::Over => RenameFlags::empty(),
                    How::NoReplace => RenameFlags::NOREPLACE,
                    How::Exchange => RenameFlags::EXCHANGE,
                };
                let got = self.vault().rename((old, &from.name), (new, &to.name), flags);
                agree(op, got, self.model.rename(&from, &to, how)).map(drop)
            }
            Op::Link { from, to } => {
                let (id, ino) = self.node(from, |_| true)?;
                let (to, parent) = self.at(to)?;
                let got = self.vault().link(ino, parent, &to.name);
                let (attr, ()) = agree(op, got, self.model.link(id, &to))?;
                self.count(id, attr.ino);
                assert_eq!(attr.nlink as usize, self.model.names_of(id).len());
                Some(())
            }
            Op::Open { .. } | Op::Close { .. } | Op::Write { .. } | Op::Truncate { .. } => self.of_file(op),
            Op::Punch { .. } | Op::Fsync { .. } => self.of_file(op),
            Op::SetXattr { .. } | Op::RemoveXattr { .. } | Op::Chmod { .. } | Op::SetAlias { .. } => {
                self.of_node(op)
            }
            Op::Rotate { second } => {
                let alias = if second { SECOND.parse().unwrap() } else { AliasName::default_alias() };
                self.test.keys().rotate(&KeyRef::Alias(alias)).unwrap();
                Some(())
            }
            Op::Rewrap => {
                self.rewrap_all();
                Some(())
            }
            Op::Reencrypt { file } => self.reencrypt(file),
            Op::Disable => {
                self.disable_for_a_while();
                Some(())
            }
            Op::ForgetAll => {
                self.forget_all();
                Some(())
            }
            Op::Reopen | Op::ReopenKeyring => {
                self.check("before it is opened again");
                self.reopen(matches!(op, Op::ReopenKeyring));
                self.check("after it was opened again");
                Some(())
            }
        };
        self.bury();
        Some(())
    }

    fn at(&mut self, spot: Spot) -> Option<(Entry, Ino)> {
        let entry = self.spot(spot)?;
        let parent = self.dir_ino(entry.dir);
        Some((entry, parent))
    }

    fn make(&mut self, op: &Op) -> Option<()> {
        let (Op::Create { at, .. } | Op::Mkdir { at } | Op::Symlink { at, .. } | Op::Fifo { at }) = *op
        else {
            return None;
        };
        let (at, parent) = self.at(at)?;
        let vault = self.vault();
        let (body, got) = match *op {
            Op::Symlink { len, .. } => {
                let target = bytes(7, len.into());
                let got = vault.symlink(parent, &at.name, &target, &me());
                (Body::Symlink(target), got.map(|attr| (attr, None)))
            }
            Op::Mkdir { .. } => {
                let got = vault.mkdir(parent, &at.name, 0o755, &me());
                (Body::Dir(BTreeMap::new()), got.map(|attr| (attr, None)))
            }
            Op::Fifo { .. } => {
                let got = vault.mknod(parent, &at.name, FIFO | 0o644, 0, &me());
                (Body::Fifo, got.map(|attr| (attr, None)))
            }
            _ => {
                let got = vault.create(parent, &at.name, 0o644, READ_WRITE, &me());
                (Body::File(Vec::new()), got.map(|(attr, handle)| (attr, Some(handle))))
            }
        };
        let ((attr, handle), id) = agree(op, got, self.model.create(&at, Node::new(body)))?;
        self.count(id, attr.ino);
        if let Some(handle) = handle {
            if matches!(op, Op::Create { keep_open: true, .. }) && self.open.len() < MAX_OPEN {
                self.note_where_found(id);
                self.open.push((id, handle));
            } else {
                vault.release(attr.ino, handle).unwrap();
            }
        }
        Some(())
    }

    fn of_file(&mut self, op: &Op) -> Option<()> {
        let vault = self.vault();
        match *op {
            Op::Open { file } => {
                let (id, ino) = self.file(file)?;
                if self.open.len() < MAX_OPEN {
                    self.note_where_found(id);
                    self.open.push((id, vault.open(ino, READ_WRITE, &me()).unwrap()));
                }
            }
            Op::Close { handle } => {
                let index = usize::from(handle) % self.open.len().max(1);
                let (id, handle) = *self.open.get(index)?;
                self.open.swap_remove(index);
                vault.release(self.known[&id].0, handle).unwrap();
            }
            Op::Write { file, at, len, seed } => {
                let (id, ino) = self.file(file)?;
                let (at, data) = (usize::from(at), bytes(seed, len.into()));
                assert_eq!(
                    vault.write(ino, PlainOffset(at as u64), &data, Privileges::Keep).unwrap(),
                    data.len()
                );
                let content = self.model.content(id);
                let was_empty = content.is_empty();
                content.resize(content.len().max(at + data.len()), 0);
                content[at..at + data.len()].copy_from_slice(&data);
                if was_empty {
                    self.check_new_header(id, ino);
                }
            }
            Op::Truncate { file, size } => {
                let (id, ino) = self.file(file)?;
                let handle = self.handle_of(id);
                let set = SetAttr { size: Some(size.into()), handle, ..SetAttr::default() };
                assert_eq!(vault.setattr(ino, &set, &me()).unwrap().size, u64::from(size));
                let was_empty = self.model.content(id).is_empty();
                self.model.content(id).resize(size.into(), 0);
                if was_empty && size > 0 {
                    self.check_new_header(id, ino);
                }
            }
            Op::Punch { file, at, len } => {
                let (id, ino) = self.file(file)?;
                let mode = FallocMode { keep_size: true, punch_hole: true, ..FallocMode::default() };
                vault.fallocate(ino, PlainOffset(at.into()), len.into(), mode, Privileges::Keep).unwrap();
                let content = self.model.content(id);
                let end = content.len().min(usize::from(at) + usize::from(len));
                content.get_mut(at.into()..end).unwrap_or_default().fill(0);
            }
            Op::Fsync { file } => vault.fsync(self.file(file)?.1, SyncScope::Data).unwrap(),
            _ => {}
        }
        Some(())
    }

    fn of_node(&mut self, op: &Op) -> Option<()> {
        let vault = self.vault();
        let with_xattrs = |kind| matches!(kind, FileKind::Regular | FileKind::Directory);
        match *op {
            Op::SetXattr { node, name, len, mode } => {
                let (id, ino) = self.node(node, with_xattrs)?;
                let (name, value) = (xattr_name(name), bytes(len, (len % 64).into()));
                let xattrs = &mut self.model.nodes.get_mut(&id).unwrap().xattrs;
                let want = match mode {
                    crate::vault::XattrMode::Create if xattrs.contains_key(&name) => Err(vec![Errno::EXIST]),
                    crate::vault::XattrMode::Replace if !xattrs.contains_key(&name) => {
                        Err(vec![Errno::NODATA])
                    }
                    _ => Ok(xattrs.insert(name.clone(), value.clone())),
                };
                agree(op, vault.setxattr(ino, &name, &value, mode), want)?;
            }
            Op::RemoveXattr { node, name } => {
                let (id, ino) = self.node(node, with_xattrs)?;
                let removed = self.model.nodes.get_mut(&id).unwrap().xattrs.remove(&xattr_name(name));
                let want = removed.ok_or(vec![Errno::NODATA]);
                agree(op, vault.removexattr(ino, &xattr_name(name)), want)?;
            }
            Op::Chmod { node, which } => {
                let (id, ino) = self.node(node, |kind| kind != FileKind::Symlink)?;
                let perms = if self.model.nodes[&id].kind() == FileKind::Directory {
                    [0o755, 0o700, 0o1777]
                } else {
                    [0o644, 0o444, 0o600]
                };
                let perm: u16 = perms[usize::from(which) % perms.len()];
                let set = SetAttr { mode: Some(perm.into()), ..SetAttr::default() };
                assert_eq!(vault.setattr(ino, &set, &me()).unwrap().perm, perm);
                self.model.nodes.get_mut(&id).unwrap().perm = perm;
            }
            Op::SetAlias { dir, alias } => self.set_alias(op, dir, alias)?,
            _ => {}
        }
        Some(())
    }

    /// The same file, but for its number: the kernel looks it up again. A caller comes by a name: the
    /// one that the vault knew may be gone, of a file that had several.
    fn reencrypt(&mut self, file: u8) -> Option<()> {
        let (id, _) = self.file(file)?;
        let name = self.model.names_of(id).first().cloned()?;
        let ino = self.look_up(&name);
        let empty = self.model.content(id).is_empty();
        let linked = self.model.names_of(id).len() > 1;
        match self.vault().reencrypt(ino, &mut Monitor::unattended()).unwrap() {
            Reencrypted::Done(_) => {
                assert!(!linked && !empty && self.handle_of(id).is_none());
                let entry = self.model.names_of(id).remove(0);
                self.replaced.extend(self.known.remove(&id));
                let ino = self.look_up(&entry);
                self.check_new_header(id, ino);
            }
            Reencrypted::Linked => assert!(linked),
            Reencrypted::InUse => assert!(self.handle_of(id).is_some()),
            Reencrypted::Empty => assert!(empty),
            Reencrypted::Stopped => panic!("nobody stopped it"),
        }
        Some(())
    }

    fn set_alias(&mut self, op: &Op, dir: u8, alias: u8) -> Option<()> {
        let dirs = self.model.dirs();
        let id = dirs[usize::from(dir) % dirs.len()].0;
        let (vault, ino) = (self.vault(), self.dir_ino(id));
        let own = &mut self.model.nodes.get_mut(&id)?.alias;
        let name = b"user.rekeyfs.alias";
        let alias = match alias {
            0 => {
                let want = own.take().ok_or(vec![Errno::NODATA]);
                return agree(op, vault.removexattr(ino, name), want).map(drop);
            }
            1 => SECOND,
            2 => "alias/default",
            _ => "alias/missing",
        };
        let want = match alias {
            "alias/missing" => Err(vec![Errno::NOKEY]),
            alias => Ok(own.replace(alias.to_owned())),
        };
        let got = vault.setxattr(ino, name, alias.as_bytes(), crate::vault::XattrMode::Set);
        agree(op, got, want).map(drop)
    }

    fn forget_all(&mut self) {
        for (ino, n) in self.gone.drain(..).chain(self.replaced.drain(..)) {
            self.test.vault.forget(ino, n);
        }
        let open: Vec<Id> = self.open.iter().map(|(id, _)| *id).collect();
        self.known.retain(|id, (ino, n)| {
            let keep = u64::from(open.contains(id));
            self.test.vault.forget(*ino, *n - keep);
            *n = keep;
            keep > 0
        });
    }

    /// Closes and forgets everything: then nothing is left in the table of inodes but the root.
    pub(super) fn close_all(&mut self) {
        for (id, handle) in std::mem::take(&mut self.open) {
            self.test.vault.release(self.known[&id].0, handle).unwrap();
        }
        self.bury();
        self.forget_all();
        assert_eq!(self.test.vault.tree.inodes.len(), 1, "inodes known though all are forgotten");
    }

    /// What a killed process leaves is opened.
    pub(super) fn reopen(&mut self, keyring: bool) {
        self.known.clear();
        self.open.clear();
        self.gone.clear();
        self.replaced.clear();
        self.model.sweep(|_| false);
        self.forget_empty_ones();
        if keyring { self.test.reopen_keyring() } else { self.test.reopen() }
    }

    /// Notes what has lost its last name and its last handle.
    fn bury(&mut self) {
        let open: Vec<Id> = self.open.iter().map(|(id, _)| *id).collect();
        self.model.sweep(|id| open.contains(&id));
        let (model, gone) = (&self.model, &mut self.gone);
        self.known.retain(|id, known| {
            let alive = model.nodes.contains_key(id);
            if !alive {
                gone.push(*known);
            }
            alive
        });
        while self.gone.len() > 3 {
            let (ino, n) = self.gone.remove(0);
            self.test.vault.forget(ino, n);
        }
    }

    /// Compares the whole tree, and what is known or open without a name.
    #[track_caller]
    pub(super) fn check(&self, when: &str) {
        let vault = self.vault();
        observe(&vault).unwrap().assert_is(&self.model.snapshot(), when);
        let written = self.entries_of(|kind| kind == FileKind::Regular);
        let mut written: Vec<Id> = written.iter().filter_map(|entry| entry.id).collect();
        written.retain(|id| matches!(&self.model.nodes[id].body, Body::File(bytes) if !bytes.is_empty()));
        written.sort_unstable();
        written.dedup();
        let counted: u64 = vault.census().iter().map(|(_, n)| n).sum();
        assert!(counted <= written.len() as u64, "{counted} files in the census of {}", written.len());
        for (id, (ino, _)) in &self.known {
            let (attr, node) = (vault.getattr(*ino).unwrap(), &self.model.nodes[id]);
            assert_eq!((attr.ino, attr.kind), (*ino, node.kind()));
            if let Body::File(bytes) = &node.body {
                assert_eq!(attr.nlink as usize, self.model.names_of(*id).len());
                assert!(content(&vault, *ino).unwrap() == *bytes, "content of a known file");
            }
        }
        for (ino, _) in &self.gone {
            assert_eq!(vault.getattr(*ino).unwrap().nlink, 0);
        }
        for (ino, _) in &self.replaced {
            assert_eq!(vault.getattr(*ino).map_err(|e| errno(&e)).unwrap_err(), Errno::STALE);
        }
    }
}

fn xattr_name(index: u8) -> Vec<u8> {
    match index % 3 {
        0 => b"user.a".to_vec(),
        1 => [b"user.".as_slice(), &[b'n'; 90]].concat(),
        _ => b"user.\xff\xfe".to_vec(),
    }
}

/// Both did it, or both failed with the same class of error.
#[track_caller]
pub(super) fn agree<T, U>(op: &Op, got: Result<T>, want: std::result::Result<U, Fails>) -> Option<(T, U)> {
    match (got, want) {
        (Ok(got), Ok(want)) => Some((got, want)),
        (Err(e), Err(fails)) => {
            assert!(fails.contains(&errno(&e)), "{op:?} failed with {e} and should with one of {fails:?}");
            None
        }
        (Err(e), Ok(_)) => panic!("{op:?} failed with {e}"),
        (Ok(_), Err(fails)) => panic!("{op:?} should have failed with one of {fails:?}"),
    }
}
