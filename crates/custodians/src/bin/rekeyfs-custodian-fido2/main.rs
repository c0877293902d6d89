//! FIDO2 keys, by the programs of fido2-tools: a credential of the key computes a secret from the slot's salt (CTAP2's extension
//! hmac-secret), and the slot's key is wrapped under what is derived from that.
//!
//! Parameters of a slot: `{"credential": "hex", "rp": "rekeyfs", "salt": "hex", "pin": true, "touch": true}`. To make one there
//! may be `pin`, `touch`, and `authenticator`, which of several keys to use; none of them is a path.
//!
//! **A slot names no device.** The keys that are plugged in are those that fido2-token lists, and a slot's is the one that has its
//! credential. That is found out before the PIN is asked for, so the wrong key spends no try of its own.
//!
//! **Whether there is a PIN is part of what is computed**: with one, a key uses another secret than without. So a slot says it, and it
//! holds for the slot's whole life.

mod authenticator;
mod info;
mod params;
mod said;

use data_encoding::HEXLOWER;
use rekeyfs_custodians::{
    Custodian, Kind, Prompt, Refusal, Request, Secret, Unwrapped, Wrapped, context_line, serve,
};
use rekeyfs_format::crypto::keys::{AuthenticatorSecret, CustodyKek};
use rekeyfs_format::crypto::random;
use serde_json::{Map, json};
use zeroize::Zeroizing;

use authenticator::Device;
use info::Info;
use params::{Credential, RP, Terms, Wanted};

/// The shortest and the longest PIN, in bytes (CTAP2).
const PIN_LENGTH: std::ops::RangeInclusive<usize> = 4..=63;

struct Fido2;

impl Custodian for Fido2 {
    fn wrap(&self, request: &Request, secret: &Secret) -> Result<Wrapped, Refusal> {
        let wanted = Wanted::parse(&request.params)?;
        if !request.interactive {
            return Err(Refusal::new(Kind::NeedsUser, "a new credential takes a touch of the FIDO2 key"));
        }
        let device = match (&wanted.authenticator, Credential::parse(&request.params)) {
            // Parameters of a slot that is made anew: on its own key, if that is plugged in.
            (None, Ok(old)) => Device::with(&old).or_else(|_| Device::named(None))?,
            (name, _) => Device::named(name.as_deref())?,
        };
        let info = device.info()?;
        let terms = wanted.terms(&info)?;
        // A key that has a PIN may want it for a new credential even if the slot will do without.
        let pin = if info.has_pin { Some(ask_pin(request, &device, &info)?) } else { None };
        let pin = pin.as_ref().map(|pin| pin.as_str());
        request.ask(Prompt::Touch, "Touch the FIDO2 key to make a credential")?;
        let id = device.make_credential(&user(request), pin)?;
        let credential = Credential { id, salt: random::array(), terms };
        let computed = compute(request, &device, &credential, pin, "Touch it once more to use it")?;
        let kek = CustodyKek::from_bytes(secret.expose());
        let blob = computed.wrap_kek(context_line(request).as_bytes(), &kek).to_vec();
        Ok(Wrapped { blob, params: Some(pinned(&credential)), version: None })
    }

    fn unwrap(&self, request: &Request, blob: &[u8]) -> Result<Unwrapped, Refusal> {
        let damaged = || Refusal::new(Kind::Damaged, "what was wrapped is no key of this vault and slot");
        let credential = Credential::parse(&request.params)?;
        let wrapped = blob.try_into().map_err(|_| damaged())?;
        let Terms { pin, touch } = credential.terms;
        if !request.interactive && (pin || touch) {
            let what =
                if pin { "it takes the PIN of the FIDO2 key" } else { "it takes a touch of the FIDO2 key" };
            return Err(Refusal::new(Kind::NeedsUser, what));
        }
        let device = Device::with(&credential)?;
        let pin = if pin { Some(ask_pin(request, &device, &device.info()?)?) } else { None };
        let pin = pin.as_ref().map(|pin| pin.as_str());
        let computed = compute(request, &device, &credential, pin, "Touch the FIDO2 key")?;
        let kek = computed.unwrap_kek(context_line(request).as_bytes(), &wrapped).map_err(|_| damaged())?;
        Ok(Unwrapped { secret: Secret::from_bytes(kek.expose()).ok_or_else(damaged)?, rewrap: false })
    }
}

/// A PIN that could be the key's: others spend no try.
fn ask_pin(request: &Request, device: &Device, info: &Info) -> Result<Zeroizing<String>, Refusal> {
    let left = match info.pin_tries {
        Some(0) => return Err(said::blocked()),
        Some(1) => ", 1 try left".to_owned(),
        Some(tries @ 2..=3) => format!(", {tries} tries left"),
        _ => String::new(),
    };
    let pin = request.ask(Prompt::Pin, &format!("PIN of the FIDO2 key {}{left}", device.about))?;
    if PIN_LENGTH.contains(&pin.len()) && !pin.contains(['\n', '\r', '\0']) {
        return Ok(pin);
    }
    let cause = "a PIN has 4 to 63 bytes; it was not tried";
    Err(Refusal::new(Kind::Pin, cause).tries_left(info.pin_tries))
}

/// Has the key compute the slot's secret. The person is told to touch it just before it waits for that.
fn compute(
    request: &Request,
    device: &Device,
    credential: &Credential,
    pin: Option<&str>,
    touch: &str,
) -> Result<AuthenticatorSecret, Refusal> {
    if credential.terms.touch {
        request.ask(Prompt::Touch, touch)?;
    }
    let secret = device.hmac_secret(credential, pin.filter(|_| credential.terms.pin))?;
    Ok(AuthenticatorSecret::from_bytes(secret.expose()))
}

/// Which vault's it is, for the key's own display. What fido2-cred reads has a line for it.
fn user(request: &Request) -> String {
    let vault = request.context.get("rekeyfs:vault").map_or("", String::as_str);
    format!("vault {}", vault.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', ""))
}

/// What the slot is to say. Bytes are in hex: base64 may begin like a path, which `custodians.conf` would have to have.
fn pinned(credential: &Credential) -> Map<String, serde_json::Value> {
    let Credential { id, salt, terms } = credential;
    let params = json!({
        "credential": HEXLOWER.encode(id), "rp": RP, "salt": HEXLOWER.encode(salt), "pin": terms.pin, "touch": terms.touch,
    });
    params.as_object().cloned().unwrap_or_default()
}

fn main() {
    serve(&Fido2)
}
