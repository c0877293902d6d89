//! Wiping what a computation with keys leaves on the stack: the crates of HMAC and HKDF wipe their states, but not the
//! blocks into which they copy keys.

use zeroize::Zeroize;

/// Words of 8 bytes that are wiped: the frames of HMAC-SHA256 and HKDF together take less.
const WORDS: usize = 512;

/// Runs `work` and wipes the stack that it used, as far down as the frames here go. What `work` returns isn't wiped.
#[inline(never)]
pub(super) fn wiped<T>(work: impl FnOnce() -> T) -> T {
    let out = in_own_frame(work);
    wipe();
    out
}

#[inline(never)]
fn in_own_frame<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn wipe() {
    let mut below = [0_u64; WORDS];
    below.zeroize();
    std::hint::black_box(&below);
}
