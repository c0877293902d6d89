//! Parameters: those of a slot, which are a stranger's until the slot has opened, and those by which one is made.

use data_encoding::HEXLOWER;
use rekeyfs_custodians::{Kind, Refusal};
use serde_json::{Map, Value};

use super::info::Info;

/// The relying party of all credentials of rekeyfs. A slot can't name another one: a key is asked to compute nothing for the
/// credentials of others.
pub(super) const RP: &str = "rekeyfs";
/// The longest id of a credential. Those that hold a wrapped key have some hundred bytes.
const MAX_ID: usize = 1023;

type Params = Map<String, Value>;

/// What the key computes under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    /// Its PIN is given, and another secret is computed with than without.
    pub(super) pin: bool,
    /// It waits for a touch.
    pub(super) touch: bool,
}

/// What a slot says.
pub(super) struct Credential {
    pub(super) id: Vec<u8>,
    pub(super) salt: [u8; 32],
    pub(super) terms: Terms,
}

impl Credential {
    pub(super) fn parse(params: &Params) -> Result<Self, Refusal> {
        let wrong = |name| Refusal::new(Kind::Damaged, format!("its parameter {name} is none of a slot's"));
        let bytes = |name| {
            params.get(name).and_then(Value::as_str).and_then(|text| HEXLOWER.decode(text.as_bytes()).ok())
        };
        if params.get("rp").and_then(Value::as_str) != Some(RP) {
            return Err(wrong("rp"));
        }
        let id = bytes("credential").filter(|id| is_id(id)).ok_or_else(|| wrong("credential"))?;
        let salt = bytes("salt").and_then(|salt| salt.try_into().ok()).ok_or_else(|| wrong("salt"))?;
        let given = |name| params.get(name).and_then(Value::as_bool).ok_or_else(|| wrong(name));
        Ok(Self { id, salt, terms: Terms { pin: given("pin")?, touch: given("touch")? } })
    }
}

/// Whether it can be the id of a credential.
pub(super) fn is_id(id: &[u8]) -> bool {
    (1..=MAX_ID).contains(&id.len())
}

/// What is wanted of a new slot.
pub(super) struct Wanted {
    /// Which of several keys: the file name of its device, or the device's path.
    pub(super) authenticator: Option<String>,
    pin: Option<bool>,
    touch: bool,
}

impl Wanted {
    pub(super) fn parse(params: &Params) -> Result<Self, Refusal> {
        let given = |name: &str| match params.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => {
                Err(Refusal::new(Kind::NotFound, format!("its parameter {name} is neither true nor false")))
            }
        };
        let authenticator = match params.get("authenticator") {
            None => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(_) => return Err(Refusal::new(Kind::NotFound, "its parameter authenticator is no name")),
        };
        Ok(Self { authenticator, pin: given("pin")?, touch: given("touch")?.unwrap_or(true) })
    }

    /// What this key can do of it. A key that has a PIN is used with it unless the parameters say otherwise.
    pub(super) fn terms(&self, info: &Info) -> Result<Terms, Refusal> {
        let cant = |cause| Err(Refusal::new(Kind::Unsupported, cause));
        if !info.has_hmac_secret {
            return cant("this key is no FIDO2 key with the extension hmac-secret");
        }
        let pin = self.pin.unwrap_or(info.has_pin);
        if pin && !info.has_pin {
            return cant("this FIDO2 key has no PIN; `fido2-token -S DEVICE` sets one");
        }
        if !pin && info.always_verifies {
            return cant("this FIDO2 key does nothing without its PIN, so \"pin\" can't be false");
        }
        Ok(Terms { pin, touch: self.touch })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slot() -> Params {
        let params = json!({
            "credential": HEXLOWER.encode(&[7; 64]), "rp": "rekeyfs", "salt": HEXLOWER.encode(&[1; 32]), "pin": true, "touch": false,
        });
        params.as_object().unwrap().clone()
    }

    #[test]
    fn a_slot_says_its_credential() {
        let credential = Credential::parse(&slot()).ok().unwrap();
        assert_eq!((credential.id, credential.salt), (vec![7; 64], [1; 32]));
        assert_eq!(credential.terms, Terms { pin: true, touch: false });
    }

    #[test]
    fn what_is_no_slots_is_refused_before_anything_runs() {
        let huge = HEXLOWER.encode(&[0; 1024]);
        for (name, value) in [
            ("rp", json!("io.systemd.cryptsetup")),
            ("rp", json!("rekeyfs\n")),
            ("credential", json!("-x")),
            ("credential", json!("0707\nrekeyfs")),
            ("credential", json!("")),
            ("credential", json!(huge)),
            ("credential", json!(["0707"])),
            ("salt", json!("0101")),
            ("salt", json!(null)),
            ("pin", json!("true")),
            ("touch", json!(1)),
        ] {
            let mut params = slot();
            params.insert(name.to_owned(), value.clone());
            let refused = Credential::parse(&params).err().unwrap();
            assert_eq!(refused.kind(), Kind::Damaged, "{name} {value}");
            let mut params = slot();
            params.remove(name);
            assert!(Credential::parse(&params).is_err(), "without {name}");
        }
    }

    #[test]
    fn a_keys_pin_is_used_unless_the_slot_is_to_do_without() {
        let info = |has_pin, always_verifies| Info {
            has_hmac_secret: true,
            has_pin,
            always_verifies,
            pin_tries: None,
        };
        let terms = |params: Value, info: &Info| {
            let wanted = Wanted::parse(params.as_object().unwrap());
            wanted.and_then(|wanted| wanted.terms(info)).map_err(|refused| refused.kind())
        };
        assert_eq!(terms(json!({}), &info(true, false)), Ok(Terms { pin: true, touch: true }));
        assert_eq!(terms(json!({}), &info(false, false)), Ok(Terms { pin: false, touch: true }));
        let unattended = json!({"pin": false, "touch": false});
        assert_eq!(terms(unattended.clone(), &info(true, false)), Ok(Terms { pin: false, touch: false }));
        assert_eq!(terms(unattended, &info(true, true)), Err(Kind::Unsupported));
        assert_eq!(terms(json!({"pin": true}), &info(false, false)), Err(Kind::Unsupported));
        assert_eq!(
            terms(json!({}), &Info { has_hmac_secret: false, ..info(true, false) }),
            Err(Kind::Unsupported)
        );
        assert_eq!(terms(json!({"pin": 1}), &info(true, false)), Err(Kind::NotFound));
    }
}
