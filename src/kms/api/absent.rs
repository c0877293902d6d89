//! AWS's operations that rekeyfs doesn't have, each with the reason.

use super::shape::kebab;
use crate::kms::error::{KmsError, KmsErrorName};

/// Operations that are missing for one reason.
#[derive(Clone, Copy, Debug)]
pub struct Absent {
    /// AWS's names of them.
    pub operations: &'static [&'static str],
    /// Why: a clause.
    pub why: &'static str,
}

impl Absent {
    /// Their verbs, as the AWS CLI has them.
    pub fn verbs(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.operations.iter().map(|name| (*name, kebab(name)))
    }
}

/// All of them.
pub const ABSENT: &[Absent] = &[
    Absent {
        operations: &["CreateGrant", "ListGrants", "ListRetirableGrants", "RetireGrant", "RevokeGrant"],
        why: "there are no grants; a key's policy says who may use it",
    },
    Absent {
        operations: &[
            "ConnectCustomKeyStore",
            "CreateCustomKeyStore",
            "DeleteCustomKeyStore",
            "DescribeCustomKeyStores",
            "DisconnectCustomKeyStore",
            "UpdateCustomKeyStore",
        ],
        why: "there are no custom key stores; keys are in the vault's keyring",
    },
    Absent {
        operations: &["ReplicateKey", "UpdatePrimaryRegion"],
        why: "there are no regions; copy the vault with its keyring",
    },
    Absent {
        operations: &[
            "DeriveSharedSecret",
            "GenerateDataKeyPair",
            "GenerateDataKeyPairWithoutPlaintext",
            "GenerateMac",
            "GetPublicKey",
            "Sign",
            "Verify",
            "VerifyMac",
        ],
        why: "keys are symmetric and encrypt; none signs, makes MACs or has a public half",
    },
    Absent { operations: &["GetKeyLastUsage"], why: "uses of a key aren't recorded one by one" },
];

/// The refusal of an operation that isn't in the table.
pub(super) fn refusal(name: &str) -> KmsError {
    match ABSENT.iter().find(|absent| absent.operations.contains(&name)) {
        Some(absent) => KmsError::new(
            KmsErrorName::UnsupportedOperationException,
            format!("{name} isn't supported: {}.", absent.why),
        ),
        None => KmsError::new(
            KmsErrorName::UnknownOperationException,
            format!("There is no operation {}.", name.escape_debug()),
        ),
    }
}
