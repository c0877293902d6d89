//! Imported key material.

use super::shared::KEY_ID;
use crate::kms::api::answers;
use crate::kms::api::shape::{Kind, Member, Operation};
use crate::kms::request::Call;

const WRAPPING_ALGORITHMS: &[&str] = &[
    "RSAES_OAEP_SHA_256",
    "RSAES_OAEP_SHA_1",
    "RSAES_PKCS1_V1_5",
    "RSA_AES_KEY_WRAP_SHA_1",
    "RSA_AES_KEY_WRAP_SHA_256",
    "SM2PKE",
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "GetParametersForImport",
        help: "Get what is needed to wrap key material for import-key-material",
        members: &[
            KEY_ID,
            Member::required(
                "WrappingAlgorithm",
                Kind::OneOf(WRAPPING_ALGORITHMS),
                "RSAES_OAEP_SHA_256 or RSAES_OAEP_SHA_1",
            ),
            Member::required(
                "WrappingKeySpec",
                Kind::OneOf(&["RSA_2048", "RSA_3072", "RSA_4096", "SM2"]),
                "RSA_2048, RSA_3072 or RSA_4096",
            ),
        ],
        answer: answers::IMPORT_PARAMETERS,
        make: |with| Call::GetParametersForImport {
            key_id: with.text("KeyId"),
            wrapping_algorithm: with.text("WrappingAlgorithm"),
            wrapping_key_spec: with.text("WrappingKeySpec"),
        },
    },
    Operation {
        name: "ImportKeyMaterial",
        help: "Give a key of --origin EXTERNAL its material",
        members: &[
            KEY_ID,
            Member::required("ImportToken", Kind::Blob, "The import token"),
            Member::required(
                "EncryptedKeyMaterial",
                Kind::Blob,
                "The material, wrapped under the public key that came with the token",
            ),
            Member::optional(
                "ExpirationModel",
                Kind::OneOf(answers::EXPIRATION_MODELS),
                "KEY_MATERIAL_EXPIRES (needs --valid-to) or KEY_MATERIAL_DOES_NOT_EXPIRE [default: \
                 KEY_MATERIAL_EXPIRES]",
            ),
            Member::optional("ValidTo", Kind::Time, "When it expires: ISO 8601, or seconds since 1970"),
            Member::optional(
                "ImportType",
                Kind::OneOf(&["NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"]),
                "NEW_KEY_MATERIAL: rotate-key-on-demand takes it into use; EXISTING_KEY_MATERIAL: it was imported before",
            ),
            Member::refused("KeyMaterialDescription", Kind::Text, "key materials have no descriptions"),
            Member::optional(
                "KeyMaterialId",
                Kind::Text,
                "The material that it must be, as list-key-rotations shows it",
            ),
        ],
        answer: &[answers::KEY_ID, answers::KEY_MATERIAL_ID],
        make: |with| Call::ImportKeyMaterial {
            key_id: with.text("KeyId"),
            import_token: with.text("ImportToken"),
            encrypted_key_material: with.text("EncryptedKeyMaterial"),
            expiration_model: with.text_if_any("ExpirationModel"),
            valid_to: with.text_if_any("ValidTo"),
            import_type: with.text_if_any("ImportType"),
            key_material_id: with.text_if_any("KeyMaterialId"),
        },
    },
    Operation {
        name: "DeleteImportedKeyMaterial",
        help: "Delete imported material: files can't be opened until the same material is imported again",
        members: &[
            KEY_ID,
            Member::optional(
                "KeyMaterialId",
                Kind::Text,
                "Which material, as list-key-rotations shows it [default: the current one]",
            ),
        ],
        answer: &[answers::KEY_ID, answers::KEY_MATERIAL_ID],
        make: |with| Call::DeleteImportedKeyMaterial {
            key_id: with.text("KeyId"),
            key_material_id: with.text_if_any("KeyMaterialId"),
        },
    },
];
