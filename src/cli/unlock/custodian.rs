//! A custodian for a slot: which one the options say, and the KEK that it is given to keep.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::slot_ref::KnownSlot;
use crate::cli::args;
use crate::cli::custodians::{self, Terminal};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::custody::{Environment, Host, Prompt, Refusal};
use crate::ids::VaultId;
use crate::unlock::custodian::{CustodySlot, hold, unwraps};
use crate::unlock::{CustodianName, Custody, CustodyParams, Secret};

/// A custodian, and what it finds its key by.
pub(super) struct NewCustodian {
    name: CustodianName,
    params: CustodyParams,
}

impl NewCustodian {
    /// What the options say; none if they say no custodian.
    ///
    /// # Errors
    /// [`Exit::Usage`]: it is none.
    pub(super) fn named(args: &args::NewCustodian) -> Outcome<Option<Self>> {
        if let Some(name) = &args.plugin {
            return Self::of(name, parse_params("--params", args.params.as_deref())?.unwrap_or_default())
                .map(Some);
        }
        if let Some(params) = parse_params("--clevis", args.clevis.as_deref())? {
            return Self::of("clevis", params).map(Some);
        }
        // clap lets no two of them be given.
        let (name, params) = if let Some(key) = &args.systemd_creds {
            ("systemd-creds", json!({ "with-key": key }))
        } else if let Some(key) = &args.aws_kms {
            ("aws-kms", json!({ "key": key }))
        } else if args.tpm2 {
            ("tpm2", json!({ "pcrs": args.pcrs, "pin": args.pin }))
        } else if let Some(device) = &args.fido2 {
            let params = match device {
                Some(device) => json!({ "authenticator": key_name(device)? }),
                None => json!({}),
            };
            ("fido2", params)
        } else if let Some(uri) = &args.pkcs11 {
            ("pkcs11", json!({ "uri": token_uri(uri)? }))
        } else if !args.age.is_empty() {
            ("age", json!({ "recipients": args.age }))
        } else {
            return Ok(None);
        };
        let params = serde_json::from_value(params);
        Self::of(name, params.map_err(|error| Failure::new(Exit::Usage, format!("--{name}"), error))?)
            .map(Some)
    }

    fn of(name: &str, params: CustodyParams) -> Outcome<Self> {
        let wrong = |cause| Failure::new(Exit::Usage, format!("--plugin {name}"), cause);
        Ok(Self { name: name.parse().map_err(wrong)?, params })
    }

    /// That of a slot, with other parameters where they are given.
    pub(super) fn again(old: &Custody, params: Option<CustodyParams>) -> Self {
        let params = params.unwrap_or_else(|| old.params().clone());
        Self { name: old.custodian().clone(), params }
    }

    /// Has it keep a KEK for a new slot of the vault, within this time. It may ask a person; for a PIN, too, if one that it has stored is
    /// wrong.
    ///
    /// # Errors
    /// Why it doesn't.
    pub(super) fn hold(&self, vault: VaultId, limit: Duration) -> Outcome<Secret> {
        self.ask(limit, |host, on| hold(host, vault, &self.name, &self.params, on)).map(Secret::Custodian)
    }

    /// Has it unwrap the KEK of a slot of the vault, as [`NewCustodian::hold`] has it wrap one: whether it is that slot's own.
    ///
    /// # Errors
    /// Why it doesn't.
    pub(super) fn opens(&self, vault: VaultId, slot: &CustodySlot, limit: Duration) -> Outcome {
        self.ask(limit, |host, on| unwraps(host, vault, slot, on))
    }

    fn ask<T>(
        &self,
        limit: Duration,
        ask: impl Fn(&Host, &mut dyn Prompt) -> Result<T, Refusal>,
    ) -> Outcome<T> {
        let host = custodians::host(Environment::OfCaller, limit)?;
        let failure = |refusal: &Refusal| custodians::failure(&format!("custodian {}", self.name), refusal);
        let mut terminal = Terminal { custodian: &self.name, types_pin: false };
        let mut done = ask(&host, &mut terminal);
        if let Err(refusal) = &done
            && custodians::is_stored_pin(refusal)
            && terminal.interactive()
        {
            output::complain(&failure(refusal));
            terminal.types_pin = true;
            done = ask(&host, &mut terminal);
        }
        done.map_err(|refusal| failure(&refusal))
    }
}

/// Which of several FIDO2 keys, by the name of its device. No path is said: `custodians.conf` needn't have a device whose number
/// changes with each plugging in, and the helper takes only those that it finds.
///
/// # Errors
/// [`Exit::Usage`]: it is empty.
fn key_name(device: &str) -> Outcome<&str> {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    if name.is_empty() {
        return Err(Failure::new(Exit::Usage, "--fido2", "it names no device; `fido2-token -L` shows them"));
    }
    Ok(name)
}

/// A URI of PKCS#11 as it is typed. What stands behind a `?` in one, its helper refuses too: here it is before a PIN is shown to
/// anybody, in a message or a vault.
///
/// # Errors
/// [`Exit::Usage`]: it says how to get to the token.
fn token_uri(uri: &str) -> Outcome<&str> {
    if !uri.contains('?') {
        return Ok(uri);
    }
    let cause = "what is behind the ? would stand in the vault for everybody to read and change; custodians.conf names the module \
                 (module=) and the PIN's file (file=)";
    Err(Failure::new(Exit::Usage, "--pkcs11", cause))
}

/// Parameters as they are typed, behind an option.
///
/// # Errors
/// [`Exit::Usage`]: they are none.
pub(super) fn parse_params(option: &str, text: Option<&str>) -> Outcome<Option<CustodyParams>> {
    let wrong = |cause: String| Failure::new(Exit::Usage, option, cause);
    let Some(text) = text else { return Ok(None) };
    let map: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| wrong(format!("it is no JSON object: {error}")))?;
    map.try_into().map(Some).map_err(|error: crate::unlock::CustodyError| wrong(error.to_string()))
}

/// A slot that is known to be a custodian's.
pub(super) fn of_custodian(known: &KnownSlot) -> Option<CustodySlot> {
    Some(CustodySlot { id: known.info.id?, custody: known.info.custody.clone()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Command, Invocation, UnlockCommand, parse};

    fn named(options: &str) -> Outcome<Option<(String, String)>> {
        let line = format!("rekeyfs unlock add v {options}");
        let Invocation::Command(command) = parse(line.split_whitespace().map(Into::into))? else {
            panic!("no command")
        };
        let Command::Unlock(unlock) = *command else { panic!("no unlock") };
        let UnlockCommand::Add(add) = unlock.command else { panic!("no add") };
        let named = NewCustodian::named(&add.custodian)?;
        Ok(named.map(|named| (named.name.to_string(), named.params.to_line())))
    }

    #[test]
    fn each_option_says_a_custodian_and_its_parameters() {
        let told = |name: &str, params: &str| Ok(Some((name.to_owned(), params.to_owned())));
        assert_eq!(named(""), Ok(None));
        assert_eq!(named("--plugin acme"), told("acme", "{}"));
        assert_eq!(named(r#"--plugin acme --params {"b":1,"a":2}"#), told("acme", r#"{"a":2,"b":1}"#));
        assert_eq!(named("--age age1a --age age1b"), told("age", r#"{"recipients":["age1a","age1b"]}"#));
        assert_eq!(named("--systemd-creds tpm2"), told("systemd-creds", r#"{"with-key":"tpm2"}"#));
        let arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd";
        assert_eq!(named(&format!("--aws-kms {arn}")), told("aws-kms", &format!(r#"{{"key":"{arn}"}}"#)));
        assert_eq!(
            named("--pkcs11 pkcs11:token=t1;object=kek"),
            told("pkcs11", r#"{"uri":"pkcs11:token=t1;object=kek"}"#)
        );
        assert_eq!(named("--tpm2"), told("tpm2", r#"{"pcrs":"7","pin":false}"#));
        assert_eq!(named("--tpm2 --pcrs 7+11 --pin"), told("tpm2", r#"{"pcrs":"7+11","pin":true}"#));
        assert_eq!(named("--fido2"), told("fido2", "{}"));
        for device in ["hidraw1", "/dev/hidraw1"] {
            assert_eq!(named(&format!("--fido2={device}")), told("fido2", r#"{"authenticator":"hidraw1"}"#));
        }
        assert_eq!(named(r#"--clevis {"plugin":"tpm2"}"#), told("clevis", r#"{"plugin":"tpm2"}"#));
    }

    #[test]
    fn what_is_no_custodian_or_two_is_refused() {
        for wrong in [
            "--plugin ../sh",
            "--plugin acme --params []",
            r#"--plugin acme --params {"n":0.5}"#,
            "--clevis tang",
            "--params {}",
            "--age age1a --pin",
            "--pin",
            "--age age1a --params {}",
            "--tpm2 --aws-kms alias/a",
            "--pkcs11 pkcs11:token=t?pin-value=1",
            "--pkcs11 pkcs11:token=t --pin",
            "--pcrs 7",
            "--age age1a --pcrs 7",
            "--fido2=",
            "--fido2 --pin",
            "--fido2 --pcrs 7",
            "--fido2 --tpm2",
            "--fido2 --params {}",
            "--tpm2 --params {}",
            "--age age1a --plugin acme",
            "--age age1a --new-keyfile k",
            "--systemd-creds host --kdf-memory 8",
        ] {
            assert_eq!(named(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }
}
