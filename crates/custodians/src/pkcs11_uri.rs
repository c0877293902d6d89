//! `pkcs11:` URIs (RFC 7512), as far as they say which key of which token. They come from a vault's header, so what says how to get
//! there - a library, a PIN, where a PIN is - isn't taken from them.

use super::protocol::{Kind, Refusal};

/// What kind of key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyClass {
    /// `type=secret-key`: AES.
    Secret,
    /// `type=private`: RSA.
    Private,
}

/// Which key of which token. What isn't said is any.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Pkcs11Uri {
    /// The token's label.
    pub token: Option<String>,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// The key's label.
    pub object: Option<String>,
    /// The key's id.
    pub id: Option<Vec<u8>>,
    /// What it is.
    pub class: Option<KeyClass>,
}

impl Pkcs11Uri {
    /// That of a text. It names a token by its label or serial number, and a key by its label or id.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for what is no such URI, [`Kind::NotAllowed`] for what a vault may not say. A PIN in it isn't repeated.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = |cause: String| Err(Refusal::new(Kind::NotFound, format!("its uri {cause}")));
        let Some(rest) = text.strip_prefix("pkcs11:") else {
            return wrong("doesn't begin with pkcs11:".to_owned());
        };
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        if let Some(query) = query {
            let names: Vec<&str> =
                query.split('&').map(|part| part.split_once('=').map_or(part, |(name, _)| name)).collect();
            let cause = format!(
                "its uri has {}, which would stand in the vault for everybody to read and change; custodians.conf names the \
                 module (module=) and the PIN's file (file=)",
                names.join(", ")
            );
            return Err(Refusal::new(Kind::NotAllowed, cause));
        }
        let mut uri = Self::default();
        for attribute in path.split(';') {
            let Some((name, value)) = attribute.split_once('=') else {
                return wrong(format!("has {attribute:?}, which is no NAME=VALUE"));
            };
            let Some(value) = decode(value) else {
                return wrong(format!("has a {name} with what must be written as %XX"));
            };
            if let Err(cause) = uri.set(name, value) {
                return wrong(cause);
            }
        }
        if uri.token.is_none() && uri.serial.is_none() {
            return wrong("names no token: token= or serial=".to_owned());
        }
        if uri.object.is_none() && uri.id.is_none() {
            return wrong("names no key: object= or id=".to_owned());
        }
        Ok(uri)
    }

    fn set(&mut self, name: &str, value: Vec<u8>) -> Result<(), String> {
        let twice = |is_there: bool| {
            if is_there { Err(format!("has {name} twice")) } else { Ok(()) }
        };
        let of_text = match name {
            "token" => &mut self.token,
            "manufacturer" => &mut self.manufacturer,
            "model" => &mut self.model,
            "serial" => &mut self.serial,
            "object" => &mut self.object,
            "id" => {
                twice(self.id.is_some())?;
                self.id = Some(value);
                return Ok(());
            }
            "type" => {
                twice(self.class.is_some())?;
                self.class = Some(match &*value {
                    b"secret-key" => KeyClass::Secret,
                    b"private" => KeyClass::Private,
                    _ => return Err("has a type other than secret-key and private".to_owned()),
                });
                return Ok(());
            }
            // A slot's number changes as devices are plugged in, and libraries are the host's.
            _ => {
                return Err(format!(
                    "has {name}, and is taken with token, serial, manufacturer, model, object, id and type alone"
                ));
            }
        };
        twice(of_text.is_some())?;
        *of_text = Some(String::from_utf8(value).map_err(|_| format!("has a {name} that is no UTF-8"))?);
        Ok(())
    }

    /// How messages name the token.
    pub fn token_name(&self) -> &str {
        self.token.as_deref().or(self.serial.as_deref()).unwrap_or_default()
    }
}

/// The bytes of an attribute's value; none if one stands there that RFC 7512 wants encoded.
fn decode(text: &str) -> Option<Vec<u8>> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=&".contains(&b);
    let mut bytes = text.bytes();
    let mut value = Vec::with_capacity(text.len());
    while let Some(b) = bytes.next() {
        value.push(match b {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).ok()?.first().copied()?
            }
            b if is_plain(b) => b,
            _ => return None,
        });
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_says_which_key_of_which_token() {
        let uri =
            Pkcs11Uri::parse("pkcs11:token=The%20token;object=kek%3b1;id=%01%ff;type=secret-key").unwrap();
        assert_eq!((uri.token.as_deref(), uri.object.as_deref()), (Some("The token"), Some("kek;1")));
        assert_eq!((uri.id, uri.class), (Some(vec![1, 255]), Some(KeyClass::Secret)));
        assert_eq!(Pkcs11Uri::parse("pkcs11:serial=12:3;id=k").unwrap().token_name(), "12:3");
    }

    #[test]
    fn what_is_no_key_of_a_token_is_refused_and_a_pin_never_repeated() {
        for (text, cause) in [
            ("token=t;object=k", "begin with pkcs11:"),
            ("pkcs11:", "is no NAME=VALUE"),
            ("pkcs11:object=k", "names no token"),
            ("pkcs11:token=t", "names no key"),
            ("pkcs11:token=t;token=u;object=k", "has token twice"),
            ("pkcs11:token=t;id=a;id=b", "has id twice"),
            ("pkcs11:token=a b;object=k", "%XX"),
            ("pkcs11:token=a%2;object=k", "%XX"),
            ("pkcs11:token=a%+1;object=k", "%XX"),
            ("pkcs11:token=/etc/x;object=k", "%XX"),
            ("pkcs11:token=%ff;object=k", "no UTF-8"),
            ("pkcs11:token=t;object=k;type=cert", "other than secret-key"),
            ("pkcs11:token=t;object=k;slot-id=1", "has slot-id, and"),
            ("pkcs11:token=t;object=k;library-description=x", "has library-description, and"),
        ] {
            let refusal = Pkcs11Uri::parse(text).unwrap_err();
            assert_eq!(refusal.kind(), Kind::NotFound, "{text}");
            assert!(refusal.message().contains(cause), "{text}: {}", refusal.message());
        }
        for query in
            ["pin-value=4711", "pin-source=file:4711", "module-path=4711", "module-name=x&pin-value=4711"]
        {
            let refusal = Pkcs11Uri::parse(&format!("pkcs11:token=t;object=k?{query}")).unwrap_err();
            assert_eq!(refusal.kind(), Kind::NotAllowed);
            let said = refusal.message();
            assert!(!said.contains("4711") && said.contains(query.split('=').next().unwrap()), "{said}");
        }
    }
}
