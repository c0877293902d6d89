//! Vaults damaged in one way each, and what a check says of them.

mod content;
mod copy;
mod flips;
mod missing_keys;
mod names;
mod repair;

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::ids::{BackingKeyId, Handle, Ino, PlainOffset};
use crate::monitor::Cancellation;
use crate::names::{LowerName, NameCipher};
use crate::vault::testing::{TestVault, me};
use crate::vault::{OpenFlags, Privileges, XattrMode};

/// Keeps what is found.
#[derive(Default, Debug)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl CheckObserver for Findings {
    fn found(&mut self, finding: &Finding) {
        self.0.push(finding.clone());
    }

    fn progress(&mut self, _progress: CheckProgress) {}
}

pub(super) struct Fixture {
    pub(super) t: TestVault,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self { t: TestVault::in_memory() }
    }

    /// A file of the root with `len` bytes of content.
    pub(super) fn file(&self, name: &str, len: usize) -> Ino {
        let ino = self.t.make(name);
        let (_, handle) = self.t.open(name).unwrap();
        let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();
        for (at, part) in data.chunks(1 << 17).enumerate() {
            let n = self.t.vault.write(ino, PlainOffset((at as u64) << 17), part, Privileges::Keep).unwrap();
            assert_eq!(n, part.len());
        }
        self.close(ino, handle);
        ino
    }

    /// Without an fsync, after which a close raises the floor: the header stays the one of the first write, with one slot.
    pub(super) fn close(&self, ino: Ino, handle: Handle) {
        self.t.vault.release(ino, handle).unwrap();
    }

    /// How a name of the root stands in the lower tree.
    pub(super) fn lower_name(&self, name: &[u8]) -> LowerName {
        let key = self.t.keys().tree_key();
        NameCipher::new(&key).encrypt(key.root_dir_id(), name)
    }

    /// The lower file of a name of the root.
    pub(super) fn lower(&self, name: &str) -> PathBuf {
        let name = self.lower_name(name.as_bytes());
        self.t.tree().join(std::str::from_utf8(name.entry()).unwrap())
    }

    pub(super) fn vault_dir(&self) -> PathBuf {
        self.t.tree().parent().unwrap().to_owned()
    }

    pub(super) fn patch(&self, name: &str, at: u64, bytes: &[u8]) {
        let file = std::fs::File::options().write(true).open(self.lower(name)).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    /// One byte is another one, whatever it was: sealed bytes may be any.
    pub(super) fn damage(&self, name: &str, at: u64) {
        let file = std::fs::File::options().read(true).write(true).open(self.lower(name)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    }

    pub(super) fn resize(&self, name: &str, len: u64) {
        std::fs::File::options().write(true).open(self.lower(name)).unwrap().set_len(len).unwrap();
    }

    pub(super) fn check_at(&self, path: Option<&str>) -> (Vec<Finding>, Summary) {
        let mut seen = Findings::default();
        let path = path.map(|path| crate::ids::PathText(path.into()));
        let options = Options { path, ..Options::default() };
        let summary = check(self.t.keys(), None, &options, &Cancellation::default(), &mut seen).unwrap();
        (seen.0, summary)
    }

    pub(super) fn check(&self) -> (Vec<Finding>, Summary) {
        self.check_at(None)
    }

    /// The one thing that is wrong.
    pub(super) fn only(&self) -> Finding {
        let (mut found, _) = self.check();
        assert_eq!(found.len(), 1, "{found:#?}");
        // Beside a mount, and nothing moves: the same.
        let mut seen = Findings::default();
        check(self.t.keys(), Some(&self.t.vault), &Options::default(), &Cancellation::default(), &mut seen)
            .unwrap();
        assert_eq!(seen.0, found);
        found.remove(0)
    }

    pub(super) fn only_code(&self) -> Code {
        self.only().code
    }
}

#[test]
fn a_vault_of_everything_is_clean() {
    let f = Fixture::new();
    let v = &f.t.vault;
    f.file("empty", 0);
    f.file("small", 10);
    f.file("large", 3_000_000);
    f.file(&"long ".repeat(45), 5000);
    let dir = v.mkdir(Ino::ROOT, b"dir", 0o755, &me()).unwrap().ino;
    v.mkdir(dir, "d".repeat(200).as_bytes(), 0o755, &me()).unwrap();
    v.symlink(dir, b"link", b"somewhere", &me()).unwrap();
    v.mknod(dir, b"fifo", 0o010_644, 0, &me()).unwrap();
    v.setxattr(dir, b"user.x", b"value", XattrMode::Set).unwrap();
    let small = v.lookup(Ino::ROOT, b"small").unwrap().ino;
    v.setxattr(small, b"user.y", b"", XattrMode::Set).unwrap();
    v.link(small, dir, b"hard").unwrap();
    v.rename((Ino::ROOT, b"dir"), (Ino::ROOT, b"moved"), crate::storage::RenameFlags::empty()).unwrap();
    let sparse = f.t.make("sparse");
    let (_, handle) = f.t.open("sparse").unwrap();
    v.write(sparse, PlainOffset(1 << 30), b"end", Privileges::Keep).unwrap();
    f.close(sparse, handle);
    let (found, summary) = f.check();
    assert_eq!(found, []);
    assert_eq!((summary.files, summary.directories, summary.symlinks, summary.others), (5, 3, 1, 1));
    assert!(summary.complete && summary.status() == 0);
    assert!((3_000_000..5_000_000).contains(&summary.bytes), "holes aren't read: {}", summary.bytes);
    assert_eq!(summary.versions.iter().map(|v| v.files).sum::<u64>(), 4);
}

#[test]
fn a_path_limits_the_check() {
    let f = Fixture::new();
    f.file("good", 10);
    f.file("bad", 10);
    f.damage("bad", 600);
    assert_eq!(f.check_at(Some("/good")).0, []);
    assert_eq!(f.check_at(Some("bad")).0.len(), 1);
    assert_eq!(f.check_at(Some("/")).0.len(), 1);
    let gone = Options { path: Some(crate::ids::PathText("/none".into())), ..Options::default() };
    let refused =
        check(f.t.keys(), None, &gone, &Cancellation::default(), &mut Findings::default()).unwrap_err();
    assert!(matches!(refused, CheckError::Path(..)), "{refused}");
}

#[test]
fn a_check_stops_when_it_is_told_to() {
    struct Never(Cancellation);
    impl CheckObserver for Never {
        fn found(&mut self, _finding: &Finding) {}
        fn progress(&mut self, _progress: CheckProgress) {
            self.0.cancel();
        }
    }
    let f = Fixture::new();
    (0..10).for_each(|i| _ = f.file(&i.to_string(), 10));
    let cancellation = Cancellation::default();
    let summary =
        check(f.t.keys(), None, &Options::default(), &cancellation, &mut Never(cancellation.clone()))
            .unwrap();
    assert!(!summary.complete && summary.files < 10, "{summary:?}");
    assert_eq!(summary.status(), 32);
}

#[test]
fn every_code_is_listed_once_and_explained() {
    let names: std::collections::HashSet<String> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), Code::ALL.len());
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fsck.md")).unwrap();
    let rows: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows, Code::ALL.map(|code| code.name()));
}

/// Opens a file for reading and writing.
pub(super) const WRITE: OpenFlags = crate::vault::testing::READ_WRITE;
