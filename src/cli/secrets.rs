//! Reading unlock secrets: from a file, a command, the terminal, or standard input when that is no terminal.
//! Buffers are of a fixed size, so that none leaves a copy behind by growing, and wiped when dropped.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use zeroize::Zeroizing;

use super::args::{self, BackupPass, Merge};
use super::exit::{Exit, Failure, Outcome};
use super::options::Options;
use crate::unlock::{CostLimit, KdfChoice, KeyFileError, RecoveryKey, Secret, SecretKind};

/// The longest passphrase, in bytes.
const MAX_LEN: usize = 4096;

/// What `--any-cost` says.
pub(super) fn cost_limit(any: bool) -> CostLimit {
    if any { CostLimit::Any } else { CostLimit::Usual }
}

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Source {
    /// The terminal; standard input if that is none.
    Ask,
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a shell command prints.
    Command(OsString),
    /// A key file.
    KeyFile(PathBuf),
}

/// An existing secret to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SecretPlan {
    source: Source,
    recovery: bool,
}

/// A new secret to be read or drawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NewSecretPlan {
    source: Option<Source>,
    /// Argon2id's costs, if it is a passphrase.
    pub(super) kdf: KdfChoice,
}

impl From<&args::Pass> for Source {
    fn from(pass: &args::Pass) -> Self {
        match (&pass.passfile, &pass.extpass, &pass.keyfile) {
            (Some(file), _, _) => Self::File(file.clone()),
            (_, Some(command), _) => Self::Command(command.clone()),
            (_, _, Some(file)) => Self::KeyFile(file.clone()),
            (None, None, None) => Self::Ask,
        }
    }
}

impl From<&BackupPass> for Source {
    fn from(pass: &BackupPass) -> Self {
        match (&pass.backup_passfile, &pass.backup_extpass) {
            (Some(file), _) => Self::File(file.clone()),
            (_, Some(command)) => Self::Command(command.clone()),
            (None, None) => Self::Ask,
        }
    }
}

impl SecretPlan {
    /// What the options of a command say.
    pub(super) fn new(open: &args::Open) -> Self {
        Self { source: (&open.pass).into(), recovery: open.recovery_key }
    }

    /// The passphrase of a key backup.
    pub(super) fn of_backup(pass: &BackupPass) -> Self {
        Self { source: pass.into(), recovery: false }
    }

    /// What opens a keyring or key backup that is to be merged.
    pub(super) fn of_merged(args: &Merge) -> Self {
        let source = match &args.backup_keyfile {
            Some(file) => Source::KeyFile(file.clone()),
            None => (&args.backup).into(),
        };
        Self { source, recovery: args.backup_recovery_key }
    }

    /// As [`SecretPlan::new`], with `-o` options beside it. The command's own options come first.
    ///
    /// # Errors
    /// [`Exit::Usage`] if the two don't go together.
    pub(super) fn with_options(open: Option<&args::Open>, options: &Options) -> Outcome<Self> {
        let typed = open.map_or(Source::Ask, |open| (&open.pass).into());
        let listed = match (&options.passfile, &options.extpass, &options.keyfile) {
            (Some(file), _, _) => Source::File(file.clone()),
            (_, Some(command), _) => Source::Command(command.clone()),
            (_, _, Some(file)) => Source::KeyFile(file.clone()),
            (None, None, None) => Source::Ask,
        };
        let recovery = open.is_some_and(|open| open.recovery_key) || options.recovery_key;
        let source = if typed == Source::Ask { listed } else { typed };
        if recovery && matches!(source, Source::KeyFile(_)) {
            return Err(Failure::new(Exit::Usage, "command line", "either a recovery key or a key file"));
        }
        Ok(Self { source, recovery })
    }

    /// Reads it; a prompt names `vault`.
    ///
    /// # Errors
    /// [`Exit::ReadSecret`], [`Exit::EmptyPassphrase`], [`Exit::RecoveryKey`].
    pub(super) fn read(&self, vault: &Path) -> Outcome<Secret> {
        if let Source::KeyFile(path) = &self.source {
            return read_key_file(path);
        }
        if self.recovery {
            let text =
                read_line(&self.source, "recovery key", || format!("Recovery key of {}: ", vault.display()))?;
            return RecoveryKey::parse(&text)
                .map(Secret::Recovery)
                .map_err(|error| Failure::new(Exit::RecoveryKey, "recovery key", error));
        }
        read_line(&self.source, "passphrase", || format!("Passphrase of {}: ", vault.display()))
            .map(Secret::Passphrase)
    }
}

impl NewSecretPlan {
    /// The first secret of a vault.
    pub(super) fn first(pass: &args::Pass, kdf: &args::Kdf) -> Self {
        Self { source: Some(pass.into()), kdf: kdf_choice(kdf) }
    }

    /// The passphrase of a key backup that is to be made.
    pub(super) fn of_backup(pass: &BackupPass, kdf: &args::Kdf) -> Self {
        Self { source: Some(pass.into()), kdf: kdf_choice(kdf) }
    }

    /// The new secret of `unlock add` and `unlock change`.
    pub(super) fn new(new: &args::NewSecret) -> Self {
        let source = match (&new.new_passfile, &new.new_extpass, &new.new_keyfile) {
            _ if new.new_recovery_key => None,
            (Some(file), _, _) => Some(Source::File(file.clone())),
            (_, Some(command), _) => Some(Source::Command(command.clone())),
            (_, _, Some(file)) => Some(Source::KeyFile(file.clone())),
            (None, None, None) => Some(Source::Ask),
        };
        Self { source, kdf: kdf_choice(&new.kdf) }
    }

    /// The kind of secret that it will be.
    pub(super) fn kind(&self) -> SecretKind {
        match &self.source {
            None => SecretKind::Recovery,
            Some(Source::KeyFile(_)) => SecretKind::KeyFile,
            Some(Source::File(_) | Source::Command(_) | Source::Ask) => SecretKind::Passphrase,
        }
    }

    /// Reads it, on a terminal twice, or draws a recovery key.
    ///
    /// # Errors
    /// As [`SecretPlan::read`]; [`Exit::ReadSecret`] if the two differ.
    pub(super) fn read(&self, vault: &Path) -> Outcome<Secret> {
        match &self.source {
            None => Ok(Secret::Recovery(RecoveryKey::generate())),
            Some(Source::KeyFile(path)) => read_key_file(path),
            Some(source) => {
                let first =
                    read_line(source, "passphrase", || format!("New passphrase of {}: ", vault.display()))?;
                if *source == Source::Ask && io::stdin().is_terminal() {
                    let again = read_line(source, "passphrase", || "The new passphrase again: ".into())?;
                    if first != again {
                        let cause = "the two differ; nothing was changed";
                        return Err(Failure::new(Exit::ReadSecret, "passphrase", cause));
                    }
                }
                Ok(Secret::Passphrase(first))
            }
        }
    }
}

fn kdf_choice(kdf: &args::Kdf) -> KdfChoice {
    kdf.kdf_memory.map_or(KdfChoice::Calibrated, KdfChoice::MemoryMib)
}

/// Reads the passphrase in the first line of a file.
///
/// # Errors
/// As [`SecretPlan::read`].
pub(super) fn read_passfile(path: &Path) -> Outcome<Secret> {
    read_line(&Source::File(path.to_owned()), "passphrase", String::new).map(Secret::Passphrase)
}

/// Reads a key file.
///
/// # Errors
/// [`Exit::ReadSecret`].
pub(super) fn read_key_file(path: &Path) -> Outcome<Secret> {
    let secret = File::open(path).map_err(KeyFileError::Io).and_then(Secret::read_key_file);
    secret.map_err(|error| unread(path.display(), error))
}

fn unread(object: impl Display, cause: impl Display) -> Failure {
    Failure::new(Exit::ReadSecret, object, cause)
}

fn read_line(source: &Source, what: &str, prompt: impl Fn() -> String) -> Outcome<Zeroizing<Vec<u8>>> {
    let line = match source {
        Source::File(path) | Source::KeyFile(path) => {
            let file = File::open(path).map_err(|error| unread(path.display(), error))?;
            first_line(file).map_err(|error| unread(path.display(), error))?
        }
        Source::Command(command) => line_of_command(command)?,
        Source::Ask if io::stdin().is_terminal() => {
            let typed = rpassword::prompt_password(prompt()).map_err(|error| unread(what, error))?;
            Zeroizing::new(typed.into_bytes())
        }
        Source::Ask => first_line(Unbuffered).map_err(|error| unread("standard input", error))?,
    };
    if line.is_empty() {
        let cause = format!("the {what} is empty; nothing was done");
        return Err(Failure::new(Exit::EmptyPassphrase, what, cause));
    }
    Ok(line)
}

fn line_of_command(command: &OsString) -> Outcome<Zeroizing<Vec<u8>>> {
    let failed = |cause: String| unread("--extpass command", cause);
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let line = match child.stdout.take() {
        Some(mut out) => {
            let line = first_line(&mut out);
            // What it prints beyond its first line is of no use; left unread it could block it.
            let _ = io::copy(&mut out, &mut io::sink());
            line
        }
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(format!("it failed ({status})")));
    }
    line.map_err(|error| failed(error.to_string()))
}

/// The bytes before the first line feed, or the end.
fn first_line(mut from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LEN));
    let mut byte = Zeroizing::new([0; 1]);
    loop {
        match from.read(&mut *byte) {
            Ok(0) => return Ok(line),
            Ok(_) if byte[0] == b'\n' => return Ok(line),
            Ok(_) if line.len() == MAX_LEN => {
                return Err(io::Error::other(format!(
                    "over {MAX_LEN} bytes in a line; it can't be a passphrase"
                )));
            }
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Standard input without a buffer: the next secret's line stays where it is, and no copy is left behind.
struct Unbuffered;

impl Read for Unbuffered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        rustix::io::read(rustix::stdio::stdin(), buf).map_err(|errno: Errno| errno.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(contents: &[u8]) -> (tempfile::TempDir, Source) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        std::fs::write(&path, contents).unwrap();
        (dir, Source::File(path))
    }

    fn read(source: &Source) -> Outcome<Vec<u8>> {
        read_line(source, "passphrase", || "?".into()).map(|line| line.to_vec())
    }

    #[test]
    fn a_passfile_gives_its_first_line() {
        for (contents, want) in [
            (&b"secret"[..], &b"secret"[..]),
            (b"secret\n", b"secret"),
            (b"se cret \nmore\n", b"se cret "),
            (b"\xff\x00\r\n", b"\xff\x00\r"),
        ] {
            let (_dir, source) = written(contents);
            assert_eq!(read(&source).unwrap(), want);
        }
    }

    #[test]
    fn empty_and_endless_ones_are_refused() {
        for contents in [&b""[..], b"\n", b"\nsecond\n"] {
            let (_dir, source) = written(contents);
            assert_eq!(read(&source).unwrap_err().exit, Exit::EmptyPassphrase);
        }
        let (_dir, source) = written(&[b'x'; MAX_LEN]);
        assert_eq!(read(&source).unwrap().len(), MAX_LEN);
        let (_dir, source) = written(&[b'x'; MAX_LEN + 1]);
        assert_eq!(read(&source).unwrap_err().exit, Exit::ReadSecret);
        assert_eq!(read(&Source::File("/nonexistent".into())).unwrap_err().exit, Exit::ReadSecret);
    }

    #[test]
    fn a_command_gives_its_first_line_and_must_succeed() {
        assert_eq!(read(&Source::Command("printf 'a b\\nc\\n'".into())).unwrap(), b"a b");
        assert_eq!(read(&Source::Command("yes | head -c 1000000".into())).unwrap(), b"y");
        assert_eq!(read(&Source::Command("echo x; false".into())).unwrap_err().exit, Exit::ReadSecret);
        assert_eq!(read(&Source::Command("true".into())).unwrap_err().exit, Exit::EmptyPassphrase);
    }
}
