//! Keys: what they are, whether they can be used, their tags and policies.

use super::shared::{CUSTOM_KEY_STORE_ID, GRANT_TOKENS, IN_THE_KEYRING, KEY_ID, KEY_OR_ALIAS, LIMIT, MARKER};
use crate::kms::api::answers;
use crate::kms::api::shape::{Kind, Member, Operation};
use crate::kms::request::{Call, NewKey};

const DESCRIPTION: &str = "What it is for";
const POLICY_NAME: Member = Member::optional("PolicyName", Kind::Text, "default");
const BYPASS: Member = Member::optional(
    "BypassPolicyLockoutSafetyCheck",
    Kind::Boolean,
    "Take a policy by which the vault's owner can't use the key",
);
const TAG: Kind = Kind::Structure(&[
    Member::required("TagKey", Kind::Text, "The tag's name"),
    Member::required("TagValue", Kind::Text, "Its value"),
]);
const TAGS_HELP: &str = "TagKey=NAME,TagValue=VALUE for each tag, or a JSON list of them";
const KEY_SPECS: &[&str] = &[
    "SYMMETRIC_DEFAULT",
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
    "ECC_NIST_EDWARDS25519",
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "CreateKey",
        help: "Make a key",
        members: &[
            Member::optional("Description", Kind::Text, DESCRIPTION),
            Member::optional("KeyUsage", Kind::OneOf(answers::KEY_USAGES), "ENCRYPT_DECRYPT"),
            Member::optional("KeySpec", Kind::OneOf(KEY_SPECS), "SYMMETRIC_DEFAULT")
                .only("SYMMETRIC_DEFAULT"),
            Member::optional("CustomerMasterKeySpec", Kind::OneOf(KEY_SPECS), "The old name of KeySpec")
                .only("SYMMETRIC_DEFAULT"),
            Member::optional(
                "Origin",
                Kind::OneOf(answers::ORIGINS),
                "AWS_KMS: material made here; EXTERNAL: it will be imported",
            ),
            Member::optional("Policy", Kind::Text, "Its policy as JSON"),
            BYPASS,
            Member::optional("Tags", Kind::List(&TAG), TAGS_HELP),
            Member::optional("MultiRegion", Kind::Boolean, "There are no regions: false").only("false"),
            CUSTOM_KEY_STORE_ID,
            Member::refused("XksKeyId", Kind::Text, IN_THE_KEYRING),
        ],
        answer: answers::METADATA,
        make: |with| Call::CreateKey {
            key: NewKey {
                description: with.text("Description"),
                key_usage: with.text_if_any("KeyUsage"),
                origin: with.text_if_any("Origin"),
                policy: with.text_if_any("Policy"),
                bypass_policy_lockout_safety_check: with.is_true("BypassPolicyLockoutSafetyCheck"),
                tags: with.tags("Tags"),
            },
        },
    },
    Operation {
        name: "DescribeKey",
        help: "Show a key's metadata",
        members: &[KEY_OR_ALIAS, GRANT_TOKENS],
        answer: answers::METADATA,
        make: |with| Call::DescribeKey { key_id: with.text("KeyId") },
    },
    Operation {
        name: "ListKeys",
        help: "List the keys",
        members: &[LIMIT, MARKER],
        answer: answers::KEYS,
        make: |with| Call::ListKeys { page: with.page() },
    },
    Operation {
        name: "UpdateKeyDescription",
        help: "Change what a key is said to be for",
        members: &[KEY_ID, Member::required("Description", Kind::Text, DESCRIPTION)],
        answer: &[],
        make: |with| Call::UpdateKeyDescription {
            key_id: with.text("KeyId"),
            description: with.text("Description"),
        },
    },
    Operation {
        name: "EnableKey",
        help: "Make a key usable again; one whose rotation is overdue is rotated at once",
        members: &[KEY_ID],
        answer: &[],
        make: |with| Call::EnableKey { key_id: with.text("KeyId") },
    },
    Operation {
        name: "DisableKey",
        help: "Make a key unusable: its files can't be opened until it is enabled again",
        members: &[KEY_ID],
        answer: &[],
        make: |with| Call::DisableKey { key_id: with.text("KeyId") },
    },
    Operation {
        name: "ScheduleKeyDeletion",
        help: "Make a key unusable, and delete it after a window unless that is cancelled. Refused while \
               files need it; counted again before it is deleted",
        members: &[
            KEY_ID,
            Member::optional("PendingWindowInDays", Kind::Integer, "Days, 7 to 30 [default: 30]"),
        ],
        answer: answers::DELETION,
        make: |with| Call::ScheduleKeyDeletion {
            key_id: with.text("KeyId"),
            pending_window_in_days: with.integer("PendingWindowInDays"),
            force: None,
        },
    },
    Operation {
        name: "CancelKeyDeletion",
        help: "Take a scheduled deletion back; the key is disabled then",
        members: &[KEY_ID],
        answer: &[answers::KEY_ID],
        make: |with| Call::CancelKeyDeletion { key_id: with.text("KeyId") },
    },
    Operation {
        name: "TagResource",
        help: "Add tags to a key",
        members: &[KEY_ID, Member::required("Tags", Kind::List(&TAG), TAGS_HELP)],
        answer: &[],
        make: |with| Call::TagResource { key_id: with.text("KeyId"), tags: with.tags("Tags") },
    },
    Operation {
        name: "UntagResource",
        help: "Remove tags from a key",
        members: &[
            KEY_ID,
            Member::required("TagKeys", Kind::List(&Kind::Text), "The keys of the tags to remove"),
        ],
        answer: &[],
        make: |with| Call::UntagResource { key_id: with.text("KeyId"), tag_keys: with.texts("TagKeys") },
    },
    Operation {
        name: "ListResourceTags",
        help: "List a key's tags",
        members: &[KEY_ID, LIMIT, MARKER],
        answer: answers::TAGS,
        make: |with| Call::ListResourceTags { key_id: with.text("KeyId"), page: with.page() },
    },
    Operation {
        name: "ListKeyPolicies",
        help: "List the names of a key's policies",
        members: &[KEY_ID, LIMIT, MARKER],
        answer: answers::POLICY_NAMES,
        make: |with| Call::ListKeyPolicies { key_id: with.text("KeyId"), page: with.page() },
    },
    Operation {
        name: "GetKeyPolicy",
        help: "Show a key's policy",
        members: &[KEY_ID, POLICY_NAME],
        answer: answers::POLICY,
        make: |with| Call::GetKeyPolicy {
            key_id: with.text("KeyId"),
            policy_name: with.text_if_any("PolicyName"),
        },
    },
    Operation {
        name: "PutKeyPolicy",
        help: "Replace a key's policy: which users may create, open and change the files of the key, whatever \
               their modes say. Asked when a file is opened; handles that are open continue to work",
        members: &[
            KEY_ID,
            POLICY_NAME,
            Member::required(
                "Policy",
                Kind::Text,
                "The policy as JSON. A Principal is \"*\" or {\"AWS\": \"uid:NUMBER\"}, root (uid:0) too; the Actions that \
                 matter are kms:Encrypt (create, truncate, open for writing) and kms:Decrypt (open)",
            ),
            BYPASS,
        ],
        answer: &[],
        make: |with| Call::PutKeyPolicy {
            key_id: with.text("KeyId"),
            policy_name: with.text_if_any("PolicyName"),
            policy: with.text("Policy"),
            bypass_policy_lockout_safety_check: with.is_true("BypassPolicyLockoutSafetyCheck"),
        },
    },
];
