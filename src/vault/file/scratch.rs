//! Per-thread buffers, so that the data path allocates nothing for a page.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use crate::content::layout::{PAGE, PAYLOAD};
use crate::crypto::page::Nonce;

/// Pages read or written in one lower call: enough for a read of 128 KiB, the kernel's read-ahead, wherever it begins in
/// its first block; small enough for the L2 cache.
pub(super) const CHUNK_PAGES: u64 = 34;

/// Pages written in one call where each may be a round trip: enough for the kernel's largest write, 1 MiB, wherever it begins in its first
/// block. There the L2 cache is no matter, and FUSE asks for security.capability before each call.
pub(super) const REMOTE_CHUNK_PAGES: u64 = 259;

pub(super) struct Buffers {
    /// Lower bytes of a chunk, with room for both header slots, and for the bytes behind the last page that say the size.
    pub(super) lower: Vec<u8>,
    /// One block's payload.
    pub(super) payload: Vec<u8>,
    /// Lower bytes of the first and the last block of a write.
    pub(super) ends: Vec<u8>,
    /// The nonces of a request.
    pub(super) nonces: Vec<Nonce>,
}

thread_local! {
    static BUFFERS: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

/// This thread's buffers; a nested borrower gets buffers of its own.
pub(super) struct Scratch(Option<Box<Buffers>>);

impl Scratch {
    pub(super) fn take() -> Self {
        let buffers = BUFFERS.take().unwrap_or_else(|| {
            Box::new(Buffers {
                lower: vec![0; ((CHUNK_PAGES + 2) * PAGE) as usize],
                payload: vec![0; PAYLOAD as usize],
                ends: vec![0; 2 * PAGE as usize],
                nonces: Vec::new(),
            })
        });
        Self(Some(buffers))
    }
}

impl Buffers {
    /// Makes room for a chunk of so many pages, with what goes before it and behind it, wherever its pages begin.
    pub(super) fn make_room(&mut self, pages: u64) {
        let len = ((pages + 2) * PAGE) as usize;
        if self.lower.len() < len {
            self.lower.resize(len, 0);
        }
    }
}

impl Deref for Scratch {
    type Target = Buffers;
    fn deref(&self) -> &Buffers {
        match &self.0 {
            Some(buffers) => buffers,
            None => unreachable!("taken only in drop"),
        }
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Buffers {
        match &mut self.0 {
            Some(buffers) => buffers,
            None => unreachable!("taken only in drop"),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        BUFFERS.set(self.0.take());
    }
}
