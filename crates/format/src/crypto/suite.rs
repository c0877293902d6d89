//! Content suites. The number on disk fixes cipher and geometry; numbers are never reused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A content suite that this program can run. All known suites have nonces of 12 and tags of 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub enum Suite {
    /// 1: AES-256-GCM.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// 2: ChaCha20-Poly1305 (RFC 8439).
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
    /// 255: none; contents and names stay as they are. Only in the benchmark build (feature `null-cipher`), which
    /// knows no other suite: it opens no vault of a real build, and no real build opens its vaults.
    #[cfg(feature = "null-cipher")]
    #[serde(rename = "null")]
    Null,
}

impl Suite {
    /// The suites that vaults of this build may have, the default one first.
    #[cfg(not(feature = "null-cipher"))]
    pub const KNOWN: &'static [Self] = &[Self::Aes256Gcm, Self::ChaCha20Poly1305];
    /// The suites that vaults of this build may have, the default one first.
    #[cfg(feature = "null-cipher")]
    pub const KNOWN: &'static [Self] = &[Self::Null];

    /// The number on disk. 3 is reserved for AES-256-GCM-SIV.
    pub const fn number(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
            #[cfg(feature = "null-cipher")]
            Self::Null => 255,
        }
    }

    /// The suite with that number, if this program knows it.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::KNOWN.iter().copied().find(|suite| suite.number() == number)
    }

    /// The name users see and type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            #[cfg(feature = "null-cipher")]
            Self::Null => "null",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::KNOWN.iter().copied().find(|suite| suite.name() == s).ok_or_else(|| {
            let known: Vec<_> = Self::KNOWN.iter().map(|suite| suite.name()).collect();
            format!("unknown suite {s:?}: known to this program: {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_encrypts_shares_no_suite_with_the_one_that_does_not() {
        let (real, null) = ([(1, "aes-256-gcm"), (2, "chacha20-poly1305")], (255, "null"));
        for (number, name) in real {
            assert_eq!(Suite::from_number(number).is_some(), cfg!(not(feature = "null-cipher")));
            assert_eq!(name.parse::<Suite>().ok(), Suite::from_number(number));
        }
        assert_eq!(Suite::from_number(null.0).is_some(), cfg!(feature = "null-cipher"));
        assert_eq!(null.1.parse::<Suite>().ok(), Suite::from_number(null.0));
    }
}
