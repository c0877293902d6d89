//! One block: its payload sealed into the lower bytes and opened again. The AAD is the block's index, the key its
//! segment's; the payload is always full, with zeros past the end of the file.
//!
//! ```text
//! 0 nonce (12) | 12 tag (16) | 28 ciphertext (3044 in block 0, else 4068)
//! ```

use crate::crypto::AuthError;
use crate::crypto::page::{ContentKey, Nonce};
use crate::ids::PageIndex;

use super::layout::{BLOCK_OVERHEAD, block_range, payload};

const TAG: usize = size_of::<Nonce>();
const PAYLOAD: usize = BLOCK_OVERHEAD as usize;

/// What a block's lower bytes hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened {
    /// Data; the payload is in the output.
    Data,
    /// All zeros: a hole. The output is untouched.
    Hole,
}

/// The bytes of `lower`, a block's lower bytes, that hold the payload: fill them, then call [`seal`].
pub fn payload_of(lower: &mut [u8]) -> &mut [u8] {
    &mut lower[PAYLOAD..]
}

/// Seals the payload in `lower` (see [`payload_of`]) in place. `nonce` is from
/// [`fresh_nonces`](crate::crypto::page::fresh_nonces).
pub fn seal(key: &ContentKey, page: PageIndex, nonce: &Nonce, lower: &mut [u8]) {
    debug_assert_eq!(lower.len() as u64, block_range(page).end - block_range(page).start);
    let (head, payload) = lower.split_at_mut(PAYLOAD);
    let tag = key.seal(nonce, page.0, payload);
    head[..TAG].copy_from_slice(nonce);
    head[TAG..].copy_from_slice(&tag);
}

/// Opens a block's lower bytes into `out`, which has the length of its payload.
///
/// # Errors
/// [`AuthError`] if any byte isn't what was sealed for this page of this file.
pub fn open(key: &ContentKey, page: PageIndex, lower: &[u8], out: &mut [u8]) -> Result<Opened, AuthError> {
    debug_assert_eq!(out.len() as u64, payload(page));
    let (head, ciphertext) = lower.split_at_checked(PAYLOAD).ok_or(AuthError)?;
    if is_zero(head) && is_zero(ciphertext) {
        return Ok(Opened::Hole);
    }
    let (nonce, tag) = head.split_first_chunk().ok_or(AuthError)?;
    let tag = tag.first_chunk().ok_or(AuthError)?;
    key.open(nonce, page.0, ciphertext, tag, out).map(|()| Opened::Data)
}

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    //! Blocks round-trip, refuse every flipped byte, and another page's place.
    use super::*;
    use crate::crypto::keys::Dek;
    use crate::crypto::random;
    use crate::crypto::suite::Suite;
    use crate::ids::{FileId, SegmentIndex};

    #[test]
    fn every_flipped_byte_is_refused() {
        for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
            let key = Dek::generate().content_key(suite, FileId::random(), SegmentIndex(0));
            for page in [PageIndex(0), PageIndex(1)] {
                let range = block_range(page);
                let mut lower = vec![0; (range.end - range.start) as usize];
                random::fill(payload_of(&mut lower));
                let plain = payload_of(&mut lower).to_vec();
                seal(&key, page, &random::array(), &mut lower);
                let mut out = vec![0; plain.len()];
                assert_eq!(open(&key, page, &lower, &mut out), Ok(Opened::Data));
                assert_eq!(out, plain);
                for i in 0..lower.len() {
                    lower[i] ^= 0x10;
                    assert_eq!(open(&key, page, &lower, &mut out), Err(AuthError), "byte {i}");
                    lower[i] ^= 0x10;
                }
                let elsewhere = PageIndex(page.0 + 2);
                if page.0 == 1 {
                    assert_eq!(open(&key, elsewhere, &lower, &mut out), Err(AuthError));
                }
                lower.fill(0);
                assert_eq!(open(&key, page, &lower, &mut out), Ok(Opened::Hole));
            }
        }
    }
}
