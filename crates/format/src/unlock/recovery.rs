//! Recovery keys: 32 random bytes and a 3-byte checksum, 56 base32 characters (RFC 4648) in 8 groups of 7.

use data_encoding::BASE32_NOPAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{random, sha256};

const CHECKSUM_LABEL: &[u8] = b"rekeyfs recovery key";
const CHARS: usize = 56;
const GROUP: usize = 7;

/// A recovery key. Wiped when dropped; no Debug.
pub struct RecoveryKey(Zeroizing<[u8; 32]>);

/// A text that is no recovery key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryKeyError {
    /// Not 56 characters, spaces and dashes aside.
    #[error("a recovery key has 56 letters and digits, this has {0}")]
    Length(usize),
    /// A character that base32 doesn't have.
    #[error("a recovery key is made of the letters A-Z and the digits 2-7")]
    Character,
    /// A character is another one than was printed.
    #[error("the recovery key has a typing error: its checksum doesn't fit")]
    Checksum,
}

fn checksum(key: &[u8; 32]) -> [u8; 3] {
    let mut input = Zeroizing::new([0; CHECKSUM_LABEL.len() + 32]);
    input[..CHECKSUM_LABEL.len()].copy_from_slice(CHECKSUM_LABEL);
    input[CHECKSUM_LABEL.len()..].copy_from_slice(key);
    let hash = sha256(&*input);
    [hash[0], hash[1], hash[2]]
}

impl RecoveryKey {
    /// A new one.
    pub fn generate() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        random::fill(&mut *key);
        Self(key)
    }

    /// The text to print once: 8 groups of 7 characters with dashes between them.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 35]);
        bytes[..32].copy_from_slice(&*self.0);
        bytes[32..].copy_from_slice(&checksum(&self.0));
        let mut chars = Zeroizing::new([0; CHARS]);
        BASE32_NOPAD.encode_mut(&*bytes, &mut *chars);
        let mut text = Zeroizing::new(String::with_capacity(CHARS + CHARS / GROUP));
        for (i, &c) in chars.iter().enumerate() {
            if i > 0 && i % GROUP == 0 {
                text.push('-');
            }
            text.push(char::from(c));
        }
        text
    }

    /// Reads what [`RecoveryKey::to_text`] made, as a person may have typed it: any case, with or without
    /// dashes and spaces, and 0, 1 and 8 for O, I and B, which base32 doesn't tell apart from them.
    ///
    /// # Errors
    /// [`RecoveryKeyError`] says what is wrong with the text; whether a well-formed key is the right one,
    /// only unlocking with it shows.
    pub fn parse(text: &[u8]) -> Result<Self, RecoveryKeyError> {
        let mut chars = Zeroizing::new([0; CHARS]);
        let mut len = 0;
        for &c in text.iter().filter(|c| !c.is_ascii_whitespace() && **c != b'-') {
            if let Some(place) = chars.get_mut(len) {
                *place = match c.to_ascii_uppercase() {
                    b'0' => b'O',
                    b'1' => b'I',
                    b'8' => b'B',
                    c => c,
                };
            }
            len += 1;
        }
        if len != CHARS {
            return Err(RecoveryKeyError::Length(len));
        }
        let mut bytes = Zeroizing::new([0; 35]);
        BASE32_NOPAD.decode_mut(&*chars, &mut *bytes).map_err(|_| RecoveryKeyError::Character)?;
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&bytes[..32]);
        if bool::from(checksum(&key).ct_eq(&bytes[32..])) {
            Ok(Self(key))
        } else {
            Err(RecoveryKeyError::Checksum)
        }
    }

    /// The raw bytes: the slot's KEK.
    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}
