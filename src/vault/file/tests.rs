//! Content against a model: what was written is what is read, whatever the boundaries, across reopening,
//! rotation and re-wrap; and at every point where the lower filesystem stops or fails.

mod both_slots;
mod current;
mod damaged_files;
mod evict;
mod fallocate;
mod faults;
mod floor;
mod handed_over;
mod kept;
mod memory;
mod overlap;
mod stage;
mod times;
mod withhold;

use proptest::prelude::*;

use crate::content::layout::{self, BLOCK0_PAYLOAD, PAYLOAD, SEGMENT_PAGES};
use crate::crypto::suite::Suite;
use crate::ids::{AliasName, Handle, Ino, PageIndex, PlainOffset};
use crate::keyring::KeyRef;
use crate::storage::fault::{After, Faults, Op as FaultOp, Plan};
use crate::sys::testing::cases;
use crate::vault::testing::{TestVault, me};
use crate::vault::{Destination, Error, FallocMode, OpenFlags, Privileges, SetAttr, SyncScope};

/// Sizes and offsets worth trying.
fn edges() -> Vec<u64> {
    let mut edges = vec![0, 1, 17, 4095, 4096, 4097];
    for k in 0..4 {
        for d in [-1i64, 0, 1] {
            edges.push((BLOCK0_PAYLOAD + k * PAYLOAD).wrapping_add_signed(d));
        }
    }
    edges
}

fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| seed.wrapping_mul(31).wrapping_add((i % 251) as u8) | 1).collect()
}

#[derive(Clone, Debug)]
enum Op {
    Write {
        at: u64,
        len: usize,
        seed: u8,
    },
    /// Where the last write ended.
    WriteOn {
        len: usize,
        seed: u8,
    },
    Truncate {
        size: u64,
    },
    Punch {
        at: u64,
        len: u64,
    },
    Zero {
        at: u64,
        len: u64,
        keep_size: bool,
    },
    Allocate {
        at: u64,
        len: u64,
        keep_size: bool,
    },
    Sync,
    SyncAll,
    Reopen,
    Rotate,
    Rewrap,
    /// To the default alias's key, as a command asks for it.
    RewrapTo,
    /// A write that clears suid and the like.
    WriteKillingPriv {
        at: u64,
        len: usize,
        seed: u8,
    },
    /// Opened with O_TRUNC, and closed.
    OpenTruncating,
    /// The only handle is closed, and the file opened again.
    Close,
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![prop::sample::select(edges()), 0u64..40_000]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (offset(), 1usize..9000, any::<u8>()).prop_map(|(at, len, seed)| Op::Write { at, len, seed }),
        3 => (1usize..9000, any::<u8>()).prop_map(|(len, seed)| Op::WriteOn { len, seed }),
        3 => offset().prop_map(|size| Op::Truncate { size }),
        2 => (offset(), 1u64..12_000).prop_map(|(at, len)| Op::Punch { at, len }),
        1 => (offset(), 1u64..12_000, any::<bool>())
            .prop_map(|(at, len, keep_size)| Op::Zero { at, len, keep_size }),
        1 => (offset(), 1u64..12_000, any::<bool>())
            .prop_map(|(at, len, keep_size)| Op::Allocate { at, len, keep_size }),
        2 => Just(Op::Sync),
        1 => Just(Op::Close),
        2 => Just(Op::Reopen),
        1 => Just(Op::Rotate),
        1 => Just(Op::Rewrap),
        1 => Just(Op::RewrapTo),
        1 => Just(Op::OpenTruncating),
        1 => (offset(), 1usize..9000, any::<u8>())
            .prop_map(|(at, len, seed)| Op::WriteKillingPriv { at, len, seed }),
    ]
}

struct Run {
    test: TestVault,
    name: String,
    ino: Ino,
    handle: Handle,
    model: Vec<u8>,
    /// Where the last write ended.
    ended: u64,
}

impl Run {
    fn new(suite: Suite) -> Self {
        Self::of(TestVault::with_suite(suite))
    }

    fn of(test: TestVault) -> Self {
        test.vault.set_kernel_keeps_times(true);
        test.make("f");
        let (ino, handle) = test.open("f").unwrap();
        Self { test, name: "f".to_owned(), ino, handle, model: Vec::new(), ended: 0 }
    }

    /// Continues with another, new file.
    fn start_over(&mut self, name: String) {
        self.test.vault.release(self.ino, self.handle).unwrap();
        self.test.make(&name);
        (self.ino, self.handle) = self.test.open(&name).unwrap();
        (self.name, self.model, self.ended) = (name, Vec::new(), 0);
    }

    fn apply(&mut self, op: &Op) -> crate::vault::Result<()> {
        let vault = self.test.vault.clone();
        match *op {
            Op::Write { at, len, seed } => {
                vault.write(self.ino, PlainOffset(at), &bytes(seed, len), Privileges::Keep).map(|_| ())
            }
            Op::WriteOn { len, seed } => self.apply(&Op::Write { at: self.ended, len, seed }),
            Op::Truncate { size } => {
                let set = SetAttr { size: Some(size), ..SetAttr::default() };
                vault.setattr(self.ino, &set, &me()).map(|_| ())
            }
            Op::Punch { at, len } => {
                let mode = FallocMode { keep_size: true, punch_hole: true, ..FallocMode::default() };
                vault.fallocate(self.ino, PlainOffset(at), len, mode, Privileges::Keep)
            }
            Op::Zero { at, len, keep_size } => {
                let mode = FallocMode { keep_size, zero_range: true, ..FallocMode::default() };
                vault.fallocate(self.ino, PlainOffset(at), len, mode, Privileges::Keep)
            }
            Op::Allocate { at, len, keep_size } => {
                let mode = FallocMode { keep_size, ..FallocMode::default() };
                vault.fallocate(self.ino, PlainOffset(at), len, mode, Privileges::Keep)
            }
            Op::Sync => vault.fsync(self.ino, SyncScope::Data),
            Op::SyncAll => vault.fsync(self.ino, SyncScope::All),
            Op::RewrapTo => {
                let key = self.test.keys().current(&AliasName::default_alias()).unwrap().key;
                // There is nothing to re-wrap in an empty file.
                if self.model.is_empty() { Ok(()) } else { vault.rewrap_to(self.ino, &Destination::Key(key)) }
            }
            Op::WriteKillingPriv { at, len, seed } => {
                let set = SetAttr { mode: Some(0o4755), ..SetAttr::default() };
                vault.setattr(self.ino, &set, &me())?;
                vault.write(self.ino, PlainOffset(at), &bytes(seed, len), Privileges::Clear)?;
                assert_eq!(vault.getattr(self.ino)?.perm, 0o755);
                Ok(())
            }
            Op::OpenTruncating => {
                let flags = OpenFlags { read: false, write: true, truncate: true };
                let handle = vault.open(self.ino, flags, &me())?;
                vault.release(self.ino, handle)
            }
            Op::Close => {
                vault.release(self.ino, self.handle)?;
                self.handle = self.test.open(&self.name)?.1;
                Ok(())
            }
            Op::Reopen => {
                vault.release(self.ino, self.handle)?;
                self.reopen();
                Ok(())
            }
            Op::Rotate => {
                let target = KeyRef::Alias(AliasName::default_alias());
                self.test.keys().rotate(&target).unwrap();
                Ok(())
            }
            Op::Rewrap => {
                assert_eq!(vault.rewrap_batch(&[self.ino]).failed, []);
                Ok(())
            }
        }
    }

    /// What the operation makes of the content.
    fn expect(&mut self, op: &Op) {
        let grow = |model: &mut Vec<u8>, end: u64| {
            let end = end as usize;
            if model.len() < end {
                model.resize(end, 0);
            }
        };
        match *op {
            Op::Write { at, len, seed } | Op::WriteKillingPriv { at, len, seed } => {
                grow(&mut self.model, at + len as u64);
                self.model[at as usize..at as usize + len].copy_from_slice(&bytes(seed, len));
                self.ended = at + len as u64;
            }
            Op::WriteOn { len, seed } => self.expect(&Op::Write { at: self.ended, len, seed }),
            Op::Truncate { size } => self.model.resize(size as usize, 0),
            Op::OpenTruncating => self.model.clear(),
            Op::Punch { at, len } | Op::Zero { at, len, .. } => {
                if let Op::Zero { keep_size: false, .. } = op {
                    grow(&mut self.model, at + len);
                }
                let end = ((at + len) as usize).min(self.model.len());
                if (at as usize) < end {
                    self.model[at as usize..end].fill(0);
                }
            }
            Op::Allocate { at, len, keep_size: false } => grow(&mut self.model, at + len),
            Op::Allocate { .. } | Op::Sync | Op::SyncAll | Op::Reopen => {}
            Op::Rotate | Op::Rewrap | Op::RewrapTo | Op::Close => {}
        }
    }

    fn reopen(&mut self) {
        self.test.reopen();
        self.test.vault.set_kernel_keeps_times(true);
        (self.ino, self.handle) = self.test.open(&self.name).unwrap();
    }

    fn content(&self) -> crate::vault::Result<Vec<u8>> {
        let size = self.test.vault.getattr(self.ino)?.size as usize;
        let mut out = vec![0xAA; size + 10];
        let n = self.test.vault.read(self.ino, PlainOffset(0), &mut out)?;
        assert_eq!(n, size);
        out.truncate(n);
        Ok(out)
    }

    fn check(&self) {
        assert_same(&self.content().unwrap(), &self.model);
    }
}

fn assert_same(got: &[u8], want: &[u8]) {
    assert_eq!(got.len(), want.len(), "size");
    if let Some(at) = got.iter().zip(want).position(|(a, b)| a != b) {
        panic!("byte {at} of {} is {} and should be {}", got.len(), got[at], want[at]);
    }
}

fn run(test: TestVault, ops: &[Op]) {
    let mut run = Run::of(test);
    for op in ops {
        run.apply(op).unwrap();
        run.expect(op);
        run.check();
        run.check_floor();
    }
    run.reopen();
    run.check();
}

proptest! {
    #![proptest_config(cases(60))]
    #[test]
    fn content_follows_the_model(ops in prop::collection::vec(op(), 1..25), gcm in any::<bool>(), remote in any::<bool>()) {
        let suite = if gcm { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 };
        run(if remote { TestVault::remote(suite) } else { TestVault::with_suite(suite) }, &ops);
    }
}

#[test]
fn every_pair_of_edges_written_cut_and_grown() {
    let mut run = Run::new(Suite::Aes256Gcm);
    for at in edges() {
        for len in edges().into_iter().filter(|len| *len > 0) {
            for op in [
                Op::Truncate { size: 0 },
                Op::Write { at, len: len as usize, seed: 3 },
                Op::Truncate { size: len },
                Op::Truncate { size: len + at },
            ] {
                run.apply(&op).unwrap();
                run.expect(&op);
                run.check();
            }
        }
    }
}

#[test]
fn writes_of_many_pages_keep_what_is_around_them() {
    let pages = |n: u64| BLOCK0_PAYLOAD + n * PAYLOAD;
    let len = |n: u64| (n * PAYLOAD) as usize;
    let writes = [
        Op::Write { at: 0, len: len(120), seed: 1 },
        Op::Write { at: 100, len: len(40), seed: 2 },
        Op::Write { at: pages(5) - 1, len: len(33) + 2, seed: 3 },
        Op::Write { at: pages(7) + 9, len: len(69), seed: 4 },
        Op::Write { at: pages(90), len: len(40) + 5, seed: 5 },
        Op::Write { at: pages(200) - 7, len: len(70), seed: 6 },
    ];
    for test in [TestVault::new(), TestVault::remote(Suite::Aes256Gcm)] {
        let mut run = Run::of(test);
        for op in writes.iter().flat_map(|write| [write, &Op::Reopen]) {
            run.apply(op).unwrap();
            run.expect(op);
            run.check();
        }
    }
}

#[test]
fn the_kernels_largest_write_is_one_call_where_each_is_a_round_trip() {
    let mut run = Run::of(TestVault::remote(Suite::Aes256Gcm));
    for at in [0, BLOCK0_PAYLOAD - 1, BLOCK0_PAYLOAD + PAYLOAD - 1, 3 << 20] {
        let (write, faults) = (Op::Write { at, len: 1 << 20, seed: 1 }, Faults::record());
        {
            let _scope = faults.on_this_thread();
            run.apply(&write).unwrap();
        }
        assert_eq!(faults.log().iter().filter(|call| **call == FaultOp::Pwrite).count(), 1, "at {at}");
        run.expect(&write);
        run.check();
    }
}

#[test]
fn a_request_that_spans_segments_uses_the_key_of_each_blocks_own() {
    let t = TestVault::new();
    t.make("f");
    let (ino, _handle) = t.open("f").unwrap();
    let read = |at: u64, len: usize| {
        let mut out = vec![0; len];
        assert_eq!(t.vault.read(ino, PlainOffset(at), &mut out).unwrap(), len);
        out
    };
    for segment in [1, 2] {
        let boundary = layout::block_start(PageIndex(segment * SEGMENT_PAGES)).0;
        let (start, mut data) = (boundary - 3 * PAYLOAD, bytes(segment as u8, 6 * PAYLOAD as usize));
        t.vault.write(ino, PlainOffset(start), &data, Privileges::Keep).unwrap();
        t.vault.write(ino, PlainOffset(boundary - 10), &[7; 20], Privileges::Keep).unwrap();
        data[3 * PAYLOAD as usize - 10..][..20].fill(7);
        assert_same(&read(start, data.len()), &data);
        // A request for one block knows no other segment's key.
        for (n, block) in data.chunks(PAYLOAD as usize).enumerate() {
            assert_same(&read(start + n as u64 * PAYLOAD, block.len()), block);
        }
    }
}

/// The descriptor reports a failed write-out once, and a sync of the vault's own can be the one to hear it.
#[test]
fn a_write_out_that_failed_in_a_sync_of_ours_is_reported_by_the_next_fsync() {
    let mut run = Run::new(Suite::Aes256Gcm);
    for op in [Op::Write { at: 0, len: 12_000, seed: 1 }, Op::Truncate { size: 10_000 }] {
        run.apply(&op).unwrap();
        run.expect(&op);
    }
    let errno = rustix::io::Errno::IO;
    let faults = Faults::new(Plan { skip: 0, only: Some(FaultOp::Fdatasync), errno, after: After::Recover });
    let grow = Op::Truncate { size: 20_000 };
    {
        let _scope = faults.on_this_thread();
        // Growing after a truncate makes the truncate durable first.
        assert!(matches!(run.apply(&grow), Err(Error::Lower(e)) if e == errno));
    }
    assert!(matches!(run.apply(&Op::Sync), Err(Error::Lower(e)) if e == errno));
    run.apply(&Op::Sync).unwrap();
    run.apply(&grow).unwrap();
    run.expect(&grow);
    run.check();
}

#[test]
fn a_closed_file_leaves_no_memory_of_its_own_behind() {
    let t = TestVault::new();
    let ino = t.make("f");
    let (same, handle) = t.open("f").unwrap();
    assert_eq!(same, ino);
    let inode = t.vault.inode(ino).unwrap();
    assert_eq!(inode.file.lock().strong_count(), 1);
    t.vault.release(ino, handle).unwrap();
    // A reference to what is gone would keep its memory.
    assert!(inode.file.lock().ptr_eq(&std::sync::Weak::new()));
}

/// `lock_order` sees to it that nothing of the namespace is locked under the inode lock.
#[test]
fn where_a_file_lies_is_asked_before_its_inode_lock_is_taken() {
    let mut stage = stage::Stage::new(TestVault::new());
    stage.begin(&[Op::Write { at: 0, len: 100, seed: 1 }]);
    // Of the alias's other key, so that the file's links are counted.
    stage.make_ready_for(&Op::Rewrap);
    assert_eq!(stage.run.test.vault.rewrap_batch(&[stage.run.ino]).rewrapped, 1);
}
