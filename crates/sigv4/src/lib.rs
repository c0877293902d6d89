//! AWS Signature Version 4, what its two sides have in common: the canonical form of a request, and the HMAC of it. Bytes in,
//! bytes out; no clock and no I/O. Source: "AWS Signature Version 4 for API requests" in AWS's IAM guide.
//!
//! Requests are for `/` and have no query: KMS and STS know no others. Whoever calls says which headers are signed; what a
//! server demands of them, and of a date, is its own.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The one algorithm that is known.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What a scope ends with.
pub const TERMINATOR: &str = "aws4_request";
/// Bytes of the day at the beginning of a date.
const DAY: usize = "20150830".len();

/// A secret access key: no Debug, wiped when it is dropped.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<String>);

impl SecretKey {
    /// From its text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// When and where a signature is good.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// As `x-amz-date` has it: `20150830T123600Z`.
    pub date: &'a str,
    /// As in `us-east-1`.
    pub region: &'a str,
    /// As in `kms`.
    pub service: &'a str,
}

impl Scope<'_> {
    /// As in `20150830`.
    fn day(&self) -> &str {
        self.date.get(..DAY).unwrap_or(self.date)
    }

    /// As a credential has it behind the access key: `20150830/us-east-1/kms/aws4_request`.
    fn text(&self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.day(), self.region, self.service)
    }

    /// The signature of a request.
    pub fn sign(&self, secret: &SecretKey, request: &CanonicalRequest) -> [u8; 32] {
        self.mac(secret, request).finalize().into_bytes().into()
    }

    /// Whether this is the signature of a request, in a time that doesn't depend on where it is wrong.
    pub fn is_signed(&self, secret: &SecretKey, request: &CanonicalRequest, signature: &[u8; 32]) -> bool {
        self.mac(secret, request).verify_slice(signature).is_ok()
    }

    /// The value of the `authorization` header.
    pub fn authorization(&self, access_key: &str, secret: &SecretKey, request: &CanonicalRequest) -> String {
        let signature = HEXLOWER.encode(&self.sign(secret, request));
        format!(
            "{ALGORITHM} Credential={access_key}/{}, SignedHeaders={}, Signature={signature}",
            self.text(),
            request.names
        )
    }

    fn mac(&self, secret: &SecretKey, request: &CanonicalRequest) -> Hmac<Sha256> {
        let hash = HEXLOWER.encode(&Sha256::digest(request.text.as_bytes()));
        let to_sign = format!("{ALGORITHM}\n{}\n{}\n{hash}", self.date, self.text());
        let first = Zeroizing::new(format!("AWS4{}", secret.0.as_str()));
        let by_day = mac(first.as_bytes(), self.day());
        let by_region = mac(by_day.as_slice(), self.region);
        let by_service = mac(by_region.as_slice(), self.service);
        let key = mac(by_service.as_slice(), TERMINATOR);
        keyed(key.as_slice()).chain_update(to_sign.as_bytes())
    }
}

/// A request in the one form that both sides hash.
#[derive(Clone, Debug)]
pub struct CanonicalRequest {
    text: String,
    /// Of the signed headers, with `;` between them.
    names: String,
}

impl CanonicalRequest {
    /// Of a method, the signed headers in the order of their names (in lower case, each with its values), and a body.
    pub fn new<'a>(
        method: &str,
        headers: impl IntoIterator<Item = (&'a str, Vec<&'a [u8]>)>,
        body: &[u8],
    ) -> Self {
        let mut text = format!("{method}\n/\n\n");
        let mut names = Vec::new();
        for (name, values) in headers {
            let values: Vec<String> = values.into_iter().map(canonical_value).collect();
            text.push_str(&format!("{name}:{}\n", values.join(",")));
            names.push(name);
        }
        let names = names.join(";");
        text.push_str(&format!("\n{names}\n{}", HEXLOWER.encode(&Sha256::digest(body))));
        Self { text, names }
    }
}

/// Without spaces at its ends, and one space where there are several.
fn canonical_value(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key"))
}

fn mac(key: &[u8], data: &str) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(keyed(key).chain_update(data.as_bytes()).finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// get-vanilla of AWS's test suite (aws-sig-v4-test-suite); the console's tests have the others, which a server checks.
    #[test]
    fn a_published_request_is_signed_as_published() {
        let secret = SecretKey::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned());
        let scope = Scope { date: "20150830T123600Z", region: "us-east-1", service: "service" };
        let headers: [(&str, Vec<&[u8]>); 2] =
            [("host", vec![b"example.amazonaws.com"]), ("x-amz-date", vec![b"20150830T123600Z"])];
        let request = CanonicalRequest::new("GET", headers, b"");
        let signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        assert_eq!(
            scope.authorization("AKIDEXAMPLE", &secret, &request),
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature={signature}"
            )
        );
        assert!(scope.is_signed(&secret, &request, &scope.sign(&secret, &request)));
        assert!(!scope.is_signed(&secret, &request, &[0; 32]));
    }
}
