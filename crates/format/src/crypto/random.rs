//! Random bytes from the kernel (getrandom(2), through `rand`'s system generator). A user-space generator
//! would repeat itself in a restored VM snapshot.

use rand::TryRng;
use rand::rngs::SysRng;

/// Fills `out` with random bytes, in one call.
///
/// # Panics
/// If the kernel has no random generator: nothing can be encrypted then.
pub fn fill(out: &mut [u8]) {
    if let Err(e) = SysRng.try_fill_bytes(out) {
        panic!("getrandom(2) failed ({e}); rekeyfs can't work on a kernel without it");
    }
}

/// `N` random bytes that aren't secret (nonces, ids).
pub fn array<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

macro_rules! random_id {
    ($($id:ident),*) => {
        $(impl crate::ids::$id {
            /// A new random (version 4) identifier.
            pub fn random() -> Self {
                Self::from_random(array())
            }
        })*
    };
}

random_id!(VaultId, FileId, KeyId, SlotId, TreeKeyId, MemberId);
