//! `rekeyfs key-backup`: all keys of a vault in a file of their own, and a keyring from that.

use serde_json::json;

use super::args_backup::{Export, Import, KeyBackupCommand};
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::init;
use super::offline;
use super::output;
use super::secrets::{NewSecretPlan, SecretPlan};
use super::target::{self, Target};
use crate::keyring::{Imported, KeyringFile, OpenOptions};
use crate::mount::VaultLock;
use crate::printable;
use crate::unlock::{self, KdfChoice, Secret};

/// Runs one of the two.
///
/// # Errors
/// What resolving the target, reading a secret, and writing or reading keyring and backup may say.
pub(super) fn run(command: &KeyBackupCommand) -> Outcome {
    match command {
        KeyBackupCommand::Export(args) => export(args),
        KeyBackupCommand::Import(args) => import(args),
    }
}

fn kdf(choice: KdfChoice) -> Outcome<crate::crypto::password::KdfParams> {
    unlock::calibrate(choice).map_err(|error| Failure::new(Exit::Usage, "--kdf-memory", error))
}

fn export(args: &Export) -> Outcome {
    let target = Target::resolve(&args.target)?;
    if args.file.symlink_metadata().is_ok() {
        let cause = "there is something already; a backup is written to a new file";
        return Err(Failure::new(Exit::Backup, args.file.display(), cause));
    }
    let opened = offline::open_keyring(target.vault(), &args.open)?.opened;
    let plan = NewSecretPlan::of_backup(&args.backup, &args.kdf);
    let kdf = kdf(plan.kdf)?;
    let secret = plan.read(&args.file)?;
    let info = opened
        .keys
        .export_backup(&opened.proof, &secret, kdf, &args.file)
        .map_err(|error| errors::keyring(&error))?;
    if args.json {
        return output::print_json(&json!({
            "vault_id": info.vault, "generation": info.generation.0, "keys": info.keys,
        }));
    }
    output::print(&format!(
        "{}: {} keys of vault {}, generation {}; read back and opened. Key versions made from now on are not in \
         it: make another backup after a rotation\n",
        printable::path(&args.file),
        info.keys,
        info.vault,
        info.generation.0
    ))
}

fn import(args: &Import) -> Outcome {
    if !target::is_vault(&args.vault) {
        let cause = "not a vault: neither a keyring nor a tree is in it";
        return Err(Failure::new(Exit::Vault, args.vault.display(), cause));
    }
    let vault = match Target::resolve(&args.vault)? {
        Target::Vault(vault) => vault,
        Target::Mounted(entry) => {
            let cause = "it is mounted; unmount it before its keyring is replaced";
            return Err(Failure::new(Exit::InUse, entry.vault.as_path().display(), cause));
        }
    };
    let _lock = VaultLock::take(&vault).map_err(|error| errors::mount(&error))?;
    let passphrase = SecretPlan::of_backup(&args.backup).read(&args.file)?;
    let plan = NewSecretPlan::new(&args.new);
    let kdf = kdf(plan.kdf)?;
    let new = plan.read(&vault)?;
    // A recovery key is made and shown anyway.
    let secrets: Vec<&Secret> = [&new].into_iter().filter(|s| !matches!(s, Secret::Recovery(_))).collect();
    let options = OpenOptions::default();
    let imported =
        KeyringFile::import_backup(&vault, &args.file, &passphrase, &secrets, kdf, args.force, &options)
            .map_err(|error| errors::keyring(&error))?;
    output::print(&told(&imported))?;
    init::show_recovery_key(&imported.recovery)
}

fn told(imported: &Imported) -> String {
    let Imported { backup, known, generation, replaced, .. } = imported;
    let mut out = format!(
        "the keyring is made from the backup: {} keys, generation {} of the backup, {} now; every slot is a new \
         one\n",
        backup.keys, backup.generation.0, generation.0
    );
    match known {
        Some(known) if *known > backup.generation => {
            out += &format!(
                "the backup is older than the last keyring known here (generation {}): what was changed after \
                 generation {} is lost; files wrapped by a key version made since can't be opened\n",
                known.0, backup.generation.0
            );
        }
        Some(_) => {}
        None => out += "nothing here tells whether the backup is the newest one\n",
    }
    if let Some(name) = replaced {
        out += &format!("what was in the keyring's place is kept as {name}\n");
    }
    out
}
