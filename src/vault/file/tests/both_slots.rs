//! A file has left a backing key once neither slot bears it, durably: until then it is stale for every caller.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::header::OtherSlot;
use crate::ids::KeyVersion;
use crate::monitor::Monitor;
use crate::storage::Errno;
use crate::vault::{HeaderInfo, Privileges};

const SLOT: usize = 512;

struct RotatedFile {
    test: TestVault,
    ino: Ino,
    lower: PathBuf,
}

impl RotatedFile {
    /// A closed file of version 1, with version 2 current.
    fn rotated() -> Self {
        let test = TestVault::new();
        let ino = test.make("f");
        let (_, handle) = test.open("f").unwrap();
        test.vault.write(ino, PlainOffset(0), b"content", Privileges::Keep).unwrap();
        test.vault.release(ino, handle).unwrap();
        test.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
        let lower = std::fs::read_dir(test.tree()).unwrap().next().unwrap().unwrap().path();
        Self { test, ino, lower }
    }

    /// The backing key versions that the slots on disk name.
    fn versions(&self) -> [u32; 2] {
        let bytes = std::fs::read(&self.lower).unwrap();
        [0, SLOT].map(|at| u32::from_le_bytes(bytes[at + 48..at + 52].try_into().unwrap()))
    }

    fn slots(&self) -> Vec<u8> {
        std::fs::read(&self.lower).unwrap()[..2 * SLOT].to_vec()
    }

    fn overwrite(&self, at: usize, bytes: &[u8]) {
        OpenOptions::new().write(true).open(&self.lower).unwrap().write_all_at(bytes, at as u64).unwrap();
    }

    fn rewrap(&self) -> crate::vault::BatchOutcome {
        self.test.vault.rewrap_batch(&[self.ino])
    }

    fn info(&self) -> HeaderInfo {
        self.test.vault.count_file(self.ino).unwrap().unwrap()
    }

    fn reopen(&mut self) {
        self.test.reopen();
        self.ino = self.test.vault.lookup(Ino::ROOT, b"f").unwrap().ino;
    }

    /// Re-wrapped, and then the second of its two writes lost, as in a power cut.
    fn interrupted() -> (Self, Vec<u8>) {
        let mut this = Self::rotated();
        let old = this.slots();
        assert_eq!(this.rewrap().rewrapped, 1);
        let new = this.slots();
        assert_eq!(new[..SLOT], new[SLOT..]);
        this.overwrite(0, &old[..SLOT]);
        this.reopen();
        assert_eq!(this.versions(), [1, 2]);
        (this, new)
    }
}

/// The second slot was written and never synced: a power cut right behind "re-wrapped" brought the old one back.
#[test]
fn a_re_wrap_ends_with_a_sync_behind_its_last_write() {
    let sets: [fn(&RotatedFile); 2] = [
        |this| assert_eq!(this.rewrap().rewrapped, 1),
        |this| this.test.vault.rewrap_to(this.ino, &Destination::Key(this.test.keys().keys()[0].id)).unwrap(),
    ];
    for rewrap in sets {
        let this = RotatedFile::rotated();
        let faults = Faults::record();
        {
            let _scope = faults.on_this_thread();
            rewrap(&this);
        }
        let log = faults.log();
        let last_write = log.iter().rposition(|op| *op == FaultOp::Pwrite).unwrap();
        assert!(
            log[last_write..].iter().any(|op| matches!(op, FaultOp::Fdatasync | FaultOp::Syncfs)),
            "{log:?}"
        );
        assert_eq!(this.versions(), [2, 2]);
    }
}

#[test]
fn what_is_left_of_an_interrupted_re_wrap_is_stale_and_only_the_old_slot_is_written() {
    let (this, new) = RotatedFile::interrupted();
    let info = this.info();
    assert!(info.stale);
    assert_eq!(info.backing.version, KeyVersion(2), "it opens by the new slot");
    assert!(matches!(info.other, OtherSlot::Names(other) if other.version == KeyVersion(1)));
    assert_eq!(this.test.vault.census_of_differing_slots(), [(info.backing, 1)]);
    // The lazy re-wrap looks for it too.
    let (ino, handle) = this.test.open("f").unwrap();
    assert_eq!(this.test.vault.stale_waiting(), 1);
    this.test.vault.release(ino, handle).unwrap();
    assert_eq!(this.rewrap().rewrapped, 1);
    assert_eq!(this.slots(), new, "the slot in force is as it was");
    assert!(!this.info().stale);
    assert_eq!(this.test.vault.census_of_differing_slots(), []);
    assert_eq!(this.rewrap().skipped, 1);
}

#[test]
fn a_slot_that_makes_no_sense_is_written_over() {
    type Spoil = fn(&RotatedFile);
    let spoils: [Spoil; 3] = [
        |this| this.overwrite(0, &[0xff; SLOT]),
        // Of a version that the keyring doesn't know.
        |this| this.overwrite(48, &77u32.to_le_bytes()),
        // Of a newer program.
        |this| this.overwrite(4, &[9, 9]),
    ];
    for spoil in spoils {
        let (mut this, new) = RotatedFile::interrupted();
        spoil(&this);
        this.reopen();
        assert!(this.info().stale);
        this.test.vault.rewrap_to(this.ino, &Destination::Followed).unwrap();
        assert_eq!(this.slots(), new);
        assert!(!this.info().stale);
    }
}

/// Slot B of a new file, which was never re-wrapped, is no other backing key.
#[test]
fn a_slot_of_zeros_is_fine() {
    let mut this = RotatedFile::rotated();
    let (ino, handle) = {
        this.test.make("new");
        this.test.open("new").unwrap()
    };
    this.test.vault.write(ino, PlainOffset(0), b"content", Privileges::Keep).unwrap();
    this.test.vault.release(ino, handle).unwrap();
    let before = this.test.vault.stale_waiting();
    this.test.reopen();
    let (ino, _handle) = this.test.open("new").unwrap();
    assert_eq!(this.test.vault.stale_waiting(), before);
    let info = this.test.vault.count_file(ino).unwrap().unwrap();
    assert_eq!((info.stale, info.other), (false, OtherSlot::Empty));
    this.ino = ino;
    assert_eq!(this.rewrap().skipped, 1);
}

/// Whichever sync fails, the file is stale until a later re-wrap has made its slots durable: also once it was
/// closed, when its lower file shows what isn't on disk.
#[test]
fn a_sync_that_fails_leaves_it_stale() {
    for skip in 0..3 {
        let this = RotatedFile::rotated();
        let only = Some(FaultOp::Fdatasync);
        let faults = Faults::new(Plan { skip, only, errno: Errno::IO, after: After::Recover });
        let outcome = {
            let _scope = faults.on_this_thread();
            this.rewrap()
        };
        assert!(faults.fired(), "a re-wrap has three syncs, not {skip}");
        assert_eq!((outcome.rewrapped, outcome.failed.len()), (0, 1), "sync {skip}");
        assert!(this.info().stale, "sync {skip}");
        assert!(
            !this
                .test
                .vault
                .count_key_references(&mut Monitor::unattended())
                .unwrap()
                .by
                .keys()
                .any(|by| { matches!(by[..], [only] if only.version == KeyVersion(2)) })
        );
        assert_eq!(this.rewrap().rewrapped, 1);
        assert!(!this.info().stale);
        assert_eq!(this.versions(), [2, 2]);
        let needed = this.test.vault.count_key_references(&mut Monitor::unattended()).unwrap();
        assert_eq!(needed.of(|backing| backing.version == KeyVersion(1)) + needed.unreadable, 0);
    }
}

/// A floor that is lowered goes into the other slot, which bears the same backing key then.
#[test]
fn lowering_the_floor_leaves_no_old_slot_behind() {
    let (this, _) = RotatedFile::interrupted();
    let (ino, _handle) = this.test.open("f").unwrap();
    // Re-wrapped files of one page have a floor of one.
    let mode = FallocMode { keep_size: true, punch_hole: true, ..FallocMode::default() };
    this.test.vault.fallocate(ino, PlainOffset(0), 7, mode, Privileges::Keep).unwrap();
    assert_eq!(this.versions(), [2, 2]);
    assert!(!this.info().stale);
}
