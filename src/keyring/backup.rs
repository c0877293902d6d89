//! Backups of a keyring: all keys in one file of their own, sealed under a root key of its own with one
//! passphrase slot, so that a lost keyring isn't a lost vault (docs/format.md, "Key backups").

use std::fs::{self, File, OpenOptions as FileOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::backup_file::{BackupOpener, BackupSeal, SealedBackup, body_of, failed, seal};
use super::error::KeyringError;
use super::format::header::{Header, Kind};
use super::format::{body, header};
use super::hosts::HostsDir;
use super::kept::writer::{ExportInfo, KeyBackupInfo};
use super::keys::{Keys, unwrap_tree_key};
use super::open::{KeyringFile, OpenOptions};
use super::rules::loss::Loss;
use super::slots::{Proof, verified};
use super::store;
use super::store::vault_dir::VaultDir;
use super::store::{Draft, Saves};
use super::tree_names::NamesOpened;
use crate::crypto::keys::RootKey;
use crate::crypto::password::KdfParams;
use crate::events::{Event, EventLog};
use crate::ids::{Generation, VaultId};
use crate::printable;
use crate::storage;
use crate::unlock::{CostLimit, RecoveryKey, Secret, Slot, SlotInfo, Slots};

type Result<T> = std::result::Result<T, KeyringError>;

/// What a backup holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackupInfo {
    /// The vault that it is of.
    pub vault: VaultId,
    /// The generation that the keyring had.
    pub generation: Generation,
    /// How many keys, the service-managed one included.
    pub keys: usize,
}

/// Which keyring an import replaces, besides one that is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replace {
    /// One that is visibly damaged.
    IfDamaged,
    /// Any: it may be that no secret opens it.
    Always,
}

/// Whose backup an import takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// One whose keys open the names of the vault, or to which the vault has none to compare.
    Proven,
    /// Any: the names may be what is damaged.
    Any,
}

/// What an import may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImportOrder {
    /// Which keyring it replaces.
    pub replace: Replace,
    /// Whose backup it takes.
    pub maker: Maker,
}

/// A keyring that was made from a backup.
pub struct Imported {
    /// What the backup held.
    pub backup: BackupInfo,
    /// The newest generation of this vault's keyring that this host or the event log knows, if one does. Where
    /// it is newer than the backup's, what was changed since then is lost.
    pub known: Option<Generation>,
    /// How many versions of a key are marked lost, of the key that lost most.
    pub lost: u32,
    /// The generation that the keyring has now.
    pub generation: Generation,
    /// The text of the new recovery key, to be shown once.
    pub recovery: Zeroizing<String>,
    /// The slots that there are now; all are new ones.
    pub slots: Vec<SlotInfo>,
    /// What the keyring that was there is called now, if there was one.
    pub replaced: Option<String>,
    /// Where this host knows the vault to be, if this one is a copy of it: what was imported counts at the copy's path alone.
    pub copy_of: Option<PathBuf>,
    /// How many names in the vault's root directory the backup's keys open.
    pub names: NamesOpened,
    /// What the keyring knows of key backups now: this backup, as an export. None is kept.
    pub key_backup: KeyBackupInfo,
}

impl Keys {
    /// Writes all keys to `file`, which must not exist, sealed under `made`. When this returns the file is durable, was read
    /// back, and opened to the same keys: with `passphrase`, if that is what opens it. What seals for age recipients is opened by
    /// their identities alone, so of that the root key is tried. The keyring records the export, if it can be saved: written
    /// before that and once more after it, the file holds all that the record says at each instant.
    ///
    /// # Errors
    /// [`KeyringError::Backup`] if it can't be written or doesn't open; there is no file then.
    pub fn export_backup(
        &self,
        _proof: &Proof,
        made: &BackupSeal,
        passphrase: Option<&Secret>,
        file: &Path,
    ) -> Result<BackupInfo> {
        let (mut info, bytes) = self.sealed_for(made)?;
        write_new(file, &bytes).map_err(|e| failed(file, "can't be written", &e))?;
        if !opens_to(file, passphrase, &bytes, &made.root) {
            // It opens nothing, and must not be taken for a backup.
            let _ = fs::remove_file(file);
            let what = "doesn't open to what was written, so it was removed: faulty memory or disk?";
            return Err(KeyringError::Backup { path: file.to_owned(), what: what.to_owned() });
        }
        match self.record_export(info.generation) {
            Ok(()) => {
                let (newer, bytes) = self.sealed_for(made)?;
                // Without it the file has the same keys, of a keyring that is one generation older.
                match replace(file, &bytes) {
                    Ok(()) => info = newer,
                    Err(error) => {
                        tracing::info!("{}: it stays as it was written first: {error}", file.display())
                    }
                }
            }
            Err(error) => {
                self.log.record_durably(&Event::BackupExported(info.generation));
                tracing::info!("the keyring doesn't record the export: {error}");
            }
        }
        Ok(info)
    }

    /// As [`Keys::export_backup`], to where nothing can be read back. Recorded before it is written: what `out` takes may be
    /// anywhere.
    ///
    /// # Errors
    /// [`KeyringError::Backup`] if it can't be written; what was written is no backup then.
    pub fn export_backup_to(
        &self,
        _proof: &Proof,
        made: &BackupSeal,
        out: &mut dyn Write,
    ) -> Result<BackupInfo> {
        let before =
            self.store.lock().on_disk()?.body.extensions.key_backups().and_then(|known| known.exported);
        let recorded = self.record_export(self.generation());
        let (info, bytes) = self.sealed_for(made)?;
        let written = out.write_all(&bytes).and_then(|()| out.flush());
        match (&written, recorded) {
            (Ok(()), Err(_)) => self.log.record_durably(&Event::BackupExported(info.generation)),
            (Err(_), Ok(())) => {
                let _ = self.change(Saves::Once, |draft| {
                    draft.body.set_export(before);
                    Ok(())
                });
            }
            _ => {}
        }
        written.map_err(|e| failed(Path::new("standard output"), "can't be written", &e))?;
        Ok(info)
    }

    /// A backup of the keyring as it is on disk now.
    fn sealed_for(&self, made: &BackupSeal) -> Result<(BackupInfo, Vec<u8>)> {
        let state = self.store.lock().on_disk()?;
        let body = body_of(&state.body);
        let bytes = seal(&state.header, &body, &made.slots, &made.root)?;
        let (vault, generation, keys) = (state.header.vault, body.generation, body.keys.len());
        Ok((BackupInfo { vault, generation, keys }, bytes))
    }

    fn record_export(&self, exported: Generation) -> Result<()> {
        let now = self.clock.now();
        self.change(Saves::Once, |draft| {
            draft.body.record_export(now);
            draft.record(Event::BackupExported(exported));
            Ok(())
        })
    }
}

/// Whether a file opens to the body in `written`, which is sealed under `root`: with a secret, or by the root key itself.
fn opens_to(file: &Path, secret: Option<&Secret>, written: &[u8], root: &RootKey) -> bool {
    let opened = || {
        let parts = header::parse(written, Kind::Backup).ok()?;
        root.open_keyring(parts.header.vault, parts.aad, parts.sealed).ok()
    };
    let Ok(back) = SealedBackup::read(file) else { return false };
    match secret {
        None => back.bytes() == written && opened().is_some(),
        Some(secret) => {
            let back = back.open(BackupOpener::Secret(secret), CostLimit::Any);
            let back = back.ok().and_then(|(_, body)| body::encode(&body).ok());
            back.is_some_and(|back| opened().is_some_and(|written| *back == *written))
        }
    }
}

impl KeyringFile {
    /// Makes the keyring of the vault in `dir` from a backup: a new root key, a slot for each of `secrets` and
    /// one for a new recovery key. The keyring that is there is renamed, and so is keyring.prev once the new keyring is
    /// durable: it doesn't open under the new root key. The caller holds the vault's lock. When this returns, the keyring is
    /// durable and each secret has opened it. A crash leaves the old keyring, the new one, or none, and then this can be
    /// done again.
    ///
    /// # Errors
    /// [`KeyringError::Backup`] if the backup can't be read or is another vault's, by its id or by the names that its keys don't open
    /// unless that is [`Maker::Any`]; [`KeyringError::Unlock`] for a
    /// wrong passphrase of the backup; [`KeyringError::KeyringThere`] for a keyring that isn't visibly damaged,
    /// unless `replace` is [`Replace::Always`]; I/O.
    pub fn import_backup(
        dir: &Path,
        sealed: &SealedBackup,
        opener: BackupOpener<'_>,
        secrets: &[&Secret],
        kdf: KdfParams,
        order: ImportOrder,
        options: &OpenOptions,
    ) -> Result<Imported> {
        let (writable, file) = (Self::writable(dir)?, sealed.file());
        let dir = VaultDir::open(dir)?;
        let lock = dir.lock(writable)?;
        let there = there(&dir, order.replace)?;
        let (head, mut body) = sealed.open(opener, options.limit)?;
        if let Err(features) = head.writable() {
            let what = format!(
                "was made by a newer rekeyfs, with features ({features}) of a vault that this one must not write; use that one"
            );
            return Err(KeyringError::Backup { path: file.to_owned(), what });
        }
        if there.vault.is_some_and(|vault| vault != head.vault) {
            let what = format!("is of vault {}, not of the one in {}", head.vault, dir.path().display());
            return Err(KeyringError::Backup { path: file.to_owned(), what });
        }
        let names = unwrap_tree_key(head.vault, &body).map(|tree| NamesOpened::count(&dir, &tree));
        let names = names.unwrap_or_default();
        if names.disprove() && order.maker == Maker::Proven {
            let (strange, all) = (names.strange, printable::counted(names.all(), "name", "names"));
            let what = format!(
                "was made with other keys than this vault's: {strange} of {all} in the root directory of {} don't open with it; take \
                 another backup, or give --unproven if it is the names that are damaged",
                dir.path().display()
            );
            return Err(KeyringError::Backup { path: file.to_owned(), what });
        }
        let backup = BackupInfo { vault: head.vault, generation: body.generation, keys: body.keys.len() };
        let log = EventLog::new(dir.descriptor()?, body.log_keys(), body.event_anchor, Some(writable));
        let seen = options.host.newest(head.vault, dir.path());
        let logged = log.changes_after(body.event_anchor);
        let known = seen.max(logged.newest);
        let (root, slots, recovery) = new_slots(head.vault, secrets, kdf, options)?;
        let loss = Loss {
            known: known.filter(|known| *known > backup.generation),
            uncertain: seen.is_none() || logged.more,
            next_version: options.next_version,
        };
        let lost = if loss.known.is_some() || loss.uncertain { body.lose(&loss) } else { 0 };
        // Newer than any keyring that was here, so that this host doesn't take the import for a rollback.
        body.generation = Generation(loss.newest(backup.generation).0.saturating_add(1));
        body.previous = there.hash;
        body.record_import(backup.generation, options.clock.now());
        // The keyring that was here may be damaged, and may come from another one than the backup does.
        body.forget_line();
        let mut events = vec![Event::BackupImported { backup: backup.generation, known }];
        if lost > 0 {
            events.insert(0, Event::VersionsLost { found: backup.generation, known, versions: lost });
        }
        // A vault that has lost its keyring gets it back even if its log can't be written.
        body.event_anchor = log
            .record_change(&events, backup.generation, body.generation, &mut || false)
            .unwrap_or_else(|error| {
                tracing::warn!("{}: the import can't be recorded: {error}", dir.path().display());
                log.durable()
            });
        let (generation, list) = (body.generation, slots.list());
        // Other hosts may have it mounted still, and it is no older program's for having lost its keyring.
        let shared =
            head.is_shared() || there.shared || HostsDir::open(dir.fd()).is_ok_and(|dir| dir.is_some());
        let mut head = Header::new(head.vault, head.suite);
        head.set_shared(shared);
        head.slots = slots;
        let replaced = there.exists.then(|| dir.set_aside(&lock, generation)).transpose()?;
        let state = store::create(&dir, &lock, Draft::first(head, body, root))?;
        dir.set_prev_aside(&lock, generation);
        let mut store = store::Store::new(dir, state, options.host.clone());
        let copy_of = store.remember_import();
        store.announce(&lock)?;
        drop(lock);
        // What it made is to be reported in any case: a mount of another host knows another root key, and ends without this too.
        match store.take_announced() {
            None => {}
            Some(Ok(announced)) => drop(announced.wait(None)),
            Some(Err(error)) => tracing::warn!("{error}"),
        }
        let exported = ExportInfo::of(&store.state().body);
        let key_backup = KeyBackupInfo { exported, kept: Vec::new() };
        Ok(Imported {
            backup,
            known,
            lost,
            generation,
            recovery,
            slots: list,
            replaced,
            copy_of,
            names,
            key_backup,
        })
    }
}

/// A new root key with a slot for each secret and for a new recovery key. Each slot was unlocked from the bytes that will be
/// on disk.
fn new_slots(
    vault: VaultId,
    secrets: &[&Secret],
    kdf: KdfParams,
    options: &OpenOptions,
) -> Result<(Arc<RootKey>, Slots, Zeroizing<String>)> {
    let (root, recovery) = (Arc::new(RootKey::generate()), RecoveryKey::generate());
    let text = recovery.to_text();
    let recovery = Secret::Recovery(recovery);
    let mut slots = Slots::default();
    for secret in secrets.iter().copied().chain([&recovery]) {
        slots.push(Slot::seal(vault, &root, secret, kdf, options.clock.now())?);
    }
    let slots = verified(&slots, vault, secrets.iter().copied().chain([&recovery]), &root)?;
    Ok((root, slots, text))
}

/// What is in the keyring's place.
struct There {
    exists: bool,
    shared: bool,
    vault: Option<VaultId>,
    hash: [u8; 32],
}

fn there(dir: &VaultDir, replace: Replace) -> Result<There> {
    let bytes = match dir.read() {
        Ok(bytes) => bytes,
        Err(KeyringError::Missing { .. }) => {
            return Ok(There { exists: false, shared: false, vault: None, hash: [0; 32] });
        }
        Err(e) => return Err(e),
    };
    let hash = crate::crypto::sha256(&bytes);
    match store::parse(dir, &bytes) {
        Ok(_) if replace == Replace::IfDamaged => Err(KeyringError::KeyringThere(dir.path().to_owned())),
        Ok(parts) => {
            let Header { vault, .. } = parts.header;
            Ok(There { exists: true, shared: parts.header.is_shared(), vault: Some(vault), hash })
        }
        Err(KeyringError::Damaged { .. }) => Ok(There { exists: true, shared: false, vault: None, hash }),
        Err(newer) => Err(newer),
    }
}

/// Puts other bytes in a file's place.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    Ok(storage::replace_durably(File::open(parent)?.as_fd(), name.as_bytes(), bytes, 0o600)?)
}

/// Writes a new file, durable with its name. Removes it again if that fails.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = FileOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(storage::fsync_dir(File::open(parent)?.as_fd())?));
    if written.is_err() {
        // The first error is the one that is reported.
        let _ = fs::remove_file(path);
    }
    written
}
