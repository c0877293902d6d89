//! What clevis encrypts: JWE in its compact form (RFC 7516). Its header says which pins decrypt it, and where they go for that;
//! clevis does as it says. So it is read first.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::protocol::{Allowed, Kind, Refusal};

/// How deep pins hold pins.
const MAX_DEPTH: usize = 4;
/// What each pin is.
const PINS: [&str; 3] = ["tang", "tpm2", "sss"];

/// The header of a JWE.
pub struct Jwe(Map<String, Value>);

impl Jwe {
    /// That of what clevis printed.
    ///
    /// # Errors
    /// [`Kind::Damaged`].
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let damaged = || Refusal::new(Kind::Damaged, "it is no compact JWE of clevis");
        let text = std::str::from_utf8(text).map_err(|_| damaged())?.trim();
        let parts: Vec<&str> = text.split('.').collect();
        let all_good = parts.len() == 5 && parts.iter().all(|part| part.bytes().all(is_base64url));
        let header = BASE64URL_NOPAD.decode(parts[0].as_bytes()).ok().filter(|_| all_good);
        let header = header.and_then(|header| serde_json::from_slice(&header).ok()).ok_or_else(damaged)?;
        Ok(Self(header))
    }

    /// That decrypting it uses only pins and servers that are allowed.
    ///
    /// # Errors
    /// [`Kind::NotAllowed`]; [`Kind::Damaged`] for what clevis doesn't write.
    pub fn permitted(&self, allowed: &Allowed) -> Result<(), Refusal> {
        self.permitted_at(allowed, 0)
    }

    fn permitted_at(&self, allowed: &Allowed, depth: usize) -> Result<(), Refusal> {
        let damaged = || Refusal::new(Kind::Damaged, "its header isn't one of clevis");
        let clevis = self.0.get("clevis").and_then(Value::as_object).ok_or_else(damaged)?;
        let pin = clevis.get("pin").and_then(Value::as_str).ok_or_else(damaged)?;
        pin_permitted(pin, allowed)?;
        let of_pin = clevis.get(pin).and_then(Value::as_object).ok_or_else(damaged)?;
        match pin {
            "tang" => {
                let url = of_pin.get("url").and_then(Value::as_str).ok_or_else(damaged)?;
                allowed.require("endpoint", url)
            }
            "sss" if depth < MAX_DEPTH => {
                let parts = of_pin.get("jwe").and_then(Value::as_array).ok_or_else(damaged)?;
                parts.iter().try_for_each(|part| {
                    let part = part.as_str().ok_or_else(damaged)?;
                    Self::parse(part.as_bytes())?.permitted_at(allowed, depth + 1)
                })
            }
            "tpm2" if of_pin.values().all(is_tpm_word) => Ok(()),
            _ => Err(damaged()),
        }
    }
}

/// Whether a value may be said of a TPM. clevis' scripts leave it to the shell to split, and let it begin with a dash: an option of
/// tpm2-tools may hide in it, and one of these (`--tcti=cmd:…`) runs a program.
pub fn is_tpm_word(value: &Value) -> bool {
    let is_plain = |b: u8| is_base64url(b) || b == b',';
    match value {
        Value::String(text) => !text.starts_with('-') && text.bytes().all(is_plain),
        Value::Number(number) => number.as_u64().is_some(),
        Value::Array(all) => all.iter().all(is_tpm_word),
        Value::Null | Value::Bool(_) | Value::Object(_) => false,
    }
}

fn is_base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

/// That the host's list has this pin, and this helper knows what it does.
///
/// # Errors
/// [`Kind::NotAllowed`], [`Kind::Unsupported`].
pub fn pin_permitted(pin: &str, allowed: &Allowed) -> Result<(), Refusal> {
    if !PINS.contains(&pin) {
        return Err(Refusal::new(Kind::Unsupported, format!("the pin {pin} is none of {}", PINS.join(", "))));
    }
    allowed.require("plugin", pin)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn jwe(header: &Value) -> String {
        format!("{}.e30.AA.AA.AA", BASE64URL_NOPAD.encode(header.to_string().as_bytes()))
    }

    fn permitted(text: &str, allowed: Value) -> Result<(), Kind> {
        let allowed: Allowed = serde_json::from_value(allowed).unwrap();
        Jwe::parse(text.as_bytes()).and_then(|jwe| jwe.permitted(&allowed)).map_err(|refusal| refusal.kind())
    }

    #[test]
    fn a_header_leads_only_to_what_is_allowed() {
        let tang = |url: &str| jwe(&json!({"clevis": {"pin": "tang", "tang": {"url": url, "adv": {}}}}));
        let allowed = || json!({"plugin": ["tang", "sss"], "endpoint": ["http://a"]});
        assert_eq!(permitted(&tang("http://a"), allowed()), Ok(()));
        assert_eq!(permitted(&tang("http://b"), allowed()), Err(Kind::NotAllowed));
        assert_eq!(permitted(&tang("http://a"), json!({"endpoint": ["http://a"]})), Err(Kind::NotAllowed));
        let sss = |part: String| jwe(&json!({"clevis": {"pin": "sss", "sss": {"t": 1, "jwe": [part]}}}));
        assert_eq!(permitted(&sss(tang("http://a")), allowed()), Ok(()));
        assert_eq!(permitted(&sss(tang("http://b")), allowed()), Err(Kind::NotAllowed));
        let tpm2 = jwe(&json!({"clevis": {"pin": "tpm2", "tpm2": {"jwk_pub": "x"}}}));
        assert_eq!(permitted(&sss(sss(tpm2)), allowed()), Err(Kind::NotAllowed));
        let deep = (0..6).fold(tang("http://a"), |inner, _| sss(inner));
        assert_eq!(permitted(&deep, allowed()), Err(Kind::Damaged));
    }

    #[test]
    fn no_option_of_another_program_hides_in_what_is_said_of_a_tpm() {
        let tpm2 = |name: &str, value: &str| {
            let mut of_pin = json!({"hash": "sha256", "key": "ecc", "jwk_pub": "AE4A_-", "jwk_priv": "AO4A"});
            of_pin[name] = Value::from(value);
            jwe(&json!({"clevis": {"pin": "tpm2", "tpm2": of_pin}}))
        };
        let allowed = || json!({"plugin": ["tpm2", "sss"]});
        assert_eq!(permitted(&tpm2("pcr_ids", "0,7"), allowed()), Ok(()));
        assert_eq!(permitted(&tpm2("pcr_bank", "sha256"), allowed()), Ok(()));
        for (name, value) in [
            ("pcr_ids", "7 -T cmd:/tmp/x"),
            ("pcr_ids", "7\n-o/etc/x"),
            ("pcr_ids", "7=/etc/x"),
            ("pcr_bank", "sha256:7 -o x"),
            ("hash", "-Tcmd:x"),
            ("key", "*"),
            ("later", "$(x)"),
        ] {
            let forged = tpm2(name, value);
            assert_eq!(permitted(&forged, allowed()), Err(Kind::Damaged), "{name} {value:?}");
            let inside = jwe(&json!({"clevis": {"pin": "sss", "sss": {"t": 1, "jwe": [forged]}}}));
            assert_eq!(permitted(&inside, allowed()), Err(Kind::Damaged), "{name} {value:?}");
        }
    }

    #[test]
    fn what_clevis_does_not_write_is_refused() {
        let all = || json!({"plugin": ["tang", "tpm2", "sss", "evil", "../sh"]});
        assert_eq!(
            permitted(&jwe(&json!({"clevis": {"pin": "evil", "evil": {}}})), all()),
            Err(Kind::Unsupported)
        );
        assert_eq!(
            permitted(&jwe(&json!({"clevis": {"pin": "../sh", "../sh": {}}})), all()),
            Err(Kind::Unsupported)
        );
        assert_eq!(permitted(&jwe(&json!({"clevis": {"pin": "tang"}})), all()), Err(Kind::Damaged));
        for text in ["", "a.b.c", "....", "e30.e30.AA.AA.AA", "{\"protected\":\"x\"}", "e30\n.AA.AA.AA.AA"] {
            assert_eq!(permitted(text, all()), Err(Kind::Damaged), "{text:?}");
        }
    }
}
