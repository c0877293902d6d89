//! Keys used for data.

use super::shared::{CUSTOM_KEY_STORE_ID, GRANT_TOKENS, KEY_OR_ALIAS, KEY_OR_ALIAS_HELP};
use crate::kms::api::answers;
use crate::kms::api::parameters::Parameters;
use crate::kms::api::shape::{Kind, Member, Operation};
use crate::kms::data::{DataKey, Decrypt, Encrypt, Random, ReEncrypt};
use crate::kms::request::Call;

const CONTEXT: &str =
    "What it is bound to: NAME=VALUE,... of your choice, needed again to decrypt it; no secret";
const CONTEXT_BEFORE: &str = "What it was bound to when it was encrypted";
const ALGORITHM: &str = "SYMMETRIC_DEFAULT";
const IT_MUST_BE_OF: &str = "The key that it must be of [default: the one that it names]";

const ENCRYPTION_CONTEXT: Member = Member::optional("EncryptionContext", Kind::Map, CONTEXT);
const ENCRYPTION_ALGORITHM: Member = algorithm("EncryptionAlgorithm");
const DRY_RUN: Member = Member::optional(
    "DryRun",
    Kind::Boolean,
    "Only say whether it could be done, as a DryRunOperationException",
);
const RECIPIENT: Member = Member::refused(
    "Recipient",
    Kind::Structure(&[
        Member::optional("KeyEncryptionAlgorithm", Kind::Text, ""),
        Member::optional("AttestationDocument", Kind::Blob, ""),
    ]),
    "there are no enclaves",
);
const CIPHERTEXT_BLOB: Member = Member::required("CiphertextBlob", Kind::Blob, "What was encrypted");
const KEY_SPEC: Member =
    Member::optional("KeySpec", Kind::OneOf(&["AES_256", "AES_128"]), "AES_256 or AES_128");
const NUMBER_OF_BYTES: Member =
    Member::optional("NumberOfBytes", Kind::Integer, "Its length in bytes, 1 to 1024; or --key-spec");

const DATA_KEY: &[Member] =
    &[KEY_OR_ALIAS, ENCRYPTION_CONTEXT, KEY_SPEC, NUMBER_OF_BYTES, GRANT_TOKENS, RECIPIENT, DRY_RUN];
const DATA_KEY_WITHOUT_PLAINTEXT: &[Member] =
    &[KEY_OR_ALIAS, ENCRYPTION_CONTEXT, KEY_SPEC, NUMBER_OF_BYTES, GRANT_TOKENS, DRY_RUN];

const fn algorithm(name: &'static str) -> Member {
    Member::optional(name, Kind::OneOf(answers::ENCRYPTION_ALGORITHMS), ALGORITHM)
}

fn data_key(with: &Parameters) -> DataKey {
    DataKey {
        key_id: with.text("KeyId"),
        encryption_context: with.pairs("EncryptionContext"),
        number_of_bytes: with.integer("NumberOfBytes"),
        key_spec: with.text_if_any("KeySpec"),
        dry_run: with.is_true("DryRun"),
    }
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "Encrypt",
        help: "Encrypt up to 4096 bytes; what comes out is yours to keep",
        members: &[
            KEY_OR_ALIAS,
            Member::required("Plaintext", Kind::Blob, "What to encrypt: fileb://PATH, or base64"),
            ENCRYPTION_CONTEXT,
            GRANT_TOKENS,
            ENCRYPTION_ALGORITHM,
            DRY_RUN,
        ],
        answer: answers::ENCRYPTED,
        make: |with| {
            Call::Encrypt(Encrypt {
                key_id: with.text("KeyId"),
                plaintext: with.secret("Plaintext"),
                encryption_context: with.pairs("EncryptionContext"),
                encryption_algorithm: with.text_if_any("EncryptionAlgorithm"),
                dry_run: with.is_true("DryRun"),
            })
        },
    },
    Operation {
        name: "Decrypt",
        help: "Decrypt what encrypt or generate-data-key gave",
        members: &[
            CIPHERTEXT_BLOB,
            Member::optional("EncryptionContext", Kind::Map, CONTEXT_BEFORE),
            GRANT_TOKENS,
            Member::optional("KeyId", Kind::Text, IT_MUST_BE_OF),
            ENCRYPTION_ALGORITHM,
            RECIPIENT,
            DRY_RUN,
        ],
        answer: answers::DECRYPTED,
        make: |with| {
            Call::Decrypt(Decrypt {
                ciphertext_blob: with.text("CiphertextBlob"),
                encryption_context: with.pairs("EncryptionContext"),
                key_id: with.text_if_any("KeyId"),
                encryption_algorithm: with.text_if_any("EncryptionAlgorithm"),
                dry_run: with.is_true("DryRun"),
            })
        },
    },
    Operation {
        name: "GenerateDataKey",
        help: "Make a data key, and encrypt it",
        members: DATA_KEY,
        answer: answers::DATA_KEY,
        make: |with| Call::GenerateDataKey(data_key(with)),
    },
    Operation {
        name: "GenerateDataKeyWithoutPlaintext",
        help: "Make a data key and give it encrypted only",
        members: DATA_KEY_WITHOUT_PLAINTEXT,
        answer: answers::DATA_KEY_WITHOUT_PLAINTEXT,
        make: |with| Call::GenerateDataKeyWithoutPlaintext(data_key(with)),
    },
    Operation {
        name: "GenerateRandom",
        help: "Make random bytes, from the kernel's generator",
        members: &[
            Member::optional("NumberOfBytes", Kind::Integer, "How many, 1 to 1024"),
            CUSTOM_KEY_STORE_ID,
            RECIPIENT,
        ],
        answer: answers::RANDOM,
        make: |with| Call::GenerateRandom(Random { number_of_bytes: with.integer("NumberOfBytes") }),
    },
];

/// Of a blob. The verb of the command line is that of files.
pub(super) const RE_ENCRYPT: Operation = Operation {
    name: "ReEncrypt",
    help: "Encrypt what a key encrypted under another one, without giving it out",
    members: &[
        CIPHERTEXT_BLOB,
        Member::optional("SourceEncryptionContext", Kind::Map, CONTEXT_BEFORE),
        Member::optional("SourceKeyId", Kind::Text, IT_MUST_BE_OF),
        Member::required("DestinationKeyId", Kind::Text, KEY_OR_ALIAS_HELP),
        Member::optional("DestinationEncryptionContext", Kind::Map, CONTEXT),
        algorithm("SourceEncryptionAlgorithm"),
        algorithm("DestinationEncryptionAlgorithm"),
        GRANT_TOKENS,
        DRY_RUN,
    ],
    answer: answers::RE_ENCRYPTED,
    make: |with| {
        Call::ReEncrypt(ReEncrypt {
            ciphertext_blob: with.text("CiphertextBlob"),
            source_encryption_context: with.pairs("SourceEncryptionContext"),
            source_key_id: with.text_if_any("SourceKeyId"),
            destination_key_id: with.text("DestinationKeyId"),
            destination_encryption_context: with.pairs("DestinationEncryptionContext"),
            source_encryption_algorithm: with.text_if_any("SourceEncryptionAlgorithm"),
            destination_encryption_algorithm: with.text_if_any("DestinationEncryptionAlgorithm"),
            dry_run: with.is_true("DryRun"),
        })
    },
};
