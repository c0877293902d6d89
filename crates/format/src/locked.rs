//! Memory for long-lived secrets: locked into RAM, left out of core dumps and of forked children, wiped when freed.
//! Pages are taken from the kernel 64 KiB at a time and handed out in 64-byte cells; where the lock limit
//! (RLIMIT_MEMLOCK) is reached, or the system locks no memory, cells come from unlocked pages and [`refusal`] says why.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use zeroize::Zeroize;

const CELL: usize = 64;
const CHUNK: usize = 64 * 1024;

struct Cells(Vec<NonNull<u8>>);
// SAFETY: the pointers are to memory that is never unmapped and that only the list's holder may touch.
unsafe impl Send for Cells {}

static FREE: Mutex<Cells> = Mutex::new(Cells(Vec::new()));
/// Why cells could not be locked, as an errno; 0: all are.
static REFUSED: AtomicI32 = AtomicI32::new(0);
static WANTED: AtomicUsize = AtomicUsize::new(0);

/// Why some cell lies in memory that can be swapped out; `None`: none does.
pub fn refusal() -> Option<io::Error> {
    Some(REFUSED.load(Ordering::Relaxed)).filter(|errno| *errno != 0).map(io::Error::from_raw_os_error)
}

/// Bytes of memory that were to be locked so far.
pub fn wanted() -> usize {
    WANTED.load(Ordering::Relaxed)
}

/// To be called in a new process after fork(2), before a secret is made there: the cells that were free before are its parent's
/// alone. No secret that was made before the fork may be used or dropped in it.
pub fn forget_after_fork() {
    FREE.lock().0.clear();
    WANTED.store(0, Ordering::Relaxed);
}

/// `N` secret bytes (at most 64) in a cell of their own.
pub struct Locked<const N: usize>(NonNull<u8>);

// SAFETY: the cell belongs to this value alone; shared access is read-only.
unsafe impl<const N: usize> Send for Locked<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Sync for Locked<N> {}

impl<const N: usize> Locked<N> {
    /// A cell that `fill` initialises in place, so that the secret is never copied through the stack.
    ///
    /// # Errors
    /// What `fill` returns; the cell is wiped then.
    pub fn try_init<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        const { assert!(N <= CELL) }
        let cell = Self(take());
        // SAFETY: the cell is 64 bytes (N <= 64), zeroed, aligned for u8 and owned by `cell` alone.
        fill(unsafe { cell.0.cast::<[u8; N]>().as_mut() })?;
        Ok(cell)
    }

    /// As [`Locked::try_init`], for a `fill` that can't fail.
    pub fn init(fill: impl FnOnce(&mut [u8; N])) -> Self {
        match Self::try_init(|b| -> Result<(), std::convert::Infallible> {
            fill(b);
            Ok(())
        }) {
            Ok(cell) => cell,
            Err(never) => match never {},
        }
    }

    /// The secret bytes.
    pub fn expose(&self) -> &[u8; N] {
        // SAFETY: initialised in try_init, valid as long as self; no mutable access exists beside &self.
        unsafe { self.0.cast::<[u8; N]>().as_ref() }
    }
}

impl<const N: usize> Drop for Locked<N> {
    fn drop(&mut self) {
        // SAFETY: owned, 64 bytes.
        unsafe { self.0.cast::<[u8; CELL]>().as_mut() }.zeroize();
        FREE.lock().0.push(self.0);
    }
}

fn take() -> NonNull<u8> {
    let mut free = FREE.lock();
    if free.0.is_empty() {
        let base = map_chunk();
        // SAFETY: the chunk is CHUNK bytes, so every multiple of CELL below it is inside.
        free.0.extend((0..CHUNK / CELL).map(|i| unsafe { base.add(i * CELL) }));
    }
    match free.0.pop() {
        Some(cell) => cell,
        None => std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; CELL]>()),
    }
}

fn map_chunk() -> NonNull<u8> {
    // SAFETY: a new anonymous mapping touches no memory of ours.
    let mapped = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            CHUNK,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    };
    let Some(base) = mapped.ok().and_then(NonNull::new) else {
        std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; CHUNK]>())
    };
    WANTED.fetch_add(CHUNK, Ordering::Relaxed);
    // SAFETY: the range was just mapped; advice and locking change no content.
    let locked = unsafe {
        rustix::mm::madvise(base.as_ptr(), CHUNK, Advice::LinuxDontDump)
            .and_then(|()| rustix::mm::madvise(base.as_ptr(), CHUNK, Advice::LinuxDontFork))
            .and_then(|()| rustix::mm::mlock(base.as_ptr(), CHUNK))
    };
    if let Err(errno) = locked {
        REFUSED.store(errno.raw_os_error(), Ordering::Relaxed);
    }
    base.cast()
}
