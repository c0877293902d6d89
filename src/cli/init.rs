//! `rekeyfs init`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::args;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::output;
use super::secrets::{NewSecretPlan, calibrate};
use super::target;
use crate::crypto::password::KdfParams;
use crate::crypto::suite::Suite;
use crate::ids::PathText;
use crate::keyring::{KeyringFile, OpenOptions};
use crate::printable;
use crate::storage::{self, DirStream, Errno, LowerFs};
use crate::unlock::{RecoveryKey, Secret};

/// A vault to be made.
struct InitPlan {
    vault: PathBuf,
    suite: Suite,
    kdf: KdfParams,
    secret: NewSecretPlan,
    recovery_key: bool,
}

impl InitPlan {
    fn new(args: &args::Init) -> Outcome<Self> {
        let suite = args.suite.parse().map_err(|error| Failure::new(Exit::Usage, "--suite", error))?;
        let secret = NewSecretPlan::first(&args.pass, &args.kdf);
        let kdf = calibrate(secret.kdf, None)?;
        Ok(Self { vault: args.vault.clone(), suite, kdf, secret, recovery_key: !args.no_recovery_key })
    }
}

/// Makes a vault. What it made is removed again if it fails.
///
/// # Errors
/// [`Exit::Vault`] if the directory isn't empty; [`Exit::Init`] if the vault can't be written; those of
/// reading a secret.
pub(super) fn run(args: &args::Init) -> Outcome {
    let plan = InitPlan::new(args)?;
    // Before anyone types a passphrase; it is looked at again when the directory is made.
    refuse_unusable(&plan.vault)?;
    let secret = plan.secret.read(&plan.vault)?;
    let recovery = plan.recovery_key.then(RecoveryKey::generate);
    let text = recovery.as_ref().map(RecoveryKey::to_text);
    let recovery = recovery.map(Secret::Recovery);

    let place = NewVaultDir::make(&plan.vault)?;
    let secrets: Vec<&Secret> = std::iter::once(&secret).chain(&recovery).collect();
    let vault_id = fill(&plan, &place, &secrets).inspect_err(|_| {
        // With a keyring it is a vault, though perhaps not a durable one.
        if storage::stat(place.dir.as_fd(), b"keyring").is_err() {
            let _ = storage::rmdir(place.dir.as_fd(), b"tree");
        }
        if place.made {
            let _ = fs::remove_dir(&place.path);
        }
    })?;
    if let Some(risk) = LowerFs::probe(place.dir.as_fd()).ok().and_then(|lower| lower.power_cut_risk()) {
        // What a mount of it will warn of, told while the vault can still be made elsewhere.
        output::complain(&format!("{}: {risk}", plan.vault.display()));
    }
    if *args.json {
        let vault = PathText(place.path.clone());
        output::print_json(&json!({ "vault_id": vault_id, "vault": vault, "suite": plan.suite }))?;
    } else {
        output::print(&format!("vault {vault_id} is made\n"))?;
    }
    if let Some(text) = text {
        show_recovery_key(&text, *args.json)?;
    }
    if *args.json { Ok(()) } else { output::print(&next_steps(args)) }
}

/// What is done with a new vault, in commands that can be pasted: the vault as it was named, and opened as it was sealed.
fn next_steps(args: &args::Init) -> String {
    let vault = printable::shell(&args.vault);
    let given = [
        ("--passfile", args.pass.passfile.as_deref()),
        ("--extpass", args.pass.extpass.as_deref().map(Path::new)),
        ("--keyfile", args.pass.keyfile.as_deref()),
    ];
    let secret: String = given
        .into_iter()
        .filter_map(|(option, value)| Some(format!(" {option} {}", printable::shell(value?))))
        .collect();
    format!(
        "\nNext: mount it, and back its keys up, as without them nothing opens the files:\n\n    \
         rekeyfs mount {vault} MOUNTPOINT{secret}\n    \
         rekeyfs key-backup export {vault} FILE{secret}\n"
    )
}

/// Shows a new recovery key, the only time it can be seen; as an object of its own where JSON is asked for, since it has to
/// be seen before a vault depends on it.
///
/// # Errors
/// If standard output can't be written.
pub(super) fn show_recovery_key(text: &Zeroizing<String>, as_json: bool) -> Outcome {
    if as_json {
        return output::print_json(&Shown { recovery_key: text });
    }
    output::print("\nRecovery key, shown this once; write it down and keep it elsewhere:\n\n    ")?;
    output::print(text)?;
    output::print("\n\nIt opens the vault with --recovery-key if the passphrase or key file is lost.\n")
}

#[derive(Serialize)]
struct Shown<'a> {
    recovery_key: &'a str,
}

fn failed(vault: &Path, error: impl Into<io::Error>) -> Failure {
    let error = error.into();
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "; the directory that it is to lie in must be there",
        io::ErrorKind::NotADirectory => "; name a directory that is empty, or that is to be made",
        io::ErrorKind::PermissionDenied => "; choose a place where you may write",
        io::ErrorKind::ReadOnlyFilesystem => "; choose a place that is writable",
        io::ErrorKind::StorageFull => "; free some space there",
        _ => "",
    };
    Failure::new(Exit::Vault, vault.display(), format!("{error}{remedy}"))
}

fn refuse_unusable(vault: &Path) -> Outcome {
    match storage::open_walked(vault) {
        Ok((dir, _)) => refuse_filled(vault, &dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(vault, error)),
    }
    .map_err(|failure| target::no_place_for_vault(vault).unwrap_or(failure))
}

fn refuse_filled(vault: &Path, dir: &OwnedFd) -> Outcome {
    if is_empty(dir).map_err(|error| failed(vault, error))? {
        return Ok(());
    }
    let cause = "the directory is not empty; a vault is made in a new or an empty one";
    Err(Failure::new(Exit::Vault, vault.display(), cause))
}

fn is_empty(dir: &OwnedFd) -> storage::Result<bool> {
    let mut entries = DirStream::new(storage::open_dir(dir.as_fd(), b".")?);
    while let Some(entry) = entries.next()? {
        if !matches!(entry.name, b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The directory that becomes a vault. All is done through its descriptor: what another user puts in the place of a
/// name on the way to it changes nothing.
struct NewVaultDir {
    dir: OwnedFd,
    /// Absolute, without symlinks.
    path: PathBuf,
    /// Whether it was made for this.
    made: bool,
}

impl NewVaultDir {
    fn make(vault: &Path) -> Outcome<Self> {
        match storage::open_walked(vault) {
            Ok((dir, path)) => {
                refuse_filled(vault, &dir)?;
                Ok(Self { dir, path, made: false })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (dir, path) = storage::make_walked(vault, 0o700).map_err(|error| failed(vault, error))?;
                Ok(Self { dir, path, made: true })
            }
            Err(error) => Err(failed(vault, error)),
        }
    }
}

fn fill(plan: &InitPlan, place: &NewVaultDir, secrets: &[&Secret]) -> Outcome<crate::ids::VaultId> {
    let failed = |error: Errno| Failure::new(Exit::Init, plan.vault.display(), io::Error::from(error));
    let dir = place.dir.as_fd();
    storage::mkdir(dir, b"tree", 0o700).map_err(failed)?;
    give_tree_to_owner(dir).map_err(failed)?;
    let place_again = storage::open_dir(dir, b".").map_err(failed)?;
    let (suite, options) = (plan.suite, OpenOptions::default());
    // The keyring makes it a vault; its own directory entry is durable then, those around it here.
    let opened = KeyringFile::create_at(place_again, place.path.clone(), suite, secrets, plan.kdf, &options)
        .map_err(|error| errors::keyring_as(Exit::Init, &error))?;
    storage::open_dir(dir, b"..").and_then(|above| storage::fsync_dir(above.as_fd())).map_err(failed)?;
    Ok(opened.keys.vault_id())
}

/// A vault that root makes in a directory of someone else is for that user.
fn give_tree_to_owner(vault: BorrowedFd<'_>) -> storage::Result<()> {
    let tree = storage::open_dir(vault, b"tree")?;
    let (owner, made) = (storage::fstat(vault)?, storage::fstat(tree.as_fd())?);
    let me = rustix::process::geteuid().as_raw();
    if made.uid != me || owner.uid == me {
        return Ok(());
    }
    // Nothing else that lies there by now: the directory is that user's.
    if !is_empty(&tree)? {
        return Err(Errno::NOTEMPTY);
    }
    storage::chown(tree.as_fd(), Some(owner.uid), Some(owner.gid))
}
