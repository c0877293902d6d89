//! KMS's operations, of which three are used: Encrypt, Decrypt and DescribeKey.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::BASE64;
use jiff::Timestamp;
use rekeyfs_custodians::{Allowed, Kind, Refusal};
use rekeyfs_sigv4::{CanonicalRequest, Scope};
use serde::Serialize;
use serde_json::Value;
use ureq::http::Request;
use zeroize::Zeroizing;

use super::answer::{internal, refused, text};
use super::credentials::{self, Credentials, Profiles};
use super::endpoint::{KeyName, Place};
use super::http::{Http, Url};

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// For DescribeKey: the key is open by then, and rekeyfs waits for no more than its time.
const DESCRIBE: Duration = Duration::from_secs(1);
/// More than a request has.
const ROOM: usize = 64 << 10;

/// KMS in one region, as somebody with credentials.
pub(super) struct Kms {
    http: Http,
    url: Url,
    region: String,
    credentials: Credentials,
}

/// What Encrypt gives.
pub(super) struct Encrypted {
    pub(super) blob: Vec<u8>,
    /// The key's ARN.
    pub(super) key: String,
}

/// What Decrypt gives.
pub(super) struct Decrypted {
    /// In base64.
    pub(super) plain: Zeroizing<String>,
    /// The id of the material that it was encrypted under.
    pub(super) material: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Call<'a> {
    key_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_blob: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_context: Option<&'a BTreeMap<String, String>>,
}

impl<'a> Call<'a> {
    fn of(key_id: &'a str) -> Self {
        Self { key_id, plaintext: None, ciphertext_blob: None, encryption_context: None }
    }
}

impl Kms {
    /// Where this key is, with the credentials that are found.
    ///
    /// # Errors
    /// Where that is can't be told; there are no credentials.
    pub(super) fn of(key: &KeyName, allowed: &Allowed) -> Result<Self, Refusal> {
        let profiles = Profiles::read(allowed)?;
        let place = Place::of(key, allowed, || profiles.region())?;
        let (http, url) = (Http::secured(), place.kms()?);
        let credentials = credentials::find(&profiles, &http, &place, allowed)?;
        Ok(Self { http, url, region: place.region, credentials })
    }

    /// Has a key encrypt a text that is base64.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn encrypt(
        &self,
        key: &str,
        context: &BTreeMap<String, String>,
        plain: &str,
    ) -> Result<Encrypted, Refusal> {
        let call = Call { plaintext: Some(plain), encryption_context: Some(context), ..Call::of(key) };
        let answer = self.call("Encrypt", &call, None)?;
        let blob = text(&answer, "CiphertextBlob").and_then(|text| BASE64.decode(text.as_bytes()).ok());
        let key = text(&answer, "KeyId").map(|key| key.to_string());
        Ok(Encrypted { blob: blob.ok_or_else(internal)?, key: key.ok_or_else(internal)? })
    }

    /// Has a key decrypt what it encrypted, of which this is the base64.
    ///
    /// # Errors
    /// [`Refusal`]; [`Kind::Damaged`] if it is another key's, or has another context.
    pub(super) fn decrypt(
        &self,
        key: &str,
        context: &BTreeMap<String, String>,
        blob: &str,
    ) -> Result<Decrypted, Refusal> {
        let call = Call { ciphertext_blob: Some(blob), encryption_context: Some(context), ..Call::of(key) };
        let answer = self.call("Decrypt", &call, None)?;
        if text(&answer, "KeyId").is_none_or(|id| *id != key) {
            return Err(Refusal::new(Kind::Damaged, "KMS decrypted it by another key"));
        }
        let material = text(&answer, "KeyMaterialId").map(|id| id.to_string());
        Ok(Decrypted { plain: text(&answer, "Plaintext").ok_or_else(internal)?, material })
    }

    /// The id of the material that a key encrypts with now, if it has one. Only a moment is waited for it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn current_material(&self, key: &str) -> Result<Option<String>, Refusal> {
        let answer = self.call("DescribeKey", &Call::of(key), Some(DESCRIBE))?;
        let current = answer.get("KeyMetadata").and_then(|about| about.get("CurrentKeyMaterialId"));
        Ok(current.and_then(Value::as_str).map(str::to_owned))
    }

    fn call(&self, operation: &str, call: &Call<'_>, limit: Option<Duration>) -> Result<Value, Refusal> {
        // Allocated once: it has the key.
        let mut body = Zeroizing::new(Vec::with_capacity(ROOM));
        serde_json::to_writer(&mut *body, call).map_err(|_| internal())?;
        let sent = Timestamp::now();
        let request = self.signed(operation, &body, sent).map_err(|_| internal())?;
        let answer = self.http.send_within(request, limit)?;
        let parsed = serde_json::from_slice(&answer.body);
        if answer.status == 200 {
            return parsed.map_err(|_| internal());
        }
        Err(refused(&answer, parsed.unwrap_or(Value::Null), sent))
    }

    fn signed<'a>(
        &self,
        operation: &str,
        body: &'a [u8],
        at: Timestamp,
    ) -> Result<Request<&'a [u8]>, ureq::http::Error> {
        let date = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let target = format!("TrentService.{operation}");
        let Credentials { access_key, secret, token } = &self.credentials;
        // In the order of their names.
        let mut headers = vec![
            ("content-type", CONTENT_TYPE),
            ("host", self.url.authority()),
            ("x-amz-date", date.as_str()),
        ];
        headers.extend(token.as_ref().map(|token| ("x-amz-security-token", token.as_str())));
        headers.push(("x-amz-target", target.as_str()));
        let canonical = headers.iter().map(|(name, value)| (*name, vec![value.as_bytes()]));
        let canonical = CanonicalRequest::new("POST", canonical, body);
        let scope = Scope { date: &date, region: &self.region, service: "kms" };
        let authorization = scope.authorization(access_key, secret, &canonical);
        let request = Request::post(self.url.to_string()).header("authorization", authorization);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(body)
    }
}
