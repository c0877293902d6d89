//! The one key-derivation function: HKDF-SHA256 (RFC 5869, crate `hkdf`) with an empty salt and
//! info = "rekeyfs1" ‖ u8 len(label) ‖ label ‖ context.

use hkdf::Hkdf;
use sha2::Sha256;

use super::labels::{Label, PREFIX};
use super::stack;

/// Fills `out` with the key that `label` and `context` (its parts are concatenated) name below `ikm`.
/// `out` is at most 64 bytes here, far below HKDF's limit of 8160.
///
/// # Panics
/// On more than five parts of context, which no label has: a part that is left out would let two keys be one.
pub fn derive<const N: usize>(ikm: &[u8], label: Label, context: &[&[u8]], out: &mut [u8; N]) {
    const { assert!(N <= 255 * 32) }
    let len = [label.0.len() as u8];
    let mut info: [&[u8]; 8] = [&[]; 8];
    assert!(context.len() <= 5, "labels.rs names no context of more than five parts");
    info[0] = PREFIX;
    info[1] = &len;
    info[2] = label.0;
    info[3..3 + context.len()].copy_from_slice(context);
    let expanded = stack::wiped(|| Hkdf::<Sha256>::new(None, ikm).expand_multi_info(&info, out));
    assert!(expanded.is_ok(), "N is checked above");
}
