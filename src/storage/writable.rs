//! Permission to write a vault.
//!
//! A keyring's header has *ro_compat* bits: features of the format that a program which doesn't know them may read past,
//! but not write. The rule: with a bit that this program doesn't know, nothing below the vault's directory is written,
//! neither keyring nor tree nor event log nor a lock's record; what another program relies on isn't known.
//!
//! A [`Writable`] is the proof that every bit is known, and [`RoCompat::writable`] the only way to one. What writes in a
//! vault's directory takes it: the keyring's lock (which every change of the keyring takes), the event log, the note of
//! failed unlocks, the vault's lock, a vault in use, a repair. So a new writer can't forget the check.

/// The ro_compat bits of a keyring's header.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RoCompat(u32);

/// Bits that this program knows.
const KNOWN: u32 = 0;

/// Proof that this program knows all that it has to know to write a vault.
#[derive(Clone, Copy, Debug)]
pub struct Writable(());

/// Bits that this program doesn't know: the vault may be read, not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownFeatures(u32);

impl RoCompat {
    /// The bits as they are in a header.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits, to be put into a header.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// # Errors
    /// The bits that aren't known: nothing may be written then.
    pub const fn writable(self) -> Result<Writable, UnknownFeatures> {
        match self.0 & !KNOWN {
            0 => Ok(Writable(())),
            unknown => Err(UnknownFeatures(unknown)),
        }
    }
}

impl std::fmt::Display for UnknownFeatures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_bit_forbids_writing() {
        assert!(RoCompat::default().writable().is_ok());
        for bit in (0..32).map(|at| 1_u32 << at).filter(|bit| !KNOWN & bit != 0) {
            assert_eq!(RoCompat::from_bits(KNOWN | bit).writable().unwrap_err(), UnknownFeatures(bit));
        }
    }
}
