//! The program `age` (age-encryption.org), which seals a kept backup's root key for recipients and opens it with an identity.
//! It is executed, and only by the two commands that need it, never by a mount: so whatever that program can do, plugins and
//! ssh keys too, works here, and nothing of it is in the process that holds the vault's keys for years.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use zeroize::Zeroizing;

use super::args::AgeRecipients;
use super::exit::{Exit, Failure, Outcome};
use crate::unlock::{AGE_PAYLOAD, AgeOpened, MAX_AGE_FILE};

/// The program, and another one that takes the same options.
const PROGRAMS: [&str; 2] = ["age", "rage"];

/// Who can open a backup.
pub(super) struct Recipients<'a> {
    /// As age takes them: `age1…`, `ssh-…`.
    pub(super) keys: &'a [String],
    /// Files of them.
    pub(super) files: &'a [PathBuf],
}

impl<'a> Recipients<'a> {
    /// Those that the options of a command name.
    ///
    /// # Errors
    /// [`Exit::Usage`] for what can't be one: an option of age, or an identity by mistake.
    pub(super) fn of(args: &'a AgeRecipients) -> Outcome<Self> {
        let recipients = Self { keys: &args.recipient, files: &args.recipients_file };
        recipients.check().map(|()| recipients)
    }

    fn check(&self) -> Outcome {
        let strange = self.keys.iter().find(|key| !key.starts_with("age1") && !key.starts_with("ssh-"));
        if let Some(key) = strange {
            // An identity is a secret, and isn't printed.
            let shown = if key.to_ascii_uppercase().starts_with("AGE-SECRET") { "an identity" } else { key };
            let cause = format!("{shown} is no recipient; one begins with age1 or ssh-");
            return Err(Failure::new(Exit::Usage, "--recipient", cause));
        }
        Ok(())
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.files.is_empty()
    }

    /// Encrypts for all of them.
    ///
    /// # Errors
    /// [`Exit::Usage`] for what age takes for no recipient; [`Exit::ReadSecret`] without age.
    pub(super) fn encrypt(&self, payload: &[u8]) -> Outcome<Vec<u8>> {
        let keys = self.keys.iter().flat_map(|key| [OsStr::new("--recipient"), OsStr::new(key)]);
        let files = self.files.iter().flat_map(|file| [OsStr::new("--recipients-file"), file.as_os_str()]);
        let arguments: Vec<&OsStr> = [OsStr::new("--encrypt")].into_iter().chain(keys).chain(files).collect();
        let ended = run(&arguments, payload, MAX_AGE_FILE, Stdio::piped())?;
        if ended.success && ended.out.starts_with(b"age-encryption.org/v1\n") {
            return Ok(ended.out.to_vec());
        }
        Err(Failure::new(Exit::Usage, "--recipient", ended.cause("age encrypted nothing")))
    }
}

/// Decrypts the first of these age files that the identity in a file opens.
///
/// # Errors
/// [`Exit::WrongSecret`] if it opens none; [`Exit::ReadSecret`] without age.
pub(super) fn decrypt(identity: &Path, age_files: &[Vec<u8>]) -> Outcome<AgeOpened> {
    let arguments = [OsStr::new("--decrypt"), OsStr::new("--identity"), identity.as_os_str()];
    let mut cause = "the key backup isn't sealed for age recipients; leave --identity out".to_owned();
    for file in age_files {
        // At a terminal a plugin may ask to touch a device.
        let errors = if io::stderr().is_terminal() { Stdio::inherit() } else { Stdio::piped() };
        let ended = run(&arguments, file, AGE_PAYLOAD, errors)?;
        match AgeOpened::parse(&ended.out) {
            Some(opened) if ended.success => return Ok(opened),
            _ => cause = ended.cause("it doesn't open this key backup"),
        }
    }
    Err(Failure::new(Exit::WrongSecret, identity.display(), cause))
}

/// What the program came to.
struct Ended {
    success: bool,
    /// Wiped: it may be what was decrypted.
    out: Zeroizing<Vec<u8>>,
    errors: String,
}

impl Ended {
    fn cause(&self, otherwise: &str) -> String {
        let line = self.errors.lines().find_map(|line| line.split_once("rror: ").map(|(_, cause)| cause));
        line.map_or_else(|| otherwise.to_owned(), |line| format!("{otherwise}: {line}"))
    }
}

fn run(arguments: &[&OsStr], input: &[u8], most: usize, errors: Stdio) -> Outcome<Ended> {
    let failed = |error: io::Error| Failure::new(Exit::ReadSecret, "age", error);
    let mut child = start(arguments, errors)?;
    // What is printed is less than a pipe holds, and comes once the input was read.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input));
    let mut out = Zeroizing::new(Vec::with_capacity(most + 1));
    let read = child.stdout.take().map_or(Ok(0), |stdout| stdout.take(most as u64 + 1).read_to_end(&mut out));
    let mut text = Vec::new();
    if let Some(errors) = child.stderr.take() {
        let _ = errors.take(4096).read_to_end(&mut text);
    }
    let status = child.wait().map_err(failed)?;
    read.map_err(failed)?;
    // A program that refuses its arguments doesn't read its input.
    let success = status.success() && written.is_ok() && out.len() <= most;
    Ok(Ended { success, out, errors: String::from_utf8_lossy(&text).into_owned() })
}

fn start(arguments: &[&OsStr], errors: Stdio) -> Outcome<Child> {
    let mut errors = Some(errors);
    for program in PROGRAMS {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(errors.take().unwrap_or_else(Stdio::piped));
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::new(Exit::ReadSecret, program, error)),
        }
    }
    let cause = "the program isn't installed; install the package age, or use a passphrase for the backup";
    Err(Failure::new(Exit::ReadSecret, "age", cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_recipient_is_refused_and_an_identity_is_not_printed() {
        let check = |keys: &[String]| Recipients { keys, files: &[] }.check();
        assert!(check(&["age1abc".into(), "ssh-ed25519 AAAA".into()]).is_ok());
        let refused = check(&["AGE-SECRET-KEY-1QQQ".into()]).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(!refused.to_string().contains("QQQ"), "{refused}");
        assert!(check(&["--passphrase".into()]).unwrap_err().to_string().contains("--passphrase"));
    }
}
