//! age (age-encryption.org): a key is encrypted for recipients, and decrypted by identities.
//!
//! Parameters: `{"recipients": ["age1…", "ssh-ed25519 …"]}`. `file=` in `custodians.conf` names the identities, age's own
//! or private keys of ssh; `plugin=NAME` lets a recipient `age1NAME1…` run `age-plugin-NAME`. Which plugins identities run is
//! said in their files.

use rekeyfs_custodians::{
    Custodian, Kind, Refusal, Request, Secret, Tool, Unwrapped, Wrapped, bind, bound_secret, serve,
};
use serde_json::Value;

/// Another program that takes the same options stands in for the first.
const PROGRAMS: [&str; 2] = ["age", "rage"];

/// What age and rage say.
const SAID: [(&str, Kind); 8] = [
    ("no identity matched", Kind::Denied),
    ("No matching keys found", Kind::Denied),
    ("no such file", Kind::NotFound),
    ("not found", Kind::NotFound),
    ("passphrase", Kind::NeedsUser),
    ("header", Kind::Damaged),
    ("decrypt", Kind::Damaged),
    ("unexpected EOF", Kind::Damaged),
];

struct Age;

impl Custodian for Age {
    fn wrap(&self, request: &Request, secret: &Secret) -> Result<Wrapped, Refusal> {
        let recipients = request.params.get("recipients").and_then(Value::as_array);
        let recipients: Vec<&str> = recipients.into_iter().flatten().filter_map(Value::as_str).collect();
        if recipients.is_empty() {
            return Err(Refusal::new(Kind::NotFound, "its parameters name no recipients"));
        }
        let mut arguments = vec!["--encrypt"];
        for recipient in recipients {
            check(request, recipient)?;
            arguments.extend(["--recipient", recipient]);
        }
        let ended = run(&arguments, &bind(request, secret))?;
        if !ended.success {
            return Err(ended.refusal(&SAID));
        }
        Ok(Wrapped { blob: ended.out.to_vec(), params: None, version: None })
    }

    fn unwrap(&self, request: &Request, blob: &[u8]) -> Result<Unwrapped, Refusal> {
        let identities = request.allowed.all("file");
        if identities.is_empty() {
            return Err(Refusal::new(Kind::NotAllowed, "custodians.conf names no identity: age file=PATH"));
        }
        let mut arguments = vec!["--decrypt"];
        for identity in identities {
            arguments.extend(["--identity", identity]);
        }
        let ended = run(&arguments, blob)?;
        if !ended.success {
            return Err(ended.refusal(&SAID));
        }
        Ok(Unwrapped { secret: bound_secret(request, &ended.out)?, rewrap: false })
    }
}

/// That a recipient is one, and runs nothing that isn't allowed.
fn check(request: &Request, recipient: &str) -> Result<(), Refusal> {
    if recipient.starts_with("ssh-ed25519 ") || recipient.starts_with("ssh-rsa ") {
        return Ok(());
    }
    let Some(rest) = recipient.strip_prefix("age1") else {
        // An identity, given by mistake, is a secret.
        return Err(Refusal::new(Kind::NotFound, "a recipient begins with age1, ssh-ed25519 or ssh-rsa"));
    };
    // Bech32: what is before the last 1 names the kind, and the rest has none.
    match rest.rsplit_once('1') {
        Some((plugin, _)) => request.allowed.require("plugin", plugin),
        None => Ok(()),
    }
}

fn run(arguments: &[&str], input: &[u8]) -> Result<rekeyfs_custodians::Ended, Refusal> {
    let run =
        |program| arguments.iter().fold(Tool::new(program), |tool, argument| tool.arg(argument)).run(input);
    match run(PROGRAMS[0]) {
        Err(refusal) if refusal.kind() == Kind::Missing => run(PROGRAMS[1]).map_err(|_| refusal),
        ran => ran,
    }
}

fn main() {
    serve(&Age)
}
