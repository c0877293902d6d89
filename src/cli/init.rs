//! `rekeyfs init`.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::args;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::output;
use super::secrets::NewSecretPlan;
use crate::crypto::password::KdfParams;
use crate::crypto::suite::Suite;
use crate::keyring::{KeyringFile, OpenOptions};
use crate::storage::{self, DirStream, LowerFs};
use crate::unlock::{self, RecoveryKey, Secret};

/// A vault to be made.
struct Plan {
    vault: PathBuf,
    suite: Suite,
    kdf: KdfParams,
    secret: NewSecretPlan,
    recovery_key: bool,
}

impl Plan {
    fn new(args: &args::Init) -> Outcome<Self> {
        let suite = args.suite.parse().map_err(|error| Failure::new(Exit::Usage, "--suite", error))?;
        let secret = NewSecretPlan::first(&args.pass, &args.kdf);
        let kdf = unlock::calibrate(secret.kdf)
            .map_err(|error| Failure::new(Exit::Usage, "--kdf-memory", error))?;
        Ok(Self { vault: args.vault.clone(), suite, kdf, secret, recovery_key: !args.no_recovery_key })
    }
}

/// Makes a vault. What it made is removed again if it fails.
///
/// # Errors
/// [`Exit::Vault`] if the directory isn't empty; [`Exit::Init`] if the vault can't be written; those of
/// reading a secret.
pub(super) fn run(args: &args::Init) -> Outcome {
    let plan = Plan::new(args)?;
    // Before anyone types a passphrase; it is looked at again when the directory is made.
    refuse_unusable(&plan.vault)?;
    let secret = plan.secret.read(&plan.vault)?;
    let recovery = plan.recovery_key.then(RecoveryKey::generate);
    let text = recovery.as_ref().map(RecoveryKey::to_text);
    let recovery = recovery.map(Secret::Recovery);

    let made = make_directory(&plan.vault)?;
    let secrets: Vec<&Secret> = std::iter::once(&secret).chain(&recovery).collect();
    let vault_id = fill(&plan, &secrets).inspect_err(|_| {
        // With a keyring it is a vault, though perhaps not a durable one.
        if !plan.vault.join("keyring").exists() {
            let _ = fs::remove_dir(plan.vault.join("tree"));
        }
        if made {
            let _ = fs::remove_dir(&plan.vault);
        }
    })?;
    if let Some(risk) = power_cut_risk(&plan.vault) {
        output::complain(&format!("{}: {risk}", plan.vault.display()));
    }
    output::print(&format!("vault {vault_id} is made\n"))?;
    text.map_or(Ok(()), |text| show_recovery_key(&text))
}

/// Shows a new recovery key, the only time it can be seen.
///
/// # Errors
/// If standard output can't be written.
pub(super) fn show_recovery_key(text: &Zeroizing<String>) -> Outcome {
    output::print("\nRecovery key, shown this once; write it down and keep it elsewhere:\n\n    ")?;
    output::print(text)?;
    output::print("\n\nIt opens the vault with --recovery-key if the passphrase or key file is lost.\n")
}

/// What a mount of it will warn of, told while the vault can still be made elsewhere.
fn power_cut_risk(vault: &Path) -> Option<String> {
    let vault = File::open(vault).ok()?;
    LowerFs::probe(vault.as_fd()).ok()?.power_cut_risk()
}

fn refuse_unusable(vault: &Path) -> Outcome {
    match fs::read_dir(vault).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let cause = "the directory is not empty; a vault is made in a new or an empty one";
            Err(Failure::new(Exit::Vault, vault.display(), cause))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::new(Exit::Vault, vault.display(), error)),
    }
}

/// Makes the directory, if it isn't there; whether it did.
fn make_directory(vault: &Path) -> Outcome<bool> {
    match DirBuilder::new().mode(0o700).create(vault) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => refuse_unusable(vault).map(|()| false),
        Err(error) => Err(Failure::new(Exit::Vault, vault.display(), error)),
    }
}

fn fill(plan: &Plan, secrets: &[&Secret]) -> Outcome<crate::ids::VaultId> {
    let failed = |error: io::Error| Failure::new(Exit::Init, plan.vault.display(), error);
    DirBuilder::new().mode(0o700).create(plan.vault.join("tree")).map_err(failed)?;
    give_tree_to_owner(&plan.vault).map_err(failed)?;
    // The keyring makes it a vault; its own directory entry is durable then, those around it here.
    let opened = KeyringFile::create(&plan.vault, plan.suite, secrets, plan.kdf, &OpenOptions::default())
        .map_err(|error| errors::keyring_as(Exit::Init, &error))?;
    if let Some(parent) = plan.vault.canonicalize().ok().as_deref().and_then(Path::parent) {
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
    }
    Ok(opened.keys.vault_id())
}

/// A vault that root makes in a directory of someone else is for that user.
fn give_tree_to_owner(vault: &Path) -> io::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    let vault = storage::walk(vault, me)?.there()?;
    let tree = storage::open_dir(vault.fd(), b"tree")?;
    let (owner, made) = (storage::fstat(vault.fd())?, storage::fstat(tree.as_fd())?);
    if made.uid != me || owner.uid == me {
        return Ok(());
    }
    // Nothing else that lies there by now: the directory is that user's.
    let mut entries = DirStream::new(storage::open_dir(tree.as_fd(), b".")?);
    while let Some(entry) = entries.next()? {
        if !matches!(entry.name, b"." | b"..") {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
    }
    Ok(storage::chown(tree.as_fd(), Some(owner.uid), Some(owner.gid))?)
}
