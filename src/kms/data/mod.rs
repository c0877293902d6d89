//! Keys used for data: `Encrypt`, `Decrypt`, `ReEncrypt`, `GenerateDataKey`, `GenerateDataKeyWithoutPlaintext`, `GenerateRandom`.
//!
//! Each asks the key's policy for the user who asks: the principal where it is a user, else the user of the process that asks; the
//! owner and root are no exceptions, as with files. A blob that doesn't open is refused without a reason, one of a version that
//! the keyring doesn't know too: nothing tells it from a forged one. Of a key that isn't there it is refused in AWS's words for a
//! key that is unknown or not allowed. What is decrypted or
//! made is wiped here; in the answer by who sends it ([`wipe`]). No plaintext is logged. Each version that was used is an event: a
//! re-encryption from one to another is two.

mod request;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

pub use self::request::{DataKey, Decrypt, Encrypt, Pairs, Random, ReEncrypt, SecretText};
use super::error::{CallError, KmsError, KmsErrorName as Name};
use super::request::Call;
use super::responses::hex;
use crate::blob::{EncryptionContext, PLAINTEXT_MAX, Plaintext, UnverifiedBlob};
use crate::crypto::random;
use crate::events::{Actor, arn};
use crate::ids::{BackingKeyId, KeyId};
use crate::keyring::{KeyError, KeyRef, KeyUse, Keys, Manager};

type Result<T> = std::result::Result<T, CallError>;

/// The longest blob that is looked at, in bytes.
const BLOB_MAX: usize = 6144;
/// The longest data key, and the most random bytes.
const RANDOM_MAX: i64 = 1024;
/// The one algorithm there is.
const ALGORITHM: &str = "SYMMETRIC_DEFAULT";
/// The field of an answer that is secret.
const SECRET: &str = "Plaintext";

/// Puts data that are secret into an answer. The text moves there: `json!` would take a copy, and leave the first unwiped.
fn put_secret(answer: &mut Value, data: &[u8]) {
    answer[SECRET] = Value::String(BASE64.encode(data));
}

/// Wipes what is secret in an answer.
pub fn wipe(answer: &mut Value) {
    if let Some(Value::String(text)) = answer.get_mut(SECRET) {
        text.zeroize();
    }
}

/// An operation that is done.
pub(super) struct Done {
    used: Used,
    answer: Value,
}

/// The key versions that an operation used.
enum Used {
    No,
    One(BackingKeyId),
    /// The one that was opened, and another one that encrypts now.
    FromTo(BackingKeyId, BackingKeyId),
}

impl Keys {
    /// Records an operation that is done, and gives its answer.
    pub(super) fn recorded(&self, call: &Call, done: Done) -> Value {
        match done.used {
            Used::No => self.record_data_use(call, None),
            Used::One(version) => self.record_data_use(call, Some(version)),
            Used::FromTo(from, to) => {
                self.record_data_use(call, Some(from));
                self.record_data_use(call, Some(to));
            }
        }
        done.answer
    }

    pub(super) fn encrypt(&self, asked: &Encrypt) -> Result<Done> {
        check_algorithm(asked.encryption_algorithm.as_deref())?;
        let data = Zeroizing::new(decoded("plaintext", asked.plaintext.expose(), PLAINTEXT_MAX)?);
        let context = context(&asked.encryption_context)?;
        let key = self.key_for(&asked.key_id, KeyUse::Encrypt)?;
        let (used, blob) = self.seal(key, &data, &context, asked.dry_run)?;
        let answer = json!({ "CiphertextBlob": blob, "KeyId": arn(key), "EncryptionAlgorithm": ALGORITHM });
        Ok(Done { used: Used::One(used), answer })
    }

    pub(super) fn decrypt(&self, asked: &Decrypt) -> Result<Done> {
        check_algorithm(asked.encryption_algorithm.as_deref())?;
        let context = context(&asked.encryption_context)?;
        let blob = decoded("ciphertextBlob", &asked.ciphertext_blob, BLOB_MAX)?;
        let (used, data) = self.open(&blob, &context, asked.key_id.as_deref(), KeyUse::Decrypt)?;
        check_dry_run(asked.dry_run)?;
        let mut answer = json!({
            "KeyId": arn(used.key),
            "EncryptionAlgorithm": ALGORITHM,
            "KeyMaterialId": self.material_of(used)?,
        });
        put_secret(&mut answer, &data);
        Ok(Done { used: Used::One(used), answer })
    }

    pub(super) fn re_encrypt(&self, asked: &ReEncrypt) -> Result<Done> {
        check_algorithm(asked.source_encryption_algorithm.as_deref())?;
        check_algorithm(asked.destination_encryption_algorithm.as_deref())?;
        let before = context(&asked.source_encryption_context)?;
        let after = context(&asked.destination_encryption_context)?;
        let blob = decoded("ciphertextBlob", &asked.ciphertext_blob, BLOB_MAX)?;
        let key = self.key_for(&asked.destination_key_id, KeyUse::ReEncryptTo)?;
        let (from, data) =
            self.open(&blob, &before, asked.source_key_id.as_deref(), KeyUse::ReEncryptFrom)?;
        let (to, blob) = self.seal(key, &data, &after, asked.dry_run)?;
        let answer = json!({
            "CiphertextBlob": blob,
            "SourceKeyId": arn(from.key),
            "KeyId": arn(key),
            "SourceEncryptionAlgorithm": ALGORITHM,
            "DestinationEncryptionAlgorithm": ALGORITHM,
            "SourceKeyMaterialId": self.material_of(from)?,
            "DestinationKeyMaterialId": self.material_of(to)?,
        });
        let used = if from == to { Used::One(to) } else { Used::FromTo(from, to) };
        Ok(Done { used, answer })
    }

    pub(super) fn data_key(&self, asked: &DataKey, used_for: KeyUse) -> Result<Done> {
        let length = match (asked.number_of_bytes, asked.key_spec.as_deref()) {
            (None, Some("AES_256")) => 32,
            (None, Some("AES_128")) => 16,
            (None, Some(spec)) => {
                return Err(KmsError::not_one_of(spec, "keySpec", &["AES_256", "AES_128"]).into());
            }
            (Some(length), None) => random_length(Some(length))?,
            (None, None) | (Some(_), Some(_)) => {
                return Err(KmsError::validation("Please specify either number of bytes or key spec.").into());
            }
        };
        let context = context(&asked.encryption_context)?;
        let key = self.key_for(&asked.key_id, used_for)?;
        let data = random_bytes(length);
        let (used, blob) = self.seal(key, &data, &context, asked.dry_run)?;
        let mut answer =
            json!({ "CiphertextBlob": blob, "KeyId": arn(key), "KeyMaterialId": self.material_of(used)? });
        if used_for == KeyUse::GenerateDataKey {
            put_secret(&mut answer, &data);
        }
        Ok(Done { used: Used::One(used), answer })
    }

    /// The key of this name, if the user who asks may use it so.
    fn key_for(&self, named: &str, used_for: KeyUse) -> Result<KeyId> {
        let key = self.of_key(&KeyRef::parse(named)?, |key| key.id)?;
        self.check_policy(key, used_for)?;
        Ok(key)
    }

    fn check_policy(&self, key: KeyId, used_for: KeyUse) -> Result<()> {
        let user = Actor::current().user();
        if self.permits(key, user, &[used_for]) {
            return Ok(());
        }
        Err(KmsError::denied(&format!("uid:{user}"), used_for.action(), &arn(key)).into())
    }

    /// A blob of these data, in base64.
    fn seal(
        &self,
        key: KeyId,
        data: &[u8],
        context: &EncryptionContext,
        dry_run: bool,
    ) -> Result<(BackingKeyId, String)> {
        if dry_run {
            self.encrypts_with(key)?;
        }
        check_dry_run(dry_run)?;
        let data = Plaintext::new(data).map_err(|error| KmsError::validation(error.to_string()))?;
        let (used, blob) = self.seal_blob(key, data, context)?;
        Ok((used, BASE64.encode(blob)))
    }

    /// What a blob encrypts, which must be of the expected key if there is one.
    fn open(
        &self,
        blob: &[u8],
        context: &EncryptionContext,
        expected: Option<&str>,
        used_for: KeyUse,
    ) -> Result<(BackingKeyId, Zeroizing<Vec<u8>>)> {
        let expected = expected.map(|named| self.of_key(&KeyRef::parse(named)?, |key| key.id)).transpose()?;
        let blob = UnverifiedBlob::parse(blob).ok().filter(|blob| blob.vault() == self.vault_id());
        let blob = blob.ok_or_else(invalid_blob)?;
        let id = blob.backing();
        if expected.is_some_and(|expected| expected != id.key) {
            let message =
                "The key ID in the request does not identify a KMS key that can perform this operation.";
            return Err(KmsError::new(Name::IncorrectKeyException, message).into());
        }
        let manager = self.of_key(&KeyRef::Key(id.key), |key| key.manager).map_err(|_| no_key_of_blob())?;
        if manager == Manager::Service {
            return Err(invalid_blob());
        }
        self.check_policy(id.key, used_for)?;
        match self.open_blob(&blob, context) {
            Ok(data) => Ok((id, data)),
            Err(KeyError::Auth | KeyError::UnknownVersion(_)) => Err(invalid_blob()),
            // It may come back, with a keyring that is found again.
            Err(error @ KeyError::LostVersion(_)) => {
                Err(KmsError::new(Name::KeyUnavailableException, error.to_string()).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn material_of(&self, id: BackingKeyId) -> Result<String> {
        let material = self.of_key(&KeyRef::Key(id.key), |key| {
            key.version(id.version).map(|version| hex(&version.material_id))
        })?;
        material.ok_or_else(|| KeyError::UnknownVersion(id).into())
    }
}

impl Call {
    /// Whether it uses a key for data, and changes none.
    pub fn uses_data(&self) -> bool {
        matches!(
            self,
            Self::Encrypt(_)
                | Self::Decrypt(_)
                | Self::ReEncrypt(_)
                | Self::GenerateDataKey(_)
                | Self::GenerateDataKeyWithoutPlaintext(_)
                | Self::GenerateRandom(_)
        )
    }

    /// The key that a blob names which is handed in.
    pub(super) fn key_of_blob(&self) -> Option<KeyId> {
        let text = match self {
            Self::Decrypt(asked) => &asked.ciphertext_blob,
            Self::ReEncrypt(asked) => &asked.ciphertext_blob,
            _ => return None,
        };
        let bytes = decoded("ciphertextBlob", text, BLOB_MAX).ok()?;
        UnverifiedBlob::parse(&bytes).ok().map(|blob| blob.backing().key)
    }
}

/// Random bytes, of no key.
pub(super) fn random_answer(asked: &Random) -> Result<Done> {
    let bytes = random_bytes(random_length(asked.number_of_bytes)?);
    let mut answer = json!({});
    put_secret(&mut answer, &bytes);
    Ok(Done { used: Used::No, answer })
}

fn invalid_blob() -> CallError {
    KmsError::new(Name::InvalidCiphertextException, "The ciphertext is not one of this vault and context.")
        .into()
}

fn no_key_of_blob() -> CallError {
    let message =
        "The ciphertext refers to a KMS key that does not exist, or that you are not allowed to access.";
    KmsError::new(Name::AccessDeniedException, message).into()
}

fn check_dry_run(dry_run: bool) -> Result<()> {
    if dry_run {
        let message = "The request would have succeeded, but the DryRun option is set.";
        return Err(KmsError::new(Name::DryRunOperationException, message).into());
    }
    Ok(())
}

fn check_algorithm(asked: Option<&str>) -> Result<()> {
    match asked {
        None | Some(ALGORITHM) => Ok(()),
        Some(other @ ("RSAES_OAEP_SHA_1" | "RSAES_OAEP_SHA_256" | "SM2PKE")) => {
            let message = format!("Algorithm {other} is not valid for a key of spec {ALGORITHM}.");
            Err(KmsError::new(Name::InvalidKeyUsageException, message).into())
        }
        Some(other) => Err(KmsError::not_one_of(other, "encryptionAlgorithm", &[ALGORITHM]).into()),
    }
}

fn context(pairs: &Pairs) -> Result<EncryptionContext> {
    Ok(EncryptionContext::new(pairs.clone()).map_err(|error| KmsError::validation(format!("{error}.")))?)
}

/// The bytes of a parameter in base64: at least one, and at most so many.
fn decoded(field: &str, text: &str, most: usize) -> Result<Vec<u8>> {
    let length = || {
        KmsError::constraint("", field, &format!("Member must have length between 1 and {most}, inclusive"))
    };
    // Checked before it is decoded: four characters for three bytes.
    if text.is_empty() || text.len() / 4 > most / 3 + 1 {
        return Err(length().into());
    }
    let bytes = BASE64.decode(text).map_err(|_| KmsError::constraint("", field, "Member must be base64"))?;
    if (1..=most).contains(&bytes.len()) { Ok(bytes) } else { Err(length().into()) }
}

fn random_length(asked: Option<i64>) -> Result<usize> {
    let asked = asked.ok_or_else(|| KmsError::validation("Please specify the number of bytes."))?;
    let fits = usize::try_from(asked).ok().filter(|_| (1..=RANDOM_MAX).contains(&asked));
    fits.ok_or_else(|| KmsError::out_of_range("numberOfBytes", asked, 1, RANDOM_MAX).into())
}

fn random_bytes(length: usize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    random::fill(&mut bytes);
    bytes
}
