//! A profile's `credential_process`: a program that prints credentials.

use std::path::Path;

use rekeyfs_custodians::{Allowed, Kind, Refusal, Tool};
use serde_json::Value;

use super::access_key::{Credentials, denied};

/// Runs it, without a shell.
///
/// # Errors
/// [`Kind::NotAllowed`] if its program isn't on the list by its path; [`Kind::Denied`] if it gives none.
pub(super) fn credentials(command: &str, allowed: &Allowed) -> Result<Credentials, Refusal> {
    let words = shlex::split(command).unwrap_or_default();
    let Some((program, arguments)) = words.split_first() else {
        return Err(denied("its profile's credential_process is no command"));
    };
    allowed.require("plugin", program)?;
    if !Path::new(program).is_absolute() {
        return Err(Refusal::new(
            Kind::NotAllowed,
            format!("credential_process {program} isn't a whole path"),
        ));
    }
    let ended = arguments.iter().fold(Tool::new(program), |tool, argument| tool.arg(argument)).run(b"")?;
    if !ended.success {
        return Err(denied(format!("credential_process {program}: {}", ended.last_error())));
    }
    let answer: Option<Value> = serde_json::from_slice(&ended.out).ok();
    let answer = answer.filter(|answer| answer.get("Version").and_then(Value::as_u64) == Some(1));
    let found = answer.and_then(|answer| Credentials::of_json(&answer, "SessionToken"));
    found.ok_or_else(|| denied(format!("what credential_process {program} printed are no credentials")))
}
