//! AWS Signature Version 4, the server's side: whether a request was signed with the secret of the access key that it names.
//! Bytes in, an answer out; no clock and no I/O. What it has in common with a client's side is the crate `rekeyfs-sigv4`.
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

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use rekeyfs_sigv4::CanonicalRequest;
pub(crate) use rekeyfs_sigv4::SecretKey;

pub(crate) use authorization::{Claim, Scope};
pub(crate) use error::SignatureError;

/// What was signed: a request for `/` without a query. The service has no other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
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
        let date = self.date().to_string();
        let scope = rekeyfs_sigv4::Scope { date: &date, region: &scope.region, service: scope.service };
        let request = signed.canonical(self.signed_headers());
        if scope.is_signed(secret, &request, self.signature()) {
            Ok(())
        } else {
            Err(SignatureError::Mismatch)
        }
    }
}

impl Signed<'_> {
    /// With these headers as the signed ones.
    fn canonical(&self, signed_headers: &[String]) -> CanonicalRequest {
        let values = |name: &String| self.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let headers = signed_headers.iter().map(|name| (name.as_str(), values(name)));
        CanonicalRequest::new(self.method, headers, self.body)
    }
}

#[cfg(test)]
mod tests;
