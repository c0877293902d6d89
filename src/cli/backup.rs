//! `rekeyfs key-backup`: all keys of a vault in a file of their own, and a keyring from that.

use std::io::IsTerminal;
use std::path::Path;

use serde_json::json;

use super::age::Recipients;
use super::args::{Export, Import, KeyBackupCommand, Merge};
use super::backup_opener::Opener;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::init;
use super::key_backup::{self, NewSeal};
use super::open_keyring::{check_writable, open_keyring};
use super::open_target::{Access, Unmounted};
use super::output;
use super::secrets::{self, NewSecretPlan, SecretPlan};
use super::target::Target;
use crate::ids::{BackingKeyId, PathText};
use crate::keyring::{ImportOrder, Imported, KeyringFile, Maker, Merged, OpenOptions, Replace, SealedBackup};
use crate::mount::{MountError, VaultLock};
use crate::printable;
use crate::service::KeyBackupStatus;
use crate::unlock::Secret;

/// Runs one of them.
///
/// # Errors
/// What resolving the target, reading a secret, and writing or reading keyring and backup may say.
pub(super) fn run(command: &KeyBackupCommand) -> Outcome {
    match command {
        KeyBackupCommand::Export(args) => export(args),
        KeyBackupCommand::Keep(args) => key_backup::run(args),
        KeyBackupCommand::Import(args) => import(args),
        KeyBackupCommand::Merge(args) => merge(args),
    }
}

/// As a FILE: standard input or output.
const STDIO: &str = "-";
/// As messages name it.
const STDIN: &str = "standard input";

fn export(args: &Export) -> Outcome {
    let target = Target::resolve(&args.target)?;
    let to_stdout = args.file.as_os_str() == STDIO;
    if to_stdout && (*args.json || std::io::stdout().is_terminal()) {
        let cause = "it takes the key backup: send it to a file or another program, without --json";
        return Err(Failure::new(Exit::Usage, "standard output", cause));
    }
    if !to_stdout && args.file.symlink_metadata().is_ok() {
        let cause = "there is something already; a backup is written to a new file";
        return Err(Failure::new(Exit::Backup, args.file.display(), cause));
    }
    let recipients = Recipients::of(&args.age)?;
    let opened = open_keyring(target.vault(), &args.open)?.opened;
    let seal = NewSeal::read(&recipients, &args.backup, &args.kdf, &args.file, &opened)?;
    if to_stdout {
        let mut out = std::io::stdout().lock();
        let info = opened.keys.export_backup_to(&opened.proof, &seal.seal, &mut out);
        let info = info.map_err(|error| errors::keyring(&error))?;
        // Standard output is taken.
        output::complain_bare(&format!(
            "{} keys of vault {}, generation {}, are on standard output; `rekeyfs fsck COPY --keyring FILE` tells whether what \
             was stored opens",
            info.keys, info.vault, info.generation.0
        ));
        return Ok(());
    }
    let info = opened
        .keys
        .export_backup(&opened.proof, &seal.seal, seal.passphrase.as_ref(), &args.file)
        .map_err(|error| errors::keyring(&error))?;
    if *args.json {
        return output::print_json(&json!({
            "vault_id": info.vault, "generation": info.generation.0, "keys": info.keys,
        }));
    }
    let checked = if seal.passphrase.is_some() {
        "read back and opened"
    } else {
        "read back; an age identity of the recipients opens it"
    };
    output::print(&format!(
        "{}: {} of vault {}, generation {}; {checked}. Key versions made from now on are not in \
         it: `rekeyfs key-backup keep` has one written after each rotation\n",
        printable::path(&args.file),
        keys(info.keys),
        info.vault,
        info.generation.0
    ))
}

fn import(args: &Import) -> Outcome {
    let target = Target::resolve(&args.target)?;
    let vault = target.unmounted("its keyring is replaced")?;
    check_writable(vault)?;
    // Without a keyring nobody can say that a lost host is dead: its record stays for those that come.
    let (lock, lost) = VaultLock::take_over(vault).map_err(|error| errors::mount(&error))?;
    // Beside such a record it says nothing of who has the vault.
    let watch = if lost.is_none() { lock.watch() } else { Ok(None) };
    let _watch = watch.map_err(|error| errors::mount(&MountError::Daemon(error)))?;
    let (opens, plan) = (SecretPlan::of_backup(&args.backup), NewSecretPlan::new(&args.new));
    let sealed = if args.file.as_os_str() == STDIO {
        if args.identity.is_none() {
            opens.not_from_stdin()?;
        }
        plan.not_from_stdin()?;
        SealedBackup::read_from(Path::new(STDIN), std::io::stdin())
    } else {
        SealedBackup::read(&args.file)
    };
    let sealed = sealed.map_err(|error| errors::keyring(&error))?;
    let opener = Opener::read(args.identity.as_deref(), &sealed.age_files(), &opens, &args.file)?;
    let kdf = secrets::calibrate(plan.kdf, None)?;
    let new = plan.read(vault)?;
    if lost.is_none() {
        lock.sign().map_err(|error| errors::mount(&error))?;
    }
    // A recovery key is made and shown anyway.
    let secrets: Vec<&Secret> = [&new].into_iter().filter(|s| !matches!(s, Secret::Recovery(_))).collect();
    let (next_version, limit) = (args.next.number(), secrets::cost_limit(args.any_cost));
    let options = OpenOptions { next_version, limit, ..OpenOptions::default() };
    let order = ImportOrder {
        replace: if args.force { Replace::Always } else { Replace::IfDamaged },
        maker: if args.unproven { Maker::Any } else { Maker::Proven },
    };
    let imported =
        KeyringFile::import_backup(vault, &sealed, opener.borrowed(), &secrets, kdf, order, &options)
            .map_err(|error| errors::keyring(&error))?;
    if *args.json {
        let backup = imported.backup;
        output::print_json(&json!({
            "vault_id": backup.vault, "keys": backup.keys, "generation": imported.generation,
            "backup_generation": backup.generation, "known_generation": imported.known, "lost_versions": imported.lost,
            "names_opened": imported.names.opened, "names_strange": imported.names.strange,
            "copy_of": imported.copy_of.clone().map(PathText),
            "key_backup": KeyBackupStatus::from(imported.key_backup.clone()),
        }))?;
    } else {
        output::print(&import_summary(vault, &imported))?;
    }
    init::show_recovery_key(&imported.recovery, *args.json)
}

fn merge(args: &Merge) -> Outcome {
    let target = Target::resolve(&args.target)?;
    let vault = target.unmounted("another keyring is merged")?;
    let looked_at = |error| errors::keyring(&error);
    let from_stdin = args.file.as_os_str() == STDIO;
    let opens = SecretPlan::of_merged(args);
    if from_stdin {
        SecretPlan::new(&args.open).not_from_stdin()?;
        if args.identity.is_none() {
            opens.not_from_stdin()?;
        }
    }
    let sealed = if from_stdin {
        KeyringFile::look_at(vault, Path::new(STDIN), std::io::stdin())
    } else {
        KeyringFile::look(&args.file)
    };
    let sealed = sealed.map_err(looked_at)?;
    let unmounted = Unmounted::open(vault, &args.open, Access::Change)?;
    let options = OpenOptions { limit: secrets::cost_limit(args.open.any_cost), ..OpenOptions::default() };
    // The keyring that was in place before is sealed under the same root key, most often.
    let found = match sealed.open_beside(unmounted.keys(), &options) {
        Some(found) => found,
        None => {
            let opener = Opener::read(args.identity.as_deref(), &sealed.age_files(), &opens, &args.file)?;
            sealed.open(opener.borrowed(), &options).map_err(looked_at)?
        }
    };
    let merged = unmounted.keys().merge(&found.keys).map_err(|error| errors::keyring(&error))?;
    if *args.json {
        let versions: Vec<_> = merged.versions.iter().map(shown_version).collect();
        let current: Vec<_> = merged.current.iter().map(shown_version).collect();
        let below = |id: &BackingKeyId| json!({ "key_id": id.key, "below": id.version });
        let retired: Vec<_> = merged.retired_there.iter().map(below).collect();
        return output::print_json(&json!({
            "vault_id": unmounted.keys().vault_id(), "merged_generation": merged.found.0,
            "generation": unmounted.keys().generation().0, "versions": versions, "keys": merged.keys,
            "current": current, "left_out": merged.left_out, "still_lost": merged.still_lost,
            "retired_there": retired,
        }));
    }
    output::print(&summary(&args.file, &merged))
}

fn shown_version(id: &BackingKeyId) -> serde_json::Value {
    json!({ "key_id": id.key, "version": id.version })
}

fn summary(file: &Path, merged: &Merged) -> String {
    let (file, found) = (printable::path(file), merged.found.0);
    let mut out = format!(
        "{file} (generation {found}): {} and {} are back\n",
        printable::counted(merged.versions.len() as u64, "key version", "key versions"),
        keys(merged.keys.len())
    );
    for id in &merged.versions {
        out += &format!("key {} version {}\n", id.key, id.version);
    }
    for key in &merged.keys {
        out += &format!("key {key}, which was missing\n");
    }
    for id in &merged.current {
        out += &format!(
            "key {}: version {} wraps new files again, as in the keyring merged\n",
            id.key, id.version
        );
    }
    if !merged.left_out.is_empty() {
        let left: Vec<String> = merged.left_out.iter().map(ToString::to_string).collect();
        out += &format!(
            "not added, as they were deleted here or are older than what was lost: {}\n",
            left.join(", ")
        );
    }
    for id in &merged.retired_there {
        out += &format!(
            "key {}: versions below {below} were retired in the keyring merged and are in use here; `rekeyfs key retire \
             --key-id {0} --below {below}` retires them once no file needs them\n",
            id.key,
            below = id.version
        );
    }
    if merged.still_lost > 0 {
        out += &format!(
            "{} still lost; `rekeyfs fsck` tells whether files need any\n",
            printable::counted(merged.still_lost, "version number is", "version numbers are")
        );
    }
    out
}

fn keys(n: usize) -> String {
    printable::counted(n as u64, "key", "keys")
}

fn import_summary(vault: &Path, imported: &Imported) -> String {
    let Imported { backup, known, lost, generation, replaced, copy_of, names, .. } = imported;
    let mut out = format!(
        "the keyring is made from the backup: {}, generation {} of the backup, {} now; every slot is a new \
         one\n",
        keys(backup.keys),
        backup.generation.0,
        generation.0
    );
    out += &match names.all() {
        0 => {
            "the root directory has no names that would tell whether the backup is of this vault\n".to_owned()
        }
        all => format!(
            "{} of {} in the root directory open with it\n",
            names.opened,
            printable::counted(all, "name", "names")
        ),
    };
    match known {
        Some(known) if *known > backup.generation => {
            out += &format!(
                "the backup is older than the last keyring known here (generation {}): what was changed after \
                 generation {} is lost\n",
                known.0, backup.generation.0
            );
        }
        Some(_) => {}
        None => out += "nothing here tells whether the backup is the newest one\n",
    }
    if *lost > 0 {
        out += &format!(
            "up to {}: numbers of lost versions aren't given \
             out again, files of them can't be opened. If a newer keyring or backup is found, `rekeyfs key-backup \
             merge` brings them back\n",
            printable::counted(
                *lost,
                "version of a key may have been made since and is marked lost",
                "versions of a key may have been made since and are marked lost"
            )
        );
    }
    if let Some(name) = replaced {
        out += &format!("what was in the keyring's place is kept as {name}\n");
    }
    if let Some(original) = copy_of {
        out += &format!(
            "this is a copy of the vault in {}: this host takes the new keyring here only, and there the one that it knows\n",
            printable::path(original)
        );
    }
    out += &format!(
        "key backups that were kept ended with the keyring that they were of, and are written no more: `rekeyfs key-backup \
         keep {} --to FILE` begins a new one, in a new file\n",
        printable::shell(vault)
    );
    out
}
