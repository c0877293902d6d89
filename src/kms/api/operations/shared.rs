//! Parameters that several operations have.

use crate::kms::api::shape::{Kind, Member};

/// Why a key store can't be named.
pub(super) const IN_THE_KEYRING: &str = "keys are in the vault's keyring";
/// How a key is named where an alias may name it.
pub(super) const KEY_OR_ALIAS_HELP: &str =
    "The key's id, the beginning of it or its ARN, an alias or its ARN";

pub(super) const KEY_ID: Member =
    Member::required("KeyId", Kind::Text, "The key's id, the beginning of it, or its ARN");
pub(super) const KEY_OR_ALIAS: Member = Member::required("KeyId", Kind::Text, KEY_OR_ALIAS_HELP);
pub(super) const LIMIT: Member =
    Member::optional("Limit", Kind::Integer, "At most so many, 1 to 1000; without it all are listed");
pub(super) const MARKER: Member =
    Member::optional("Marker", Kind::Text, "Continue after the list that gave this NextMarker");
pub(super) const CUSTOM_KEY_STORE_ID: Member =
    Member::refused("CustomKeyStoreId", Kind::Text, IN_THE_KEYRING);
pub(super) const GRANT_TOKENS: Member = Member::optional(
    "GrantTokens",
    Kind::List(&Kind::Text),
    "Has no effect: there are no grants, and what they would allow is allowed or refused by the key's policy",
)
.without_effect();
