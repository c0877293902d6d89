//! Rotation of keys.

use super::shared::{KEY_OR_ALIAS, LIMIT, MARKER};
use crate::kms::api::answers;
use crate::kms::api::shape::{Kind, Member, Operation};
use crate::kms::request::{Call, Materials};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "EnableKeyRotation",
        help: "Switch automatic rotation on",
        members: &[
            KEY_OR_ALIAS,
            Member::optional(
                "RotationPeriodInDays",
                Kind::Integer,
                "Days between rotations, 90 to 2560 [default: 365]",
            ),
        ],
        answer: &[],
        make: |with| Call::EnableKeyRotation {
            key_id: with.text("KeyId"),
            rotation_period_in_days: with.integer("RotationPeriodInDays"),
        },
    },
    Operation {
        name: "DisableKeyRotation",
        help: "Switch automatic rotation off; all versions are kept",
        members: &[KEY_OR_ALIAS],
        answer: &[],
        make: |with| Call::DisableKeyRotation { key_id: with.text("KeyId") },
    },
    Operation {
        name: "GetKeyRotationStatus",
        help: "Show whether and when a key rotates by itself",
        members: &[KEY_OR_ALIAS],
        answer: answers::ROTATION_STATUS,
        make: |with| Call::GetKeyRotationStatus { key_id: with.text("KeyId") },
    },
    Operation {
        name: "RotateKeyOnDemand",
        help: "Rotate a key now; a key takes 25 of these (`rekeyfs rotate` has no limit)",
        members: &[KEY_OR_ALIAS],
        answer: &[answers::KEY_ID],
        make: |with| Call::RotateKeyOnDemand { key_id: with.text("KeyId") },
    },
    Operation {
        name: "ListKeyRotations",
        help: "List a key's rotations",
        members: &[
            KEY_OR_ALIAS,
            Member::optional(
                "IncludeKeyMaterial",
                Kind::OneOf(&["ALL_KEY_MATERIAL", "ROTATIONS_ONLY"]),
                "ALL_KEY_MATERIAL: the first key material too; ROTATIONS_ONLY: rotations alone, the default",
            ),
            LIMIT,
            MARKER,
        ],
        answer: answers::ROTATIONS,
        make: |with| Call::ListKeyRotations {
            key_id: with.text("KeyId"),
            materials: match with.text("IncludeKeyMaterial").as_str() {
                "ALL_KEY_MATERIAL" => Materials::All,
                _ => Materials::RotationsOnly,
            },
            page: with.page(),
        },
    },
];
