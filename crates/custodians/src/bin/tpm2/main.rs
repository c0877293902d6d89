//! The machine's TPM: a key is sealed in it, and unsealed while the machine's registers (PCRs) are what they were, by a PIN too if
//! that is wanted.
//!
//! Parameters: `{"pcrs": "7", "pin": false}`. `device=` in `custodians.conf` is a TPM to use instead of `/dev/tpmrm0`.

mod parts;
mod said;
mod seal;
mod sha256;
mod tpm;

use rekeyfs_custodians::{
    Custodian, Kind, Prompt, Refusal, Request, Secret, Unwrapped, Wrapped, parse_pcrs, serve,
};
use serde_json::Value;
use zeroize::Zeroizing;

use parts::Parts;
use seal::Terms;
use sha256::sha256;
use tpm::Tpm;

struct Tpm2;

impl Custodian for Tpm2 {
    fn wrap(&self, request: &Request, secret: &Secret) -> Result<Wrapped, Refusal> {
        let terms = terms(request, "New PIN for this slot")?;
        let mut tpm = Tpm::connect(request)?;
        let parts = seal::seal(&mut tpm, &terms, request, secret)?;
        Ok(Wrapped { blob: parts.to_bytes(), params: None, version: None })
    }

    fn unwrap(&self, request: &Request, blob: &[u8]) -> Result<Unwrapped, Refusal> {
        let parts = Parts::parse(blob)?;
        let terms = terms(request, "PIN of this slot")?;
        let mut tpm = Tpm::connect(request)?;
        Ok(Unwrapped { secret: seal::unseal(&mut tpm, &terms, request, &parts)?, rewrap: false })
    }
}

/// What a key is sealed under. The PIN is asked for before anything is asked of the TPM.
fn terms(request: &Request, question: &str) -> Result<Terms, Refusal> {
    let pcrs = parse_pcrs(request.text("pcrs")?)?;
    let pin = match request.params.get("pin") {
        None | Some(Value::Bool(false)) => None,
        Some(Value::Bool(true)) => Some(auth_value(&request.ask(Prompt::Pin, question)?)),
        Some(_) => return Err(Refusal::new(Kind::NotFound, "its parameter pin is neither true nor false")),
    };
    Ok(Terms { pcrs, pin })
}

/// A PIN as a TPM takes it, of whatever length it is: its SHA-256, less the zeros at its end, which a TPM would leave out.
fn auth_value(pin: &str) -> Zeroizing<Vec<u8>> {
    let mut value = Zeroizing::new(sha256(pin.as_bytes()).to_vec());
    while value.last() == Some(&0) {
        value.pop();
    }
    value
}

fn main() {
    serve(&Tpm2)
}
