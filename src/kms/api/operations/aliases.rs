//! Aliases.

use super::shared::{LIMIT, MARKER};
use crate::kms::api::answers;
use crate::kms::api::shape::{Kind, Member, Operation};
use crate::kms::request::Call;

const TARGET_KEY_ID: Member = Member::required("TargetKeyId", Kind::Text, "The key's id or ARN");
const ALIAS_NAME: Member = Member::required("AliasName", Kind::Text, "alias/NAME");

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "CreateAlias",
        help: "Point a new alias at a key",
        members: &[ALIAS_NAME, TARGET_KEY_ID],
        answer: &[],
        make: |with| Call::CreateAlias {
            alias_name: with.text("AliasName"),
            target_key_id: with.text("TargetKeyId"),
        },
    },
    Operation {
        name: "UpdateAlias",
        help: "Point an alias at another key; files created from now on use that one",
        members: &[Member::required("AliasName", Kind::Text, "alias/NAME, or NAME"), TARGET_KEY_ID],
        answer: &[],
        make: |with| Call::UpdateAlias {
            alias_name: with.text("AliasName"),
            target_key_id: with.text("TargetKeyId"),
        },
    },
    Operation {
        name: "DeleteAlias",
        help: "Remove an alias",
        members: &[ALIAS_NAME],
        answer: &[],
        make: |with| Call::DeleteAlias { alias_name: with.text("AliasName") },
    },
    Operation {
        name: "ListAliases",
        help: "List the aliases",
        members: &[Member::optional("KeyId", Kind::Text, "Only those that point at this key"), LIMIT, MARKER],
        answer: answers::ALIASES,
        make: |with| Call::ListAliases { key_id: with.text_if_any("KeyId"), page: with.page() },
    },
];
