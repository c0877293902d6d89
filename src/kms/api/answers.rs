//! What answers have: AWS's fields, as far as rekeyfs answers them.

use super::shape::{Kind, Member};

const fn text(name: &'static str) -> Member {
    Member::field(name, Kind::Text)
}

const fn time(name: &'static str) -> Member {
    Member::field(name, Kind::Time)
}

const fn list(name: &'static str, of: &'static Kind) -> Member {
    Member::field(name, Kind::List(of))
}

pub(super) const KEY_ID: Member = text("KeyId");
pub(super) const KEY_MATERIAL_ID: Member = text("KeyMaterialId");
const NEXT_MARKER: Member = text("NextMarker");
const TRUNCATED: Member = Member::field("Truncated", Kind::Boolean);
const EXPIRATION_MODEL: Member = Member::field("ExpirationModel", Kind::OneOf(EXPIRATION_MODELS));

pub(super) const KEY_USAGES: &[&str] =
    &["ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"];
pub(super) const ORIGINS: &[&str] = &["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"];
pub(super) const EXPIRATION_MODELS: &[&str] = &["KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"];
const KEY_STATES: &[&str] = &["Enabled", "Disabled", "PendingDeletion", "PendingImport"];

pub(super) const METADATA: &[Member] = &[Member::field(
    "KeyMetadata",
    Kind::Structure(&[
        text("AWSAccountId"),
        KEY_ID,
        text("Arn"),
        time("CreationDate"),
        Member::field("Enabled", Kind::Boolean),
        text("Description"),
        Member::field("KeyUsage", Kind::OneOf(KEY_USAGES)),
        Member::field("KeyState", Kind::OneOf(KEY_STATES)),
        time("DeletionDate"),
        time("ValidTo"),
        Member::field("Origin", Kind::OneOf(ORIGINS)),
        EXPIRATION_MODEL,
        Member::field("KeyManager", Kind::OneOf(&["CUSTOMER", "AWS"])),
        text("CustomerMasterKeySpec"),
        text("KeySpec"),
        list("EncryptionAlgorithms", &Kind::Text),
        Member::field("MultiRegion", Kind::Boolean),
        text("CurrentKeyMaterialId"),
    ]),
)];

pub(super) const KEYS: &[Member] =
    &[list("Keys", &Kind::Structure(&[KEY_ID, text("KeyArn")])), NEXT_MARKER, TRUNCATED];

pub(super) const ALIASES: &[Member] = &[
    list(
        "Aliases",
        &Kind::Structure(&[
            text("AliasName"),
            text("AliasArn"),
            text("TargetKeyId"),
            time("CreationDate"),
            time("LastUpdatedDate"),
        ]),
    ),
    NEXT_MARKER,
    TRUNCATED,
];

pub(super) const ROTATION_STATUS: &[Member] = &[
    Member::field("KeyRotationEnabled", Kind::Boolean),
    KEY_ID,
    Member::field("RotationPeriodInDays", Kind::Integer),
    time("NextRotationDate"),
    time("OnDemandRotationStartDate"),
];

pub(super) const ROTATIONS: &[Member] = &[
    list(
        "Rotations",
        &Kind::Structure(&[
            KEY_ID,
            KEY_MATERIAL_ID,
            Member::field("ImportState", Kind::OneOf(&["IMPORTED", "PENDING_IMPORT"])),
            Member::field("KeyMaterialState", Kind::OneOf(&["CURRENT", "NON_CURRENT", "PENDING_ROTATION"])),
            EXPIRATION_MODEL,
            time("ValidTo"),
            time("RotationDate"),
            Member::field("RotationType", Kind::OneOf(&["AUTOMATIC", "ON_DEMAND"])),
        ]),
    ),
    NEXT_MARKER,
    TRUNCATED,
];

pub(super) const DELETION: &[Member] = &[
    KEY_ID,
    time("DeletionDate"),
    Member::field("KeyState", Kind::OneOf(KEY_STATES)),
    Member::field("PendingWindowInDays", Kind::Integer),
];

pub(super) const IMPORT_PARAMETERS: &[Member] = &[
    KEY_ID,
    Member::field("ImportToken", Kind::Blob),
    Member::field("PublicKey", Kind::Blob),
    time("ParametersValidTo"),
];

pub(super) const TAGS: &[Member] =
    &[list("Tags", &Kind::Structure(&[text("TagKey"), text("TagValue")])), NEXT_MARKER, TRUNCATED];

pub(super) const POLICY_NAMES: &[Member] = &[list("PolicyNames", &Kind::Text), NEXT_MARKER, TRUNCATED];

pub(super) const POLICY: &[Member] = &[text("Policy"), text("PolicyName")];

pub(super) const ENCRYPTION_ALGORITHMS: &[&str] =
    &["SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"];
const CIPHERTEXT_BLOB: Member = Member::field("CiphertextBlob", Kind::Blob);
const PLAINTEXT: Member = Member::field("Plaintext", Kind::Blob);
const ENCRYPTION_ALGORITHM: Member = algorithm("EncryptionAlgorithm");

const fn algorithm(name: &'static str) -> Member {
    Member::field(name, Kind::OneOf(ENCRYPTION_ALGORITHMS))
}

pub(super) const ENCRYPTED: &[Member] = &[CIPHERTEXT_BLOB, KEY_ID, ENCRYPTION_ALGORITHM];

pub(super) const DECRYPTED: &[Member] = &[KEY_ID, PLAINTEXT, ENCRYPTION_ALGORITHM, KEY_MATERIAL_ID];

pub(super) const RE_ENCRYPTED: &[Member] = &[
    CIPHERTEXT_BLOB,
    text("SourceKeyId"),
    KEY_ID,
    algorithm("SourceEncryptionAlgorithm"),
    algorithm("DestinationEncryptionAlgorithm"),
    text("SourceKeyMaterialId"),
    text("DestinationKeyMaterialId"),
];

pub(super) const DATA_KEY: &[Member] = &[CIPHERTEXT_BLOB, PLAINTEXT, KEY_ID, KEY_MATERIAL_ID];

pub(super) const DATA_KEY_WITHOUT_PLAINTEXT: &[Member] = &[CIPHERTEXT_BLOB, KEY_ID, KEY_MATERIAL_ID];

pub(super) const RANDOM: &[Member] = &[PLAINTEXT];
