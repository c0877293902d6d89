//! Wiping what a computation with keys left on the stack: the crates of HMAC and HKDF wipe their states, not the
//! blocks that they copied keys into on the way.

use zeroize::Zeroize;

/// Words of 8 bytes that are wiped: the frames of HMAC-SHA256 and HKDF together take less.
const WORDS: usize = 512;

/// Runs `work` and wipes the stack that it used, as far down as the frames here go. What `work` hands back is its own
/// matter.
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
