//! Why a policy isn't taken.

/// The longest policy, in bytes (as AWS).
pub(super) const MAX_LEN: usize = 32 << 10;

/// Why a policy isn't taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is too long.
    #[error("The policy has {0} bytes; at most {MAX_LEN} are taken.")]
    TooLong(usize),
    /// It has a character that no policy of AWS has.
    #[error(
        "The policy has the character {:?}; it may have tabs, line feeds, carriage returns and U+0020 to U+00FF.", .0
    )]
    Character(char),
    /// Something of it isn't understood.
    #[error("The policy is malformed: {0}.")]
    Malformed(String),
    /// By it, the vault's owner couldn't use the key.
    #[error(
        "The new key policy would lock out the vault's owner: allow \"uid:{0}\" kms:Encrypt and kms:Decrypt, or give \
         --bypass-policy-lockout-safety-check."
    )]
    LocksOut(u32),
}
