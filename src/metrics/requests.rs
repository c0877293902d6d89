//! Counts of the kernel's requests, their errors and how long they took.
//!
//! **Cost.** A request reads the clock twice and adds to two counters, without a lock or an allocation. Counters
//! are in shards, each in cache lines of its own. The first threads that count, the session threads among them, have a shard
//! each: what nobody else writes is loaded and stored, which takes a tenth of the time of an atomic addition. All
//! further threads, which wait for the disk, share the last one, and add atomically.
//!
//! A read of the counters adds the shards up: each counter is right, though two of them may be an instant apart.
//!
//! They are one static of the process, since a process serves one mount: a request that carried a shared pointer to them
//! would count that pointer's owners up and down in one cache line for all threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::catalogue as all;
use super::report::{MetricsReport, Value};

macro_rules! operations {
    ($($variant:ident = $name:literal,)*) => {
        /// What the kernel can ask for.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "FUSE's words")]
        pub enum Operation {
            $($variant,)*
        }

        impl Operation {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// FUSE's word for it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

operations! {
    Lookup = "lookup",
    Forget = "forget",
    GetAttr = "getattr",
    SetAttr = "setattr",
    ReadLink = "readlink",
    Mknod = "mknod",
    Mkdir = "mkdir",
    Unlink = "unlink",
    Rmdir = "rmdir",
    Symlink = "symlink",
    Rename = "rename",
    Link = "link",
    Open = "open",
    Create = "create",
    Read = "read",
    Write = "write",
    Flush = "flush",
    Release = "release",
    Fsync = "fsync",
    OpenDir = "opendir",
    ReadDir = "readdir",
    ReadDirPlus = "readdirplus",
    ReleaseDir = "releasedir",
    FsyncDir = "fsyncdir",
    StatFs = "statfs",
    SetXattr = "setxattr",
    GetXattr = "getxattr",
    ListXattr = "listxattr",
    RemoveXattr = "removexattr",
    Access = "access",
    Fallocate = "fallocate",
    Lseek = "lseek",
}

macro_rules! errnos {
    ($($name:ident)*) => {
        /// The errnos that are counted by name, the most common first; all others are counted together.
        const ERRNOS: &[(i32, &str)] = &[$((libc::$name, stringify!($name))),*];
    };
}

errnos! {
    EPERM ENOENT EINTR EIO ENXIO E2BIG EBADF EAGAIN ENOMEM EACCES EBUSY EEXIST EXDEV ENODEV ENOTDIR
    EISDIR EINVAL ENFILE EMFILE ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK ERANGE ENAMETOOLONG ENOLCK
    ENOSYS ENOTEMPTY ELOOP ENODATA EOVERFLOW EOPNOTSUPP ETIMEDOUT ESTALE EUCLEAN EDQUOT ENOKEY
    EKEYREVOKED
}

/// The label of errnos without a name here.
const OTHER_ERRNO: &str = "other";

/// Upper bounds of a histogram's buckets, in microseconds: powers of two, close where most requests lie, so that the
/// bucket of a duration is found by its number of bits.
pub const BOUNDS_US: [u64; 11] = [4, 8, 16, 32, 64, 256, 1024, 4096, 1 << 14, 1 << 17, 1 << 20];
/// Buckets of a histogram: one for each bound, and one for what is above all.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// The bucket of a duration of so many bits, in microseconds rounded down: it is at most two to the power of that many.
const BUCKET_OF_BITS: [u8; 65] = {
    let mut table = [0; 65];
    let mut bits = 0;
    while bits < table.len() {
        let mut bucket = 0;
        while bucket < BOUNDS_US.len() && (BOUNDS_US[bucket].trailing_zeros() as usize) < bits {
            bucket += 1;
        }
        table[bits] = bucket as u8;
        bits += 1;
    }
    table
};

/// More than there are session threads, and the one that further threads share.
const SHARDS: usize = 16;
const SHARED: usize = SHARDS - 1;

static REQUESTS: Requests = Requests::new();
/// The number of the next thread that counts. None is given twice: a shard never changes its thread.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// This thread's number; none until it counts.
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The counters of a mount's requests.
pub struct Requests([Shard; SHARDS]);

#[repr(align(128))]
struct Shard {
    operations: [OperationCounters; Operation::ALL.len()],
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

struct OperationCounters {
    durations: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
    /// By place in [`ERRNOS`]; the last, of all others.
    errors: [AtomicU64; ERRNOS.len() + 1],
}

/// A shard as the thread that counts in it has it.
#[derive(Clone, Copy)]
struct Own<'a> {
    shard: &'a Shard,
    /// Others write to it too.
    shared: bool,
}

impl Own<'_> {
    fn add(self, counter: &AtomicU64, number: u64) {
        if self.shared {
            counter.fetch_add(number, Ordering::Relaxed);
        } else {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
        }
    }
}

fn thread_number() -> usize {
    match NUMBER.get() {
        usize::MAX => new_thread_number(),
        number => number,
    }
}

#[cold]
fn new_thread_number() -> usize {
    let number = THREADS.fetch_add(1, Ordering::Relaxed);
    NUMBER.set(number);
    number
}

impl Requests {
    /// None yet.
    #[expect(clippy::new_without_default, reason = "it is large: for a static")]
    pub const fn new() -> Self {
        Self([const { Shard::new() }; SHARDS])
    }

    /// Those of the mount that this process serves.
    pub fn of_this_process() -> &'static Self {
        &REQUESTS
    }

    /// Counts a request that took so long; `errno` is 0 if it was done.
    pub fn answered(&self, operation: Operation, took: Duration, errno: i32) {
        let own = self.own(thread_number());
        let counters = &own.shard.operations[operation as usize];
        // 585 years of nanoseconds.
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let us = ns.saturating_sub(1) / 1000;
        let bits = (u64::BITS - us.leading_zeros()) as usize;
        own.add(&counters.durations[usize::from(BUCKET_OF_BITS[bits])], 1);
        own.add(&counters.sum_ns, ns);
        if errno != 0 {
            let known = ERRNOS.iter().position(|(number, _)| *number == errno);
            own.add(&counters.errors[known.unwrap_or(ERRNOS.len())], 1);
        }
    }

    /// Counts bytes that were read from a file.
    pub fn read(&self, bytes: usize) {
        let own = self.own(thread_number());
        own.add(&own.shard.read_bytes, bytes as u64);
    }

    /// Counts bytes that were written to a file.
    pub fn written(&self, bytes: usize) {
        let own = self.own(thread_number());
        own.add(&own.shard.written_bytes, bytes as u64);
    }

    /// The shard of the thread with this number.
    fn own(&self, number: usize) -> Own<'_> {
        let at = number.min(SHARED);
        Own { shard: &self.0[at], shared: at == SHARED }
    }

    /// Adds them to a report: operations that were never asked for, and errnos that never were an answer, are left out.
    pub fn report(&self, report: &mut MetricsReport) {
        let sum = |counter: &dyn Fn(&Shard) -> &AtomicU64| {
            self.0.iter().map(|shard| counter(shard).load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
        };
        for &operation in Operation::ALL {
            let at = operation as usize;
            let counts: Vec<u64> =
                (0..BUCKETS).map(|bucket| sum(&|shard| &shard.operations[at].durations[bucket])).collect();
            if counts.iter().all(|&count| count == 0) {
                continue;
            }
            let sum_ns = sum(&|shard| &shard.operations[at].sum_ns);
            let labels = [operation.name()];
            report.add_value(&all::REQUEST_DURATION, &labels, Value::Durations { counts, sum_ns });
            let names = ERRNOS.iter().map(|(_, name)| *name).chain([OTHER_ERRNO]);
            for (place, errno) in names.enumerate() {
                let count = sum(&|shard| &shard.operations[at].errors[place]);
                if count > 0 {
                    report.add(&all::REQUEST_ERRORS, &[operation.name(), errno], count);
                }
            }
        }
        report.add(&all::READ_BYTES, &[], sum(&|shard| &shard.read_bytes));
        report.add(&all::WRITTEN_BYTES, &[], sum(&|shard| &shard.written_bytes));
    }
}

impl Shard {
    const fn new() -> Self {
        Self {
            operations: [const { OperationCounters::new() }; Operation::ALL.len()],
            read_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
        }
    }
}

impl OperationCounters {
    const fn new() -> Self {
        Self {
            durations: [const { AtomicU64::new(0) }; BUCKETS],
            sum_ns: AtomicU64::new(0),
            errors: [const { AtomicU64::new(0) }; ERRNOS.len() + 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Sample;

    static COUNTED: Requests = Requests::new();

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let bucket = |ns: u64| {
            let us = ns.saturating_sub(1) / 1000;
            usize::from(BUCKET_OF_BITS[(u64::BITS - us.leading_zeros()) as usize])
        };
        for (at, bound) in BOUNDS_US.iter().enumerate() {
            assert_eq!(bucket(bound * 1000), at, "{bound} us");
            assert_eq!(bucket(bound * 1000 + 1), at + 1, "1 ns over {bound} us");
        }
        for ns in [0, 1, 999, 3999] {
            assert_eq!(bucket(ns), 0);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_many_threads_count_adds_up() {
        std::thread::scope(|threads| {
            for number in 0..2 * SHARDS {
                threads.spawn(move || {
                    // As if they were the first threads of the process.
                    NUMBER.set(number);
                    for _ in 0..1000 {
                        COUNTED.answered(Operation::Read, Duration::from_micros(6), 0);
                        COUNTED.answered(Operation::Read, Duration::from_millis(6), libc::ENOKEY);
                        COUNTED.answered(Operation::Unlink, Duration::ZERO, 12_345);
                        COUNTED.read(3);
                        COUNTED.written(5);
                    }
                });
            }
        });
        let all = 2 * SHARDS as u64 * 1000;
        let mut report = MetricsReport::default();
        COUNTED.report(&mut report);
        let samples = |metric| report.samples(metric).cloned().collect::<Vec<Sample>>();
        let durations = samples(&all::REQUEST_DURATION);
        let Sample(labels, Value::Durations { counts, sum_ns }) = &durations[1] else {
            panic!("{durations:?}")
        };
        assert_eq!((labels.as_slice(), *sum_ns), (["read".to_owned()].as_slice(), all * 6_006_000));
        assert_eq!((counts[1], counts[8], counts.iter().sum::<u64>()), (all, all, 2 * all));
        assert_eq!(durations.len(), 2, "operations never used are left out");
        let errors = samples(&all::REQUEST_ERRORS);
        let sample = |operation: &str, errno: &str| {
            Sample(vec![operation.to_owned(), errno.to_owned()], Value::Number(all))
        };
        assert_eq!(errors, [sample("unlink", "other"), sample("read", "ENOKEY")]);
        assert_eq!(samples(&all::READ_BYTES), [Sample(vec![], Value::Number(3 * all))]);
        assert_eq!(samples(&all::WRITTEN_BYTES), [Sample(vec![], Value::Number(5 * all))]);
    }

    #[test]
    fn shards_share_no_cache_line() {
        assert_eq!(size_of::<Shard>() % 128, 0);
        assert_eq!(align_of::<Shard>(), 128);
    }
}
