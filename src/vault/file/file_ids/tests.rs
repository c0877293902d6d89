//! Headers copied from one file to another, as someone who can write the ciphertext does it.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use super::*;
use crate::content::layout::PAGE;
use crate::header::SLOTS;
use crate::ids::{AliasName, NodeGeneration, PlainOffset};
use crate::kms::Call;
use crate::vault::testing::{READ_WRITE, TestVault, me};
use crate::vault::tree::inode::Capability;
use crate::vault::{Damage, Error, FileKind, Privileges, Result, SetAttr};

impl TestVault {
    fn lower(&self, ino: Ino) -> PathBuf {
        let mut entries = std::fs::read_dir(self.tree()).unwrap().map(|entry| entry.unwrap());
        entries.find(|entry| entry.metadata().unwrap().ino() == ino.0).unwrap().path()
    }

    fn lower_file(&self, ino: Ino) -> std::fs::File {
        std::fs::File::options().read(true).write(true).open(self.lower(ino)).unwrap()
    }

    fn filled(&self, name: &str, content: &[u8]) -> Ino {
        let ino = self.make(name);
        self.append(name, 0, content).unwrap();
        ino
    }

    fn append(&self, name: &str, at: u64, content: &[u8]) -> Result<()> {
        let (ino, handle) = self.open(name)?;
        let written = self.vault.write(ino, PlainOffset(at), content, Privileges::Keep);
        self.vault.release(ino, handle)?;
        written.map(drop)
    }

    fn content(&self, name: &str) -> Result<Vec<u8>> {
        let ino = self.vault.lookup(Ino::ROOT, name.as_bytes())?.ino;
        let handle = self.vault.open(ino, crate::vault::OpenFlags { write: false, ..READ_WRITE }, &me())?;
        let mut out = vec![0; 1 << 16];
        let read = self.vault.read(ino, PlainOffset(0), &mut out);
        self.vault.release(ino, handle)?;
        read.map(|n| out[..n].to_vec())
    }

    /// Gives `to` the header of `from` and, where its first block was, a hole.
    fn copy_header(&self, from: Ino, to: Ino) {
        let mut slots = [0; SLOTS];
        self.lower_file(from).read_exact_at(&mut slots, 0).unwrap();
        let to = self.lower_file(to);
        to.set_len(0).unwrap();
        to.write_all_at(&slots, 0).unwrap();
        to.set_len(PAGE + 1).unwrap();
    }

    /// Whether each event of two inodes says that the later one was refused.
    fn events_of_two(&self) -> Vec<(u64, u64, bool)> {
        let log = std::fs::read_to_string(self.tree().parent().unwrap().join("events.jsonl")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let of_two = lines.filter(|line| line["detail-type"] == "File Id Of Two Inodes").map(|line| {
            let detail = &line["detail"];
            assert!(detail["file-id"].is_string() && detail["lower-path"].is_string());
            let number = |field: &str| detail[field].as_u64().unwrap();
            (number("inode"), number("other-inode"), detail["refused"].as_bool().unwrap())
        });
        of_two.collect()
    }
}

fn is_of_two<T: std::fmt::Debug>(refused: Result<T>, other: Ino) {
    assert!(matches!(refused, Err(Error::Corrupt(Damage::FileId(of))) if of == other), "{refused:?}");
}

#[test]
fn a_copied_header_takes_nothing_while_the_file_it_is_of_is_known() {
    let mut t = TestVault::new();
    let (a, log) = (t.filled("a", &[1; 5000]), t.filled("log", b"x"));
    t.reopen();
    assert_eq!(t.content("a").unwrap(), [1; 5000]);
    t.copy_header(a, log);
    is_of_two(t.append("log", 1, b"of the user"), a);
    is_of_two(t.content("log"), a);
    assert!(t.events_of_two().contains(&(log.0, a.0, true)), "{:?}", t.events_of_two());
    assert_eq!(t.content("a").unwrap(), [1; 5000], "the other one is what it was");
    // A hard link is no other inode.
    t.vault.link(a, Ino::ROOT, b"link").unwrap();
    assert_eq!(t.content("link").unwrap(), [1; 5000]);
    // What helps: it is emptied.
    let new_size = SetAttr { size: Some(0), ..SetAttr::default() };
    t.vault.setattr(log, &new_size, &me()).unwrap();
    t.append("log", 0, b"new").unwrap();
    assert_eq!((t.content("log").unwrap(), t.content("a").unwrap().len()), (b"new".to_vec(), 5000));
}

/// The page that the user wrote into the copy is authentic in the other file.
#[test]
fn what_a_copy_has_taken_is_not_read_in_the_other_file_unnoticed() {
    let mut t = TestVault::new();
    let (a, log) = (t.filled("a", &[1; 5000]), t.filled("log", b"x"));
    let own = std::fs::read(t.lower(log)).unwrap();
    t.reopen();
    t.copy_header(a, log);
    t.append("log", 0, &[2; 3044]).unwrap();
    is_of_two(t.content("a"), log);
    // The attacker moves the page, and puts back what the copy was.
    let mut page = vec![0; PAGE as usize - SLOTS];
    t.lower_file(log).read_exact_at(&mut page, SLOTS as u64).unwrap();
    t.lower_file(a).write_all_at(&page, SLOTS as u64).unwrap();
    let handle = t.open("log").unwrap();
    std::fs::write(t.lower(log), &own).unwrap();
    is_of_two(t.content("a"), log);
    t.vault.release(handle.0, handle.1).unwrap();
    assert_eq!(t.events_of_two().iter().filter(|event| **event == (a.0, log.0, true)).count(), 2);
    // No longer in use, and another header below: it can't be refused, and is told.
    assert_eq!(t.content("a").unwrap()[..3044], [2; 3044]);
    assert_eq!(t.events_of_two().last(), Some(&(a.0, log.0, false)));
    // Only what the kernel has forgotten isn't known.
    let before = t.events_of_two().len();
    t.reopen();
    t.content("a").unwrap();
    assert_eq!(t.events_of_two().len(), before);
}

#[test]
fn a_backup_put_back_below_is_let_in_and_told() {
    let mut t = TestVault::new();
    let a = t.filled("a", &[1; 5000]);
    t.reopen();
    t.content("a").unwrap();
    let (path, copy) = (t.lower(a), t.tree().join(".tmp.restored"));
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    let restored = path.metadata().unwrap().ino();
    assert_eq!(t.content("a").unwrap(), [1; 5000]);
    assert_eq!(t.events_of_two(), [(restored, a.0, false)]);
    // Removed in the mount, nothing is left of the one before.
    std::fs::copy(&path, &copy).unwrap();
    t.vault.unlink(Ino::ROOT, b"a").unwrap();
    std::fs::rename(&copy, &path).unwrap();
    assert_eq!(t.content("a").unwrap(), [1; 5000]);
    assert_eq!(t.events_of_two().len(), 1);
}

#[test]
fn a_header_that_was_exchanged_while_the_key_was_gone_is_noticed_when_it_is_back() {
    let t = TestVault::new();
    let (a, b) = (t.filled("a", &[1; 5000]), t.filled("b", &[2; 5000]));
    let handles = [t.open("a").unwrap(), t.open("b").unwrap()];
    let key = t.keys().current(&AliasName::default_alias()).unwrap().key.to_string();
    t.keys().call(&Call::DisableKey { key_id: key.clone() }).unwrap();
    assert!(matches!(t.content("a"), Err(Error::KeyNotUsable(_))));
    let all = std::fs::read(t.lower(b)).unwrap();
    t.lower_file(a).write_all_at(&all, 0).unwrap();
    t.keys().call(&Call::EnableKey { key_id: key }).unwrap();
    assert_eq!(t.content("b").unwrap(), [2; 5000]);
    let mut out = [0; 10];
    is_of_two(t.vault.read(a, PlainOffset(0), &mut out), b);
    for (ino, handle) in handles {
        t.vault.release(ino, handle).unwrap();
    }
}

#[test]
fn an_id_that_was_cut_away_is_free() {
    let mut t = TestVault::new();
    let (a, log) = (t.filled("a", &[1; 5000]), t.filled("log", b"x"));
    t.reopen();
    t.copy_header(a, log);
    t.content("log").unwrap();
    is_of_two(t.content("a"), log);
    let new_size = SetAttr { size: Some(0), ..SetAttr::default() };
    t.vault.setattr(log, &new_size, &me()).unwrap();
    assert_eq!(t.content("a").unwrap(), [1; 5000]);
}

fn inode(ino: u64) -> Arc<Inode> {
    Arc::new(Inode::new(Ino(ino), FileKind::Regular, NodeGeneration::default(), Capability::Possible))
}

#[test]
fn the_table_is_bounded_and_forgets_with_the_kernel() {
    let table = FileIds::default();
    let known: Vec<Arc<Inode>> = (10..30_010).map(inode).collect();
    for round in 0..20 {
        for inode in &known {
            assert!(table.claim(FileId::random(), inode).is_none());
        }
        assert!(table.len() <= SHARDS * 2 * MANY, "round {round}: {}", table.len());
    }
    let (one, id) = (inode(1), FileId::random());
    assert!(table.claim(id, &one).is_none() && table.claim(id, &one).is_none());
    assert_eq!(table.claim(id, &inode(2)).unwrap().ino, Ino(1));
    table.give_up(id, Ino(2));
    assert!(table.claim(id, &inode(2)).is_some());
    drop((known, one));
    assert!(table.claim(id, &inode(2)).is_none());
    table.shrink();
    assert_eq!(table.len(), 0);
}

/// Someone who wants an id forgotten chooses when other files are opened.
#[test]
fn a_closed_file_is_known_until_some_fifty_thousand_others_were_opened_whenever_that_begins() {
    let others: Vec<Arc<Inode>> = (1000..2000).map(inode).collect();
    for begun in (0..130_000).step_by(40_000) {
        let table = FileIds::default();
        let open = |files: u64| {
            (0..files)
                .for_each(|n| assert!(table.claim(FileId::random(), &others[n as usize % 1000]).is_none()));
        };
        open(begun);
        let (a, id) = (inode(1), FileId::random());
        assert!(table.claim(id, &a).is_none());
        open(48_000);
        assert_eq!(table.claim(id, &inode(2)).expect("it is known").ino, Ino(1), "after {begun}");
        // Opened again it is as good as new.
        assert!(table.claim(id, &a).is_none());
        open(48_000);
        assert!(table.claim(id, &inode(2)).is_some(), "after {begun}");
        open(130_000);
        assert!(table.claim(id, &inode(2)).is_none(), "it was forgotten at last");
        assert!(table.len() <= SHARDS * 2 * MANY, "{}", table.len());
    }
}

#[test]
fn an_open_file_is_known_however_many_others_are_opened() {
    let t = TestVault::new();
    let (a, log) = (t.filled("a", &[1; 5000]), t.filled("log", b"x"));
    let handle = t.open("a").unwrap();
    let others: Vec<Arc<Inode>> = (1000..2000).map(inode).collect();
    for n in 0..130_000 {
        t.vault.file_ids.claim(FileId::random(), &others[n % 1000]);
    }
    assert!(t.vault.file_ids.len() <= SHARDS * 2 * MANY + 1);
    t.copy_header(a, log);
    is_of_two(t.append("log", 1, b"of the user"), a);
    t.vault.release(handle.0, handle.1).unwrap();
}
