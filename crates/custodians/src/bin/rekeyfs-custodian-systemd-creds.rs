//! systemd-creds: a key that this machine alone decrypts, by its TPM, by a key in `/var/lib/systemd`, or by both.
//!
//! Parameters: `{"with-key": "host" | "tpm2" | "host+tpm2", "pcrs": "7+11"}`. The credential's name says what the key is for,
//! and is authenticated with it. `device=` in `custodians.conf` is a TPM to use instead of the machine's.

use data_encoding::{BASE64, HEXLOWER};
use rekeyfs_custodians::{
    Custodian, Ended, Kind, Refusal, Request, Secret, Tool, Unwrapped, Wrapped, bind, bound_secret, serve,
};

const PROGRAM: &str = "systemd-creds";
/// A credential begins with the kind of its key. This one is encrypted under a key that everybody knows.
const NULL_KEY: &str = "058469daf6f54324800549da0f8ea2fb";

const SAID: [(&str, Kind); 10] = [
    // Of a TPM, too: a person has to mend that.
    ("Permission denied", Kind::Denied),
    // A TPM that isn't there, or not yet.
    ("TCTI context", Kind::Offline),
    ("PCR", Kind::WrongState),
    ("olicy", Kind::WrongState),
    ("does not match", Kind::Damaged),
    ("Bad message", Kind::Damaged),
    ("ecryption failed", Kind::Damaged),
    ("corrupted", Kind::Damaged),
    ("Access denied", Kind::Denied),
    ("not supported", Kind::NotFound),
];

struct SystemdCreds;

impl SystemdCreds {
    fn tool(request: &Request, verb: &str) -> Tool {
        let words: Vec<String> = request
            .context
            .values()
            .map(|value| value.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', ""))
            .collect();
        let tool = Tool::new(PROGRAM).arg(verb).arg(format!("--name=rekeyfs-{}", words.join("-")));
        match request.allowed.all("device").first() {
            Some(device) => tool.arg(format!("--tpm2-device={device}")),
            None => tool,
        }
    }
}

impl Custodian for SystemdCreds {
    fn wrap(&self, request: &Request, secret: &Secret) -> Result<Wrapped, Refusal> {
        let key = request.text("with-key")?;
        if !["host", "tpm2", "host+tpm2"].contains(&key) {
            return Err(Refusal::new(Kind::NotFound, "with-key is host, tpm2 or host+tpm2"));
        }
        let mut tool = Self::tool(request, "encrypt").arg(format!("--with-key={key}"));
        if request.params.contains_key("pcrs") {
            let pcrs = request.text("pcrs")?;
            if pcrs.is_empty() || !pcrs.bytes().all(|b| b.is_ascii_digit() || b == b'+') {
                return Err(Refusal::new(Kind::NotFound, "pcrs are numbers with + between them"));
            }
            tool = tool.arg(format!("--tpm2-pcrs={pcrs}"));
        }
        let ended = tool.arg("-").arg("-").run(&bind(request, secret))?;
        let blob = credential(&ended.out).filter(|_| ended.success);
        Ok(Wrapped { blob: blob.ok_or_else(|| ended.refusal(&SAID))?, params: None, version: None })
    }

    fn unwrap(&self, request: &Request, blob: &[u8]) -> Result<Unwrapped, Refusal> {
        if HEXLOWER.encode(&blob[..blob.len().min(16)]) == NULL_KEY {
            return Err(Refusal::new(Kind::Damaged, "everybody could have encrypted this credential"));
        }
        let ended: Ended =
            Self::tool(request, "decrypt").arg("-").arg("-").run(BASE64.encode(blob).as_bytes())?;
        if !ended.success {
            return Err(ended.refusal(&SAID));
        }
        Ok(Unwrapped { secret: bound_secret(request, &ended.out)?, rewrap: false })
    }
}

/// The bytes of what was printed in lines of base64.
fn credential(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    BASE64.decode(&text).ok().filter(|bytes| !bytes.is_empty())
}

fn main() {
    serve(&SystemdCreds)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_tpm_that_may_not_be_used_is_another_matter_than_one_that_is_not_there() {
        for (said, kind) in [
            ("Failed to initialize TCTI context: Permission denied", Kind::Denied),
            ("Failed to initialize TCTI context: No such file or directory", Kind::Offline),
        ] {
            let ended = Ended { success: false, out: Zeroizing::new(Vec::new()), errors: said.into() };
            assert_eq!(ended.refusal(&SAID).kind(), kind, "{said}");
        }
    }
}
