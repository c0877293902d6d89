//! Reading unlock secrets: from a file, a command, the terminal, or standard input when that is no terminal.
//! Buffers are of a fixed size, so that none leaves a copy behind by growing, and wiped when dropped.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::io::Errno;
use zeroize::Zeroizing;

use super::args::{self, BackupPass, Merge};
use super::credentials;
use super::custodian_choice::Custodians;
use super::exit::{Exit, Failure, Outcome};
use super::options::Options;
use super::output;
use super::strength;
use crate::crypto::password::KdfParams;
use crate::sys;
use crate::unlock::{self, CostLimit, KdfChoice, KeyFileError, RecoveryKey, Secret, SecretKind};

/// The longest passphrase, in bytes.
const MAX_LEN: usize = 4096;

/// How often a secret is asked for at a terminal while it is wrong.
const TRIES: usize = 3;

/// What `--any-cost` says.
pub(super) fn cost_limit(any: bool) -> CostLimit {
    if any { CostLimit::Any } else { CostLimit::Usual }
}

/// As the name of a file: standard input.
const STDIN: &str = "-";

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

impl Source {
    /// Whether it is, or may be, a line of standard input.
    fn is_stdin(&self) -> bool {
        match self {
            Self::Ask => true,
            Self::File(path) => path.as_os_str() == STDIN,
            Self::Command(_) | Self::KeyFile(_) => false,
        }
    }
}

/// Which of the secrets of a command one is: a command may take two or three, and a message says which it is about, and
/// by which options it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// What opens the vault.
    Opens,
    /// The first secret of a vault that is made.
    First,
    /// A new one of a vault.
    New,
    /// The one that opens a key backup.
    OpensBackup,
    /// The one of a key backup that is made.
    NewOfBackup,
    /// One whose slot a revocation keeps.
    Kept,
}

impl Role {
    /// As in "the new passphrase of PLACE".
    fn name(self, kind: SecretKind, place: &Path) -> String {
        let place = place.display();
        match self {
            Self::Opens => format!("{kind} of {place}"),
            Self::First | Self::New => format!("new {kind} of {place}"),
            Self::OpensBackup => format!("{kind} of the key backup {place}"),
            Self::NewOfBackup => format!("new {kind} of the key backup {place}"),
            Self::Kept => format!("{kind} to be kept of {place}"),
        }
    }

    /// The options that name a file with it, and a command that prints it.
    const fn options(self) -> (&'static str, &'static str) {
        match self {
            Self::Opens | Self::First => ("--passfile", "--extpass"),
            Self::New => ("--new-passfile", "--new-extpass"),
            Self::OpensBackup | Self::NewOfBackup => ("--backup-passfile", "--backup-extpass"),
            Self::Kept => ("--keep-passfile", "--extpass"),
        }
    }
}

/// An existing secret to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SecretPlan {
    source: Source,
    recovery: bool,
    role: Role,
    custodians: Custodians,
}

/// A new secret to be read or drawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NewSecretPlan {
    source: Option<Source>,
    role: Role,
    /// Argon2id's costs, if it is a passphrase.
    pub(super) kdf: KdfChoice,
}

impl Source {
    /// Whether someone types it at a terminal.
    fn is_typed(&self) -> bool {
        *self == Self::Ask && io::stdin().is_terminal()
    }
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
        let custodians = Custodians::of(open);
        Self { source: (&open.pass).into(), recovery: open.recovery_key, role: Role::Opens, custodians }
    }

    /// The passphrase of a key backup.
    pub(super) fn of_backup(pass: &BackupPass) -> Self {
        let custodians = Custodians::none();
        Self { source: pass.into(), recovery: false, role: Role::OpensBackup, custodians }
    }

    /// What opens a keyring or key backup that is to be merged.
    pub(super) fn of_merged(args: &Merge) -> Self {
        let source = match &args.backup_keyfile {
            Some(file) => Source::KeyFile(file.clone()),
            None => (&args.backup).into(),
        };
        let custodians = Custodians::none();
        Self { source, recovery: args.backup_recovery_key, role: Role::OpensBackup, custodians }
    }

    /// Refuses a secret that would be read from standard input where that has a key backup.
    ///
    /// # Errors
    /// [`Exit::Usage`].
    pub(super) fn not_from_stdin(&self) -> Outcome {
        refuse_stdin(&self.source, self.role)
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
        let custodians = Custodians::with_options(open, options, recovery || source != Source::Ask)?;
        Ok(Self { source, recovery, role: Role::Opens, custodians })
    }

    /// Which custodians are asked first, and for how long.
    pub(super) fn custodians(&self) -> &Custodians {
        &self.custodians
    }

    /// Whether this is the failure to find a secret where none was given and nobody can be asked.
    pub(super) fn has_no_line(&self, failure: &Failure) -> bool {
        let unread = matches!(failure.exit, Exit::ReadSecret | Exit::EmptyPassphrase);
        unread && self.source == Source::Ask && !self.source.is_typed()
    }

    /// Reads it and has `open` try it. At a terminal it is asked for again while it is wrong, three times in all; prompts
    /// and errors name `vault`, or the key backup.
    ///
    /// # Errors
    /// [`Exit::ReadSecret`], [`Exit::EmptyPassphrase`], [`Exit::RecoveryKey`], and those of `open`.
    pub(super) fn try_with<T>(&self, vault: &Path, mut open: impl FnMut(Secret) -> Outcome<T>) -> Outcome<T> {
        let mut tries = if self.source.is_typed() { TRIES } else { 1 };
        loop {
            tries -= 1;
            match self.read(vault).and_then(&mut open) {
                Err(failure)
                    if tries > 0 && matches!(failure.exit, Exit::WrongSecret | Exit::RecoveryKey) =>
                {
                    super::output::complain(&failure);
                }
                done => return done,
            }
        }
    }

    /// Reads it, for what tries it once: a secret that is tested, that of a key backup.
    ///
    /// # Errors
    /// [`Exit::ReadSecret`], [`Exit::EmptyPassphrase`], [`Exit::RecoveryKey`].
    pub(super) fn read(&self, vault: &Path) -> Outcome<Secret> {
        if let Source::KeyFile(path) = &self.source {
            return read_key_file(path);
        }
        let kind = if self.recovery { SecretKind::Recovery } else { SecretKind::Passphrase };
        let line = Asked { source: &self.source, role: self.role, kind, place: vault }.read()?;
        if !self.recovery {
            return Ok(Secret::Passphrase(line));
        }
        RecoveryKey::parse(&line)
            .map(Secret::Recovery)
            .map_err(|error| Failure::new(Exit::RecoveryKey, self.role.name(kind, vault), error))
    }
}

impl NewSecretPlan {
    /// The first secret of a vault.
    pub(super) fn first(pass: &args::Pass, kdf: &args::Kdf) -> Self {
        Self { source: Some(pass.into()), role: Role::First, kdf: kdf_choice(kdf) }
    }

    /// The passphrase of a key backup that is to be made.
    pub(super) fn of_backup(pass: &BackupPass, kdf: &args::Kdf) -> Self {
        Self { source: Some(pass.into()), role: Role::NewOfBackup, kdf: kdf_choice(kdf) }
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
        Self { source, role: Role::New, kdf: kdf_choice(&new.kdf) }
    }

    /// As [`SecretPlan::not_from_stdin`].
    ///
    /// # Errors
    /// [`Exit::Usage`].
    pub(super) fn not_from_stdin(&self) -> Outcome {
        self.source.as_ref().map_or(Ok(()), |source| refuse_stdin(source, self.role))
    }

    /// The kind of secret that it will be.
    pub(super) fn kind(&self) -> SecretKind {
        match &self.source {
            None => SecretKind::Recovery,
            Some(Source::KeyFile(_)) => SecretKind::KeyFile,
            Some(Source::File(_) | Source::Command(_) | Source::Ask) => SecretKind::Passphrase,
        }
    }

    /// Reads it, on a terminal twice, or draws a recovery key. Warns of a passphrase that is easily guessed.
    ///
    /// # Errors
    /// As [`SecretPlan::read`]; [`Exit::ReadSecret`] if the two differ.
    pub(super) fn read(&self, vault: &Path) -> Outcome<Secret> {
        match &self.source {
            None => Ok(Secret::Recovery(RecoveryKey::generate())),
            Some(Source::KeyFile(path)) => read_key_file(path),
            Some(source) => {
                let asked = Asked { source, role: self.role, kind: SecretKind::Passphrase, place: vault };
                let first = asked.read()?;
                if source.is_typed() {
                    let again = asked.read_again()?;
                    if first != again {
                        let cause = "the two differ; nothing was changed";
                        return Err(Failure::new(Exit::ReadSecret, asked.name(), cause));
                    }
                }
                if let Some(weakness) = strength::weakness(&first, vault) {
                    output::complain(&format!("the {} is {weakness}", asked.name()));
                }
                Ok(Secret::Passphrase(first))
            }
        }
    }
}

fn refuse_stdin(source: &Source, role: Role) -> Outcome {
    if !source.is_stdin() {
        return Ok(());
    }
    let (file, command) = role.options();
    let cause = format!("the key backup is read from it, so no secret is; give {file} or {command}");
    Err(Failure::new(Exit::Usage, "standard input", cause))
}

fn kdf_choice(kdf: &args::Kdf) -> KdfChoice {
    kdf.kdf_memory.map_or(KdfChoice::Calibrated, KdfChoice::MemoryMib)
}

/// What a new slot costs to try; `old` is what one costs that it replaces.
///
/// # Errors
/// [`Exit::Usage`]: less memory than rekeyfs takes.
pub(super) fn calibrate(choice: KdfChoice, old: Option<KdfParams>) -> Outcome<KdfParams> {
    unlock::calibrate_in_place_of(choice, old)
        .map_err(|error| Failure::new(Exit::Usage, "--kdf-memory", error))
}

/// Reads the passphrase of `vault` in the first line of a file, whose slot a revocation keeps.
///
/// # Errors
/// As [`SecretPlan::read`].
pub(super) fn read_kept_passfile(path: &Path, vault: &Path) -> Outcome<Secret> {
    let source = Source::File(path.to_owned());
    let asked = Asked { source: &source, role: Role::Kept, kind: SecretKind::Passphrase, place: vault };
    asked.read().map(Secret::Passphrase)
}

/// Reads a key file.
///
/// # Errors
/// [`Exit::ReadSecret`].
pub(super) fn read_key_file(path: &Path) -> Outcome<Secret> {
    let secret = File::open(path).map_err(KeyFileError::Io).and_then(Secret::read_key_file);
    secret.map_err(|error| match error {
        KeyFileError::Io(error) => {
            Failure::new(Exit::ReadSecret, path.display(), unread_file(path, "key file", &error))
        }
        KeyFileError::Length => Failure::new(Exit::ReadSecret, path.display(), error),
    })
}

/// Why a secret's file can't be read.
fn unread_file(path: &Path, what: &str, error: &io::Error) -> String {
    let missing = error.kind() == io::ErrorKind::NotFound;
    match credentials::remedy(path).filter(|_| missing) {
        Some(remedy) => format!("can't read the {what}: {remedy}"),
        None => format!("can't read the {what}: {error}"),
    }
}

/// A secret in a line of text that is to be read.
struct Asked<'a> {
    source: &'a Source,
    role: Role,
    kind: SecretKind,
    /// The vault, or the key backup.
    place: &'a Path,
}

impl Asked<'_> {
    fn name(&self) -> String {
        self.role.name(self.kind, self.place)
    }

    fn read(&self) -> Outcome<Zeroizing<Vec<u8>>> {
        let name = self.name();
        let (file_option, command_option) = self.role.options();
        let unread = |object: String, cause: String| Failure::new(Exit::ReadSecret, object, cause);
        let (line, object, empty) = match self.source {
            Source::File(path) if path.as_os_str() == STDIN => {
                let object = "standard input".to_owned();
                let line = first_line(Unbuffered)
                    .map_err(|error| unread(object.clone(), format!("can't read the {name}: {error}")))?;
                (line, object, format!("its next line should be the {name}, and is empty; nothing was done"))
            }
            Source::File(path) | Source::KeyFile(path) => {
                let object = path.display().to_string();
                let line = File::open(path)
                    .and_then(first_line)
                    .map_err(|error| unread(object.clone(), unread_file(path, &name, &error)))?;
                (line, object, format!("its first line should be the {name}, and is empty; nothing was done"))
            }
            Source::Command(command) => {
                let object = format!("{command_option} command");
                let line = line_of_command(command)
                    .map_err(|cause| unread(object.clone(), format!("no {name}: {cause}")))?;
                (line, object, format!("its first line should be the {name}, and is empty; nothing was done"))
            }
            Source::Ask if self.source.is_typed() => {
                let line = super::prompt::ask(&format!("{}: ", capitalized(&name)))
                    .map_err(|error| unread(name.clone(), error.to_string()))?;
                (line, name, "nothing was typed, and nothing was done".to_owned())
            }
            Source::Ask => {
                let line = first_line(Unbuffered)
                    .map_err(|error| unread(name.clone(), format!("standard input: {error}")))?;
                let cause = format!(
                    "standard input has no line for it; type it at a terminal, or give {file_option} or \
                     {command_option}. Nothing was done"
                );
                (line, name, cause)
            }
        };
        if line.is_empty() {
            return Err(Failure::new(Exit::EmptyPassphrase, object, empty));
        }
        Ok(line)
    }

    /// Has it typed a second time.
    fn read_again(&self) -> Outcome<Zeroizing<Vec<u8>>> {
        super::prompt::ask(&format!("The new {} again: ", self.kind))
            .map_err(|error| Failure::new(Exit::ReadSecret, self.name(), error))
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The first line that a shell command prints, or why there is none.
fn line_of_command(command: &OsString) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut child = sys::process::helper("/bin/sh")
        .arg("-c")
        .arg(command)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let line = match child.stdout.take() {
        Some(mut out) => {
            let line = first_line(&mut out);
            // What it prints beyond its first line is of no use; left unread it could block it.
            let _ = io::copy(&mut out, &mut io::sink());
            line
        }
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("it failed ({status})"));
    }
    line.map_err(|error| error.to_string())
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
mod tests;
