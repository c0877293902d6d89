//! The `Authorization` header and what belongs to it: what a request says of its signature. Nothing of it is authentic yet.

use data_encoding::HEXLOWER;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use rekeyfs::ids::Timestamp;
use rekeyfs_sigv4::{ALGORITHM, TERMINATOR};

use super::amz_date::AmzDate;
use super::error::SignatureError;

const AMZ_DATE: &str = "x-amz-date";
const AMZ_PREFIX: &str = "x-amz-";
const SESSION_TOKEN: &str = "x-amz-security-token";

/// Where a signature is good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Scope {
    /// As in `us-east-1`.
    pub(crate) region: String,
    /// As in `kms`.
    pub(crate) service: &'static str,
}

/// What a request says of its signature, in the right form, for this scope and time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    access_key: String,
    date: AmzDate,
    /// In order, each once, in lower case.
    signed_headers: Vec<String>,
    signature: [u8; 32],
}

impl Claim {
    /// The claim that these headers make.
    ///
    /// # Errors
    /// [`SignatureError`]; everything that can be refused before the secret and the body are known.
    pub(crate) fn parse(headers: &HeaderMap, scope: &Scope, now: Timestamp) -> Result<Self, SignatureError> {
        let Some(value) = once(headers, &AUTHORIZATION)? else { return Err(SignatureError::Missing) };
        if headers.contains_key(SESSION_TOKEN) {
            return Err(SignatureError::Unrecognized);
        }
        let fields = Fields::parse(value)?;
        let date = once(headers, &HeaderName::from_static(AMZ_DATE))?.and_then(AmzDate::parse);
        let date =
            date.ok_or_else(|| incomplete("Authorization header requires a valid 'X-Amz-Date' header."))?;
        let access_key = scoped(fields.credential, &date, scope)?.to_owned();
        let signed_headers = signed_headers(fields.signed_headers, headers)?;
        let signature =
            HEXLOWER.decode(fields.signature.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        let signature = signature.ok_or_else(|| incomplete("Signature must be 64 hexadecimal digits."))?;
        date.check(now)?;
        Ok(Self { access_key, date, signed_headers, signature })
    }

    pub(crate) fn access_key(&self) -> &str {
        &self.access_key
    }

    pub(super) fn date(&self) -> &AmzDate {
        &self.date
    }

    pub(super) fn signed_headers(&self) -> &[String] {
        &self.signed_headers
    }

    pub(super) fn signature(&self) -> &[u8; 32] {
        &self.signature
    }
}

/// The parts of the header's value.
struct Fields<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Fields<'a> {
    fn parse(value: &'a str) -> Result<Self, SignatureError> {
        let rest = value
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(|| incomplete(&format!("Authorization must begin with '{ALGORITHM}'.")))?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            let (name, value) = part.trim().split_once('=').unwrap_or_default();
            let field = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(incomplete("Authorization takes Credential, SignedHeaders and Signature.")),
            };
            if field.replace(value).is_some() {
                return Err(incomplete(&format!("Authorization has '{name}' twice.")));
            }
        }
        let needs = |name: &str| incomplete(&format!("Authorization header requires '{name}' parameter."));
        Ok(Self {
            credential: credential.ok_or_else(|| needs("Credential"))?,
            signed_headers: signed_headers.ok_or_else(|| needs("SignedHeaders"))?,
            signature: signature.ok_or_else(|| needs("Signature"))?,
        })
    }
}

/// The access key of a credential `KEY/DAY/REGION/SERVICE/aws4_request` that is for this scope.
fn scoped<'a>(credential: &'a str, date: &AmzDate, scope: &Scope) -> Result<&'a str, SignatureError> {
    let parts: Vec<&str> = credential.split('/').collect();
    let [access_key, day, region, service, TERMINATOR] = parts[..] else {
        return Err(incomplete("Credential must be KEY/DATE/REGION/SERVICE/aws4_request."));
    };
    let wrong = |what: String| Err(SignatureError::OutOfScope(what));
    if day != date.day() {
        return wrong(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date: {date}"
        ));
    }
    if region != scope.region {
        return wrong(
            format!("Credential should be scoped to a valid region, not '{}'. ", region.escape_debug())
                + &format!("This endpoint is in {}.", scope.region),
        );
    }
    if service != scope.service {
        return wrong(format!("Credential should be scoped to correct service: '{}'.", scope.service));
    }
    Ok(access_key)
}

/// The names of the signed headers, of which none that counts is missing.
fn signed_headers(list: &str, headers: &HeaderMap) -> Result<Vec<String>, SignatureError> {
    let names: Vec<String> = list.split(';').map(str::to_owned).collect();
    let in_order = names.windows(2).all(|pair| pair[0] < pair[1]);
    let lower = names.iter().all(|name| !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    if !in_order || !lower {
        return Err(incomplete("SignedHeaders must be in lower case, in order, each once."));
    }
    if let Some(missing) = names.iter().find(|name| !headers.contains_key(name.as_str())) {
        return Err(incomplete(&format!("The signed header '{}' is missing.", missing.escape_debug())));
    }
    let counts =
        |name: &HeaderName| *name == HOST || *name == CONTENT_TYPE || name.as_str().starts_with(AMZ_PREFIX);
    for name in headers.keys().filter(|name| counts(name)) {
        once(headers, name)?;
        if !names.iter().any(|signed| signed == name.as_str()) {
            return Err(incomplete(&format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.")));
        }
    }
    if !names.iter().any(|name| name == HOST.as_str()) {
        return Err(incomplete("'host' must be a 'SignedHeader' in the AWS Authorization."));
    }
    Ok(names)
}

/// A header's value, of which there are no two.
fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(incomplete(&format!("The header '{name}' is there twice.")));
    }
    let text = first.map(|value| value.to_str()).transpose();
    text.map_err(|_| incomplete(&format!("The header '{name}' isn't ASCII.")))
}

fn incomplete(message: &str) -> SignatureError {
    SignatureError::Incomplete(message.to_owned())
}
