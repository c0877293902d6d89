//! AWS Signature Version 4, the server's side: whether a request was signed with the secret of the access key that it names.
//! Bytes in, an answer out; no clock and no I/O. Source: "AWS Signature Version 4 for API requests" in AWS's IAM guide.
//!
//! What holds of a request that [`Claim::verify`] accepts:
//!
//! - The secret's holder signed its method, its body and the signed headers, for this day, region and service. The
//!   signed headers include `host`, `x-amz-date`, and every `x-amz-*` header and `content-type` that the request has, each
//!   of them once. So nothing that decides what is done can be changed on the way.
//! - It was signed within [`amz_date::WINDOW`] of this host's clock.
//! - Within that time it can be sent again, as SigV4 allows. A signature is not remembered: SDKs date requests by the second
//!   and sign nothing that tells two equal ones apart, so three `create_key()` in a loop have one signature and mean three
//!   keys.
//!
//! Only the form with an `Authorization` header is known. Presigned URLs, session tokens, chunked payloads and the
//! asymmetric SigV4a are refused.

mod amz_date;
mod authorization;
mod error;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use amz_date::AmzDate;
pub(crate) use authorization::{Claim, Scope};
pub(crate) use error::SignatureError;

/// What was signed: a request for `/` without a query. The service has no other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// A secret access key: no Debug, wiped when it is dropped.
#[derive(Clone)]
pub(crate) struct SecretKey(Zeroizing<String>);

impl SecretKey {
    pub(crate) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The key that signs for one day, region and service.
    fn signing_key(&self, date: &AmzDate, scope: &Scope) -> Zeroizing<[u8; 32]> {
        let first = Zeroizing::new(format!("AWS4{}", self.0.as_str()));
        let by_day = mac(first.as_bytes(), date.day().as_bytes());
        let by_region = mac(by_day.as_slice(), scope.region.as_bytes());
        let by_service = mac(by_region.as_slice(), scope.service.as_bytes());
        mac(by_service.as_slice(), authorization::TERMINATOR.as_bytes())
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key"))
}

fn mac(key: &[u8], data: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(keyed(key).chain_update(data).finalize().into_bytes().into())
}

impl Claim {
    /// Checks the signature, in a time that doesn't depend on where it is wrong.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`].
    pub(crate) fn verify(
        &self,
        secret: &SecretKey,
        scope: &Scope,
        signed: &Signed<'_>,
    ) -> Result<(), SignatureError> {
        let canonical = canonical_request(signed, self.signed_headers());
        let text = string_to_sign(self.date(), scope, &canonical);
        let key = secret.signing_key(self.date(), scope);
        let expected = keyed(key.as_slice()).chain_update(text.as_bytes());
        expected.verify_slice(self.signature()).map_err(|_| SignatureError::Mismatch)
    }
}

/// The request in the one form that both sides hash.
fn canonical_request(signed: &Signed<'_>, signed_headers: &[String]) -> String {
    let mut out = format!("{}\n/\n\n", signed.method);
    for name in signed_headers {
        let values: Vec<String> = signed
            .headers
            .get_all(name)
            .iter()
            .map(|value| canonical_value(&String::from_utf8_lossy(value.as_bytes())))
            .collect();
        out.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    out.push_str(&format!(
        "\n{}\n{}",
        signed_headers.join(";"),
        HEXLOWER.encode(&Sha256::digest(signed.body))
    ));
    out
}

/// Without spaces at its ends, and one space where there are several.
fn canonical_value(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn string_to_sign(date: &AmzDate, scope: &Scope, canonical: &str) -> String {
    format!(
        "{}\n{date}\n{}/{}/{}/{}\n{}",
        authorization::ALGORITHM,
        date.day(),
        scope.region,
        scope.service,
        authorization::TERMINATOR,
        HEXLOWER.encode(&Sha256::digest(canonical.as_bytes()))
    )
}

#[cfg(test)]
mod tests;
