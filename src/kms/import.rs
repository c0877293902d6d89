//! Importing key material: `GetParametersForImport`, `ImportKeyMaterial`, `DeleteImportedKeyMaterial`.
//!
//! No state is kept between the first two. The import token holds the private key, the id of the key that it is for, and
//! when it expires, sealed under a key derived from the root key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::error::{CallError, KmsError, KmsErrorName as Name};
use super::responses;
use crate::crypto::import::{self, ImportKey, Oaep};
use crate::events::arn;
use crate::ids::{KeyId, Timestamp};
use crate::keyring::{ImportType, KeyRef, Keys};

type Result<T> = std::result::Result<T, CallError>;

/// How long an import token is good for, in milliseconds: a day, as with AWS.
const TOKEN_LIFE: i64 = 86_400_000;
/// How far ahead material may expire, in milliseconds: a year, as with AWS.
const EXPIRY_MAX: i64 = 365 * 86_400_000;

/// The content of an import token.
struct Token {
    key: KeyId,
    oaep: Oaep,
    ends: Timestamp,
    private: Zeroizing<Vec<u8>>,
}

impl Token {
    fn seal(&self, keys: &Keys) -> Vec<u8> {
        let oaep = match self.oaep {
            Oaep::Sha256 => 0,
            Oaep::Sha1 => 1,
        };
        // Of its final length, so that growing leaves no copy behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(25 + self.private.len()));
        plain.extend_from_slice(self.key.as_bytes());
        plain.push(oaep);
        plain.extend_from_slice(&self.ends.0.to_le_bytes());
        plain.extend_from_slice(&self.private);
        keys.import_token_key().seal(&[], &plain)
    }

    fn open(keys: &Keys, sealed: &[u8]) -> Option<Self> {
        let plain = keys.import_token_key().open(&[], sealed).ok()?;
        let (key, rest) = plain.split_first_chunk::<16>()?;
        let (oaep, rest) = rest.split_first()?;
        let (ends, private) = rest.split_first_chunk::<8>()?;
        let oaep = match oaep {
            0 => Oaep::Sha256,
            1 => Oaep::Sha1,
            _ => return None,
        };
        Some(Self {
            key: KeyId::from_bytes(*key),
            oaep,
            ends: Timestamp(i64::from_le_bytes(*ends)),
            private: Zeroizing::new(private.to_vec()),
        })
    }
}

/// What is asked of an import, beside the material.
pub(super) struct Import<'a> {
    pub(super) key_id: &'a str,
    pub(super) token: &'a str,
    pub(super) material: &'a str,
    pub(super) expiration_model: Option<&'a str>,
    pub(super) valid_to: Option<&'a str>,
    pub(super) import_type: Option<&'a str>,
    /// The id that the material must have.
    pub(super) material_id: Option<&'a str>,
}

impl Keys {
    pub(super) fn parameters_for_import(&self, key_id: &str, algorithm: &str, spec: &str) -> Result<Value> {
        let key = self.of_key(&KeyRef::parse_key(key_id)?, |key| key.may_import().map(|()| key.id))??;
        let oaep = match algorithm {
            "RSAES_OAEP_SHA_256" => Oaep::Sha256,
            "RSAES_OAEP_SHA_1" => Oaep::Sha1,
            other => return Err(unsupported("WrappingAlgorithm", other, "RSAES_OAEP_SHA_256").into()),
        };
        let bits = match spec {
            "RSA_2048" => 2048,
            "RSA_3072" => 3072,
            "RSA_4096" => 4096,
            other => return Err(unsupported("WrappingKeySpec", other, "RSA_2048, _3072 or _4096").into()),
        };
        let pair = ImportKey::generate(bits).ok_or_else(|| {
            let why = "This build of rekeyfs has no RSA: it was made without the feature aws-lc.";
            KmsError::new(Name::UnsupportedOperationException, why)
        })?;
        let ends = Timestamp(self.now().0.saturating_add(TOKEN_LIFE));
        let token = Token { key, oaep, ends, private: pair.private }.seal(self);
        Ok(json!({
            "KeyId": arn(key),
            "ImportToken": BASE64.encode(token),
            "PublicKey": BASE64.encode(pair.public),
            "ParametersValidTo": responses::date(ends),
        }))
    }

    pub(super) fn import_key_material(&self, asked: &Import<'_>) -> Result<Value> {
        let now = self.now();
        let key = self.of_key(&KeyRef::parse_key(asked.key_id)?, |key| key.id)?;
        let kind = match asked.import_type {
            None => None,
            Some("NEW_KEY_MATERIAL") => Some(ImportType::New),
            Some("EXISTING_KEY_MATERIAL") => Some(ImportType::Existing),
            Some(other) => return Err(unknown_value("importType", other).into()),
        };
        let expires = expiry(asked, now)?;
        let expected = asked.material_id.map(parse_material_id).transpose()?;
        let token = BASE64.decode(asked.token).ok().and_then(|sealed| Token::open(self, &sealed));
        let token = token.filter(|token| token.key == key).ok_or_else(|| {
            KmsError::new(Name::InvalidImportTokenException, "The import token isn't one of this key.")
        })?;
        if token.ends <= now {
            let why = "The import token has expired; get new parameters.";
            return Err(KmsError::new(Name::ExpiredImportTokenException, why).into());
        }
        let wrapped = BASE64.decode(asked.material).ok();
        let material = wrapped.and_then(|w| import::unwrap(&token.private, token.oaep, &w).ok());
        let material = material.ok_or_else(|| {
            let why = "It doesn't unwrap to 32 bytes of key material with the key of this import token.";
            KmsError::new(Name::InvalidCiphertextException, why)
        })?;
        if expected.is_some_and(|expected| expected != material.material_id(key)) {
            let why = "The key material isn't the one that the KeyMaterialId names.";
            return Err(KmsError::new(Name::IncorrectKeyMaterialException, why).into());
        }
        let id = self.import_material(key, material, kind, expires)?;
        Ok(json!({ "KeyId": arn(key), "KeyMaterialId": responses::hex(&id) }))
    }

    pub(super) fn delete_imported(&self, key_id: &str, material: Option<&str>) -> Result<Value> {
        let key = self.of_key(&KeyRef::parse_key(key_id)?, |key| key.id)?;
        let wanted = material.map(parse_material_id).transpose()?;
        let id = self.delete_material(key, wanted)?;
        Ok(json!({ "KeyId": arn(key), "KeyMaterialId": responses::hex(&id) }))
    }
}

fn parse_material_id(text: &str) -> std::result::Result<[u8; 32], KmsError> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| unknown_value("keyMaterialId", text))
}

/// When the material expires.
fn expiry(asked: &Import<'_>, now: Timestamp) -> Result<Option<Timestamp>> {
    let refused = |why: &str| Err(KmsError::validation(why).into());
    match (asked.expiration_model.unwrap_or("KEY_MATERIAL_EXPIRES"), asked.valid_to) {
        ("KEY_MATERIAL_DOES_NOT_EXPIRE", None) => Ok(None),
        ("KEY_MATERIAL_DOES_NOT_EXPIRE", Some(_)) => {
            refused("Key material that doesn't expire has no ValidTo; leave it out.")
        }
        ("KEY_MATERIAL_EXPIRES", None) => refused(
            "Key material that expires needs a ValidTo; or say that the ExpirationModel is \
             KEY_MATERIAL_DOES_NOT_EXPIRE.",
        ),
        ("KEY_MATERIAL_EXPIRES", Some(text)) => {
            let Some(at) = Timestamp::parse(text) else {
                return refused(
                    "ValidTo isn't a time; write seconds since 1970 or a date like 2027-01-31T12:00:00Z.",
                );
            };
            if at <= now || at.0 > now.0.saturating_add(EXPIRY_MAX) {
                return refused("ValidTo must be in the future, and at most 365 days ahead.");
            }
            Ok(Some(at))
        }
        (other, _) => Err(unknown_value("expirationModel", other).into()),
    }
}

fn unsupported(what: &str, given: &str, wanted: &str) -> KmsError {
    let message = format!("{what} {} isn't supported; it is {wanted}.", given.escape_debug());
    KmsError::new(Name::UnsupportedOperationException, message)
}

fn unknown_value(what: &str, given: &str) -> KmsError {
    let given = given.escape_debug();
    KmsError::validation(format!(
        "1 validation error detected: Value '{given}' at '{what}' isn't one of its values"
    ))
}
