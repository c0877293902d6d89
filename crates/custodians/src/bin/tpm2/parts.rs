//! A blob: three parts, each after its length (2 bytes, big-endian).
//!
//! ```text
//! name of the primary key │ TPMT_PUBLIC of the sealed object │ TPM2B_PRIVATE's contents
//! ```

use rekeyfs_custodians::{Kind, Refusal};

/// A sealed object, outside of the TPM.
pub(super) struct Parts {
    /// That of the key below which it is sealed: another TPM has another one.
    pub(super) primary: Vec<u8>,
    pub(super) public: Vec<u8>,
    pub(super) private: Vec<u8>,
}

impl Parts {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [&self.primary, &self.public, &self.private] {
            // A TPM's structures have at most 65535 bytes: their own lengths are of 2.
            bytes.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend(part);
        }
        bytes
    }

    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, Refusal> {
        let mut next = || {
            let (length, rest) = bytes.split_first_chunk::<2>()?;
            let (part, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            bytes = rest;
            Some(part.to_vec())
        };
        let parts = (|| Some(Self { primary: next()?, public: next()?, private: next()? }))();
        parts
            .filter(|_| bytes.is_empty())
            .ok_or_else(|| Refusal::new(Kind::Damaged, "it is no object that was sealed here"))
    }
}
