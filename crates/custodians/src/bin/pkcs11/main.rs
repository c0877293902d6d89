//! PKCS#11: a key of an HSM, a smart card or another token wraps, and never leaves it.
//!
//! Parameters: `{"uri": "pkcs11:token=…;object=…"}`, to which wrapping adds `mechanism` and the key's `id`; which module of several
//! may be said by `module`. `module=` in `custodians.conf` names the libraries; `file=` the PINs' files, each named like its token.

mod key;
mod said;
mod token;

use data_encoding::HEXLOWER;
use rekeyfs_custodians::{Custodian, Kind, Pkcs11Uri, Refusal, Request, Secret, Unwrapped, Wrapped, serve};

use key::{Key, Mechanism};
use token::Token;

struct Pkcs11;

impl Custodian for Pkcs11 {
    fn wrap(&self, request: &Request, secret: &Secret) -> Result<Wrapped, Refusal> {
        // What was found by an earlier wrapping doesn't count: this one may be for another key.
        let uri = Pkcs11Uri::parse(request.text("uri")?)?;
        let token = Token::find(request, &uri)?;
        let session = token.log_in(request)?;
        let key = Key::for_wrapping(&token, &session, &uri)?;
        let (mechanism, blob) = key.wrap(request, secret)?;
        let mut params = request.params.clone();
        params.insert("mechanism".to_owned(), mechanism.name().into());
        params.insert("id".to_owned(), HEXLOWER.encode(key.id()).into());
        Ok(Wrapped { blob, params: Some(params), version: None })
    }

    fn unwrap(&self, request: &Request, blob: &[u8]) -> Result<Unwrapped, Refusal> {
        let mut uri = Pkcs11Uri::parse(request.text("uri")?)?;
        let mechanism = Mechanism::named(request.text("mechanism")?)?;
        let id = HEXLOWER.decode(request.text("id")?.as_bytes());
        let id = id.map_err(|_| Refusal::new(Kind::Damaged, "its parameter id isn't hexadecimal"))?;
        // A key that was made without an id has its label alone.
        if !id.is_empty() {
            uri.id = Some(id);
        }
        let token = Token::find(request, &uri)?;
        let session = token.log_in(request)?;
        let secret =
            Key::for_unwrapping(&token, &session, &uri, mechanism)?.unwrap(request, mechanism, blob)?;
        Ok(Unwrapped { secret, rewrap: false })
    }
}

fn main() {
    serve(&Pkcs11)
}
