//! clevis: a key that a tang server, the machine's TPM, or several of them decrypt.
//!
//! Parameters: `{"plugin": PIN, "config": {…}}`, as `clevis encrypt PIN CONFIG` takes them. `custodians.conf` must have
//! `plugin=PIN` for each pin, and `endpoint=URL` for each tang server; `device=` is a TPM to use instead of the machine's. A
//! tang server's keys are trusted by their thumbprint (`thp`) or advertisement (`adv`), which has to be in the parameters:
//! there is nobody to ask.

use rekeyfs_custodians::{
    Allowed, Custodian, Jwe, Kind, Refusal, Request, Secret, Tool, Unwrapped, Wrapped, bind, bound_secret,
    is_tpm_word, pin_permitted, serve,
};
use serde_json::{Map, Value};

const PROGRAM: &str = "clevis";
const MAX_DEPTH: usize = 4;

const SAID: [(&str, Kind); 8] = [
    // Of a TPM, too: a person has to mend that.
    ("Permission denied", Kind::Denied),
    ("ommunicating with", Kind::Offline),
    ("nable to fetch", Kind::Offline),
    ("olicy", Kind::WrongState),
    // A TPM that isn't there, or not yet.
    ("TCTI", Kind::Offline),
    ("tcti", Kind::Offline),
    ("TPM2 device", Kind::Offline),
    ("is not a valid", Kind::Damaged),
];

struct Clevis;

impl Clevis {
    fn tool(request: &Request) -> Tool {
        match request.allowed.all("device").first() {
            Some(device) => Tool::new(PROGRAM).env("TPM2TOOLS_TCTI", device),
            None => Tool::new(PROGRAM),
        }
    }
}

impl Custodian for Clevis {
    fn wrap(&self, request: &Request, secret: &Secret) -> Result<Wrapped, Refusal> {
        let pin = request.text("plugin")?;
        let config = request.params.get("config").and_then(Value::as_object);
        let config = config.ok_or_else(|| Refusal::new(Kind::NotFound, "its parameters have no config"))?;
        config_permitted(pin, config, &request.allowed, 0)?;
        let config = Value::Object(config.clone()).to_string();
        let ended = Self::tool(request).arg("encrypt").arg(pin).arg(config).run(&bind(request, secret))?;
        if !ended.success {
            return Err(ended.refusal(&SAID));
        }
        // It has to open here, too.
        Jwe::parse(&ended.out)?.permitted(&request.allowed)?;
        Ok(Wrapped { blob: ended.out.trim_ascii().to_vec(), params: None, version: None })
    }

    fn unwrap(&self, request: &Request, blob: &[u8]) -> Result<Unwrapped, Refusal> {
        Jwe::parse(blob)?.permitted(&request.allowed)?;
        let ended = Self::tool(request).arg("decrypt").run(blob)?;
        if !ended.success {
            return Err(ended.refusal(&SAID));
        }
        Ok(Unwrapped { secret: bound_secret(request, &ended.out)?, rewrap: false })
    }
}

/// That encrypting uses only pins and servers that are allowed, and asks nobody.
fn config_permitted(
    pin: &str,
    config: &Map<String, Value>,
    allowed: &Allowed,
    depth: usize,
) -> Result<(), Refusal> {
    let wrong = |what| Refusal::new(Kind::NotFound, what);
    pin_permitted(pin, allowed)?;
    match pin {
        "tang" => {
            let url = config.get("url").and_then(Value::as_str).ok_or_else(|| wrong("tang needs a url"))?;
            if !config.contains_key("thp") && !config.contains_key("adv") {
                return Err(wrong("tang needs thp, which `tang-show-keys` prints on the server, or adv"));
            }
            // As a text it is the name of a file.
            if let Some(file) = config.get("adv").and_then(Value::as_str) {
                allowed.require("file", file)?;
            }
            allowed.require("endpoint", url)
        }
        "sss" if depth < MAX_DEPTH => {
            let pins =
                config.get("pins").and_then(Value::as_object).ok_or_else(|| wrong("sss needs pins"))?;
            pins.iter().try_for_each(|(pin, configs)| {
                let configs = configs.as_array().map_or(std::slice::from_ref(configs), Vec::as_slice);
                configs.iter().try_for_each(|config| {
                    let config = config.as_object().ok_or_else(|| wrong("a pin's config is an object"))?;
                    config_permitted(pin, config, allowed, depth + 1)
                })
            })
        }
        "tpm2" if config.values().all(is_tpm_word) => Ok(()),
        "tpm2" => Err(wrong("what is said of a TPM has letters, digits and commas, and no blanks")),
        _ => Err(wrong("its pins lie too deep")),
    }
}

fn main() {
    serve(&Clevis)
}

#[cfg(test)]
mod tests {
    use rekeyfs_custodians::Ended;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_tpm_that_may_not_be_used_is_another_matter_than_one_that_is_not_there() {
        for (said, kind) in [
            (
                "ERROR:tcti:src/tss2-tcti/tcti-device.c:452: Failed to open specified TCTI device file /dev/tpmrm0: Permission denied",
                Kind::Denied,
            ),
            (
                "ERROR:tcti:src/tss2-tcti/tcti-device.c:452: Failed to open specified TCTI device file /dev/tpmrm0: No such file or directory",
                Kind::Offline,
            ),
        ] {
            let ended = Ended { success: false, out: Zeroizing::new(Vec::new()), errors: said.into() };
            assert_eq!(ended.refusal(&SAID).kind(), kind, "{said}");
        }
    }
}
