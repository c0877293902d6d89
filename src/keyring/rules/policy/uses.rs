//! What keys are used for, each allowed by an action of its own.

use super::actions::matches;

/// What a key is used for. Files need the first two; a policy that says nothing of the others restricts no file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyUse {
    /// To create a file, to truncate it, to open it for writing; to encrypt data.
    Encrypt,
    /// To open a file; to decrypt data.
    Decrypt,
    /// To make a data key, which is also given unencrypted.
    GenerateDataKey,
    /// To make a data key that is given encrypted only.
    GenerateDataKeyWithoutPlaintext,
    /// To have data that it encrypted encrypted by another key.
    ReEncryptFrom,
    /// To encrypt data that another key encrypted.
    ReEncryptTo,
}

impl KeyUse {
    /// All of them.
    pub(in crate::keyring) const ALL: [Self; 6] = [
        Self::Encrypt,
        Self::Decrypt,
        Self::GenerateDataKey,
        Self::GenerateDataKeyWithoutPlaintext,
        Self::ReEncryptFrom,
        Self::ReEncryptTo,
    ];
    /// Those of files.
    pub(super) const OF_FILES: [Self; 2] = [Self::Encrypt, Self::Decrypt];

    /// The action by which a policy allows it.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Encrypt => "kms:Encrypt",
            Self::Decrypt => "kms:Decrypt",
            Self::GenerateDataKey => "kms:GenerateDataKey",
            Self::GenerateDataKeyWithoutPlaintext => "kms:GenerateDataKeyWithoutPlaintext",
            Self::ReEncryptFrom => "kms:ReEncryptFrom",
            Self::ReEncryptTo => "kms:ReEncryptTo",
        }
    }
}

/// A set of uses, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Uses(u8);

impl Uses {
    /// Those whose actions these patterns name.
    pub(super) fn named_by(patterns: &[&str]) -> Self {
        let named = |used_for: &KeyUse| patterns.iter().any(|pattern| matches(pattern, used_for.action()));
        Self(KeyUse::ALL.into_iter().filter(named).fold(0, |uses, used_for| uses | (1 << used_for as u8)))
    }

    pub(super) fn has(self, used_for: KeyUse) -> bool {
        self.0 & (1 << used_for as u8) != 0
    }
}
