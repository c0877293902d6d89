//! A token's key, and how it wraps.
//!
//! | mechanism | blob | what the key is for |
//! |--|--|--|
//! | `aes-gcm` | IV (12 bytes), ciphertext (32), tag (16) | is authenticated with it |
//! | `rsa-oaep-sha256`, `rsa-oaep-sha1` | as long as the modulus | stands in the plaintext |
//!
//! OAEP with SHA-1 is for tokens that can't do it with SHA-256: what OAEP needs of its hash isn't what SHA-1 lost.

use cryptoki::error::Error;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism as TokenMechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use rekeyfs_custodians::{
    KeyClass, Kind, Pkcs11Uri, Refusal, Request, Secret, bind, bound_secret, context_line,
};
use zeroize::Zeroizing;

use super::said::refusal;
use super::token::Token;

const IV: usize = 12;
const TAG_BITS: u64 = 128;

/// How a key wraps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mechanism {
    AesGcm,
    RsaOaepSha256,
    RsaOaepSha1,
}

impl Mechanism {
    const ALL: [Self; 3] = [Self::AesGcm, Self::RsaOaepSha256, Self::RsaOaepSha1];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aes-gcm",
            Self::RsaOaepSha256 => "rsa-oaep-sha256",
            Self::RsaOaepSha1 => "rsa-oaep-sha1",
        }
    }

    pub(super) fn named(name: &str) -> Result<Self, Refusal> {
        let found = Self::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| Refusal::new(Kind::Unsupported, "its parameter mechanism isn't known"))
    }

    fn class(self) -> KeyClass {
        match self {
            Self::AesGcm => KeyClass::Secret,
            Self::RsaOaepSha256 | Self::RsaOaepSha1 => KeyClass::Private,
        }
    }

    fn of_token(self) -> TokenMechanism<'static> {
        let oaep =
            |hash, mgf| TokenMechanism::RsaPkcsOaep(PkcsOaepParams::new(hash, mgf, PkcsOaepSource::empty()));
        match self {
            // Its parameters are a call's own.
            Self::AesGcm | Self::RsaOaepSha256 => oaep(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
            Self::RsaOaepSha1 => oaep(MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
        }
    }
}

/// A key of a token.
pub(super) struct Key<'a> {
    session: &'a Session,
    /// How messages name it.
    name: String,
    class: KeyClass,
    handle: ObjectHandle,
    id: Vec<u8>,
}

impl<'a> Key<'a> {
    /// The one that a URI names, if the token can wrap with it.
    pub(super) fn for_wrapping(
        token: &Token,
        session: &'a Session,
        uri: &Pkcs11Uri,
    ) -> Result<Self, Refusal> {
        let classes = match uri.class {
            Some(class) => vec![class],
            None => vec![KeyClass::Secret, KeyClass::Private],
        };
        let key = Self::only(token, session, uri, &classes)?;
        let (module, slot) = token.module();
        let of_token = match key.class {
            KeyClass::Secret => MechanismType::AES_GCM,
            KeyClass::Private => MechanismType::RSA_PKCS_OAEP,
        };
        if !module.get_mechanism_info(slot, of_token).is_ok_and(|can| can.encrypt() && can.decrypt()) {
            let cause = format!("{} can't be used: its token knows no {of_token}", key.name);
            return Err(Refusal::new(Kind::Unsupported, cause));
        }
        Ok(key)
    }

    /// The one that has wrapped.
    pub(super) fn for_unwrapping(
        token: &Token,
        session: &'a Session,
        uri: &Pkcs11Uri,
        mechanism: Mechanism,
    ) -> Result<Self, Refusal> {
        Self::only(token, session, uri, &[mechanism.class()])
    }

    fn only(
        token: &Token,
        session: &'a Session,
        uri: &Pkcs11Uri,
        classes: &[KeyClass],
    ) -> Result<Self, Refusal> {
        let name = said_of_key(token, uri);
        let failed = |error: Error| refusal(&name, &error);
        let mut found = Vec::new();
        for class in classes {
            let (object_class, key_type) = match class {
                KeyClass::Secret => (ObjectClass::SECRET_KEY, KeyType::AES),
                KeyClass::Private => (ObjectClass::PRIVATE_KEY, KeyType::RSA),
            };
            let mut template = of_uri(uri);
            template.extend([Attribute::Class(object_class), Attribute::KeyType(key_type)]);
            let handles = session.find_objects(&template).map_err(failed)?;
            found.extend(handles.into_iter().map(|handle| (*class, handle)));
        }
        match *found {
            [(class, handle)] => {
                let attributes = session.get_attributes(handle, &[AttributeType::Id]).map_err(failed)?;
                let id = attributes.into_iter().find_map(|attribute| match attribute {
                    Attribute::Id(id) => Some(id),
                    _ => None,
                });
                Ok(Self { session, name, class, handle, id: id.unwrap_or_default() })
            }
            [] => Err(Refusal::new(Kind::NotFound, format!("there is no {name}: no AES or RSA key"))),
            _ => {
                let cause =
                    format!("there are {} of {name}; say which by id= or type= in the uri", found.len());
                Err(Refusal::new(Kind::NotFound, cause))
            }
        }
    }

    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    /// Wraps by the first mechanism that the token does both ways.
    pub(super) fn wrap(&self, request: &Request, secret: &Secret) -> Result<(Mechanism, Vec<u8>), Refusal> {
        if self.class == KeyClass::Secret {
            return self.encrypt_gcm(request, secret).map(|blob| (Mechanism::AesGcm, blob));
        }
        let public = self.public_key()?;
        let line = bind(request, secret);
        let mut last = None;
        for mechanism in [Mechanism::RsaOaepSha256, Mechanism::RsaOaepSha1] {
            let wrapped = self.session.encrypt(&mechanism.of_token(), public, &line);
            let tried = wrapped.and_then(|blob| {
                let back =
                    self.session.decrypt(&mechanism.of_token(), self.handle, &blob).map(Zeroizing::new)?;
                Ok((blob, back))
            });
            match tried {
                Ok((blob, back)) if *back == *line => return Ok((mechanism, blob)),
                Ok(_) => {
                    let cause = format!("{}: its public key is another key's", self.name);
                    return Err(Refusal::new(Kind::Internal, cause));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last
            .map_or_else(|| Refusal::new(Kind::Internal, &self.name), |error| refusal(&self.name, &error)))
    }

    /// Unwraps what it has wrapped by this mechanism.
    pub(super) fn unwrap(
        &self,
        request: &Request,
        mechanism: Mechanism,
        blob: &[u8],
    ) -> Result<Secret, Refusal> {
        if mechanism == Mechanism::AesGcm {
            return self.decrypt_gcm(request, blob);
        }
        let line = self.session.decrypt(&mechanism.of_token(), self.handle, blob).map(Zeroizing::new);
        bound_secret(request, &line.map_err(|error| refusal(&self.name, &error))?)
    }

    fn encrypt_gcm(&self, request: &Request, secret: &Secret) -> Result<Vec<u8>, Refusal> {
        let mut iv = [0; IV];
        let drawn = rustix::rand::getrandom(&mut iv, rustix::rand::GetRandomFlags::empty());
        if drawn != Ok(IV) {
            return Err(Refusal::new(Kind::Internal, "the system gives no random bytes"));
        }
        let context = context_line(request);
        let params = GcmParams::new(&mut iv, context.as_bytes(), TAG_BITS.into());
        let mechanism = TokenMechanism::AesGcm(params.map_err(|error| refusal(&self.name, &error))?);
        let encrypted = self.session.encrypt(&mechanism, self.handle, secret.expose());
        let encrypted = encrypted.map_err(|error| refusal(&self.name, &error))?;
        drop(mechanism);
        // Some tokens draw it themselves, and have put theirs there.
        let mut blob = iv.to_vec();
        blob.extend(encrypted);
        Ok(blob)
    }

    fn decrypt_gcm(&self, request: &Request, blob: &[u8]) -> Result<Secret, Refusal> {
        let damaged = || Refusal::new(Kind::Damaged, format!("{} hasn't wrapped it", self.name));
        let (iv, encrypted) = blob.split_first_chunk::<IV>().ok_or_else(damaged)?;
        let (mut iv, context) = (*iv, context_line(request));
        let params = GcmParams::new(&mut iv, context.as_bytes(), TAG_BITS.into());
        let mechanism = TokenMechanism::AesGcm(params.map_err(|error| refusal(&self.name, &error))?);
        let key = self.session.decrypt(&mechanism, self.handle, encrypted).map(Zeroizing::new);
        Secret::from_bytes(&key.map_err(|error| refusal(&self.name, &error))?).ok_or_else(damaged)
    }

    /// That of a private key.
    fn public_key(&self) -> Result<ObjectHandle, Refusal> {
        let template = [
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Id(self.id.clone()),
        ];
        let found = self.session.find_objects(&template).map_err(|error| refusal(&self.name, &error))?;
        match *found {
            [public] => Ok(public),
            _ => {
                let cause = format!(
                    "{} has {} public keys of its id on the token, and needs one",
                    self.name,
                    found.len()
                );
                Err(Refusal::new(Kind::NotFound, cause))
            }
        }
    }
}

fn of_uri(uri: &Pkcs11Uri) -> Vec<Attribute> {
    let label = uri.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes()));
    label.into_iter().chain(uri.id.clone().map(Attribute::Id)).collect()
}

fn said_of_key(token: &Token, uri: &Pkcs11Uri) -> String {
    let label = uri.object.as_deref().map(|label| format!(" {label}")).unwrap_or_default();
    let id = uri.id.as_deref().map(|id| format!(" with id {}", data_encoding::HEXLOWER.encode(id)));
    format!("key{label}{} on the token {}", id.unwrap_or_default(), token.name())
}
