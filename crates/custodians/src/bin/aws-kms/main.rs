//! AWS KMS: a key that a KMS key encrypts and decrypts, with what it is for as its encryption context.
//!
//! Parameters: `{"key": "arn:aws:kms:REGION:ACCOUNT:key/ID"}`; `wrap` takes an alias or an id of a key too, and pins the ARN that KMS
//! answers with. `custodians.conf` may have
//!
//! | word | |
//! |--|--|
//! | `endpoint=URL` | where KMS is, instead of `https://kms.REGION.amazonaws.com` |
//! | `region=NAME` | the only regions that keys may be of; the first is that of an alias |
//! | `file=PATH` | files of profiles, instead of `~/.aws/credentials` and `~/.aws/config` |
//! | `plugin=PATH` | programs that a profile's `credential_process` may be |
//! | `env=NAME` | of `AWS_PROFILE`, `AWS_ACCESS_KEY_ID` and others of AWS's variables: `credentials` and `endpoint` say which |
//!
//! A blob is KMS's ciphertext. Decrypt names the key, so KMS refuses another one's. KMS authenticates the context, and its log
//! (CloudTrail) has it. A version is the id of the key's material, of which KMS draws a new one when the key is rotated.
//!
//! The key and the credentials are in memory that is wiped; copies that TLS makes aren't. The process ends with its answer and
//! can't be dumped.

mod answer;
mod credentials;
mod endpoint;
mod http;
mod kms;

use data_encoding::BASE64;
use rekeyfs_custodians::{Custodian, Kind, Refusal, Request, Secret, Unwrapped, Wrapped, serve};
use serde_json::{Map, json};

use endpoint::KeyName;
use kms::Kms;

struct AwsKms;

impl Custodian for AwsKms {
    fn wrap(&self, request: &Request, secret: &Secret) -> Result<Wrapped, Refusal> {
        let key: KeyName = request.text("key")?.parse()?;
        let kms = Kms::of(&key, &request.allowed)?;
        let plain = secret.to_base64();
        let encrypted = kms.encrypt(&key.to_string(), &request.context, &plain)?;
        let pinned = encrypted.key.parse().map_err(|_| other_key(&encrypted.key))?;
        let KeyName::Key(_) = pinned else { return Err(other_key(&encrypted.key)) };
        // Only decrypting tells which material it was.
        let decrypted = kms.decrypt(&encrypted.key, &request.context, &BASE64.encode(&encrypted.blob))?;
        if *decrypted.plain != *plain {
            return Err(Refusal::new(Kind::Internal, "KMS decrypts to another key than it encrypted"));
        }
        let params = Map::from_iter([("key".to_owned(), json!(encrypted.key))]);
        Ok(Wrapped { blob: encrypted.blob, params: Some(params), version: decrypted.material })
    }

    fn unwrap(&self, request: &Request, blob: &[u8]) -> Result<Unwrapped, Refusal> {
        let text = request.text("key")?;
        let key: KeyName = text.parse()?;
        let KeyName::Key(_) = key else {
            return Err(Refusal::new(Kind::Damaged, "its parameters don't name a key by its ARN"));
        };
        let kms = Kms::of(&key, &request.allowed)?;
        let decrypted = kms.decrypt(text, &request.context, &BASE64.encode(blob))?;
        let secret = Secret::from_base64(&decrypted.plain);
        let secret =
            secret.ok_or_else(|| Refusal::new(Kind::Damaged, "what KMS decrypted is no key of 32 bytes"))?;
        let rewrap = decrypted.material.is_some_and(|used| {
            // Who may decrypt needn't be allowed to describe: then nothing is known of a rotation.
            let current = kms.current_material(text).ok().flatten();
            current.is_some_and(|current| current != used)
        });
        Ok(Unwrapped { secret, rewrap })
    }
}

fn other_key(said: &str) -> Refusal {
    Refusal::new(Kind::Internal, format!("KMS answers with the key {said:?}, which is no ARN of one"))
}

fn main() {
    serve(&AwsKms)
}
