//! What is asked of kept backups: begin, stop, write, report.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::place::{self, Found, NO_BACKUP, Place};
use super::writer::{ExportInfo, Held, KeptInfo, KeyBackupInfo, look, tell, try_to_write};
use crate::events::Event;
use crate::ids::Generation;
use crate::keyring::backup_file::{self, BackupSeal};
use crate::keyring::error::KeyringError;
use crate::keyring::format::header::{self, Kind};
use crate::keyring::format::key_backups::{Kept, MOST_KEPT};
use crate::keyring::keys::Keys;
use crate::keyring::slots::Proof;
use crate::keyring::store::{OpenedKeyring, Saves};

/// How often a backup is written again because the keyring changed meanwhile, before that is left to the next change.
const ROUNDS: usize = 5;
/// How long a report waits for backups that are being written.
const PATIENCE: Duration = Duration::from_secs(2);

type Result<T> = std::result::Result<T, KeyringError>;

impl Keys {
    /// Keeps a backup at `to` from now on, and writes it. There must be nothing yet, or an empty file. Returns what came of
    /// it: where its disk fails it is kept nevertheless, and `problem` says why it isn't written.
    ///
    /// # Errors
    /// [`KeyringError::Backup`], if it can't be kept there: nothing is changed then. The keyring can't be saved.
    pub fn keep_backup(&self, _proof: &Proof, to: &Path, seal: BackupSeal) -> Result<KeptInfo> {
        let refused = |what: String| KeyringError::Backup { path: to.to_owned(), what };
        let (to_be, mount) = place::resolve(to).map_err(refused)?;
        let BackupSeal { root, slots } = seal;
        let kept = Kept { root: Arc::new(root), begun: self.clock.now(), to: to_be.clone(), mount, slots };
        let place = Place::open(self.vault_id(), &kept).map_err(refused)?;
        match place.read().map_err(refused)? {
            Found::Nothing => {}
            Found::File(bytes, _) if header::parse(&bytes, Kind::Backup).is_ok() => {
                let what = "is a key backup already; a kept one begins in a new file: name another, or move this one away";
                return Err(refused(what.to_owned()));
            }
            Found::File(..) => return Err(refused(NO_BACKUP.to_owned())),
        }
        let in_vault = self.vault_path();
        if to_be.starts_with(in_vault) {
            return Err(refused("lies in the vault's directory, and would be lost with it".to_owned()));
        }
        self.change(Saves::Once, |draft| {
            let mut known = draft.body.extensions.key_backups().cloned().unwrap_or_default();
            if known.kept.iter().any(|other| other.to == kept.to) {
                return Err(refused("is kept already, and its file is gone; stop that first".to_owned()));
            }
            if known.kept.len() >= MOST_KEPT {
                return Err(refused(format!("would be one more than the {MOST_KEPT} that can be kept")));
            }
            draft.record(Event::BackupKept(kept.to.to_string_lossy().into_owned()));
            known.kept.push(kept);
            draft.body.extensions.set_key_backups(known);
            Ok(())
        })?;
        let info = self.key_backup()?;
        let kept = info.kept.into_iter().find(|kept| kept.to == to_be);
        kept.ok_or_else(|| refused("isn't kept any more: another process stopped it".to_owned()))
    }

    /// Stops keeping the backup at `to`, or all. The files stay. Returns where they are.
    ///
    /// # Errors
    /// [`KeyringError::Backup`], if none is kept there; the keyring can't be saved.
    pub fn stop_keeping(&self, _proof: &Proof, to: Option<&Path>) -> Result<Vec<PathBuf>> {
        self.change(Saves::Once, |draft| {
            let absolute = to.and_then(|to| std::path::absolute(to).ok());
            let meant = |kept: &Kept| {
                to.is_none_or(|to| {
                    kept.to == to
                        || absolute.as_ref() == Some(&kept.to)
                        || place::resolve(to).is_ok_and(|(to, _)| to == kept.to)
                })
            };
            let stopped = draft.body.stop_keeping(meant);
            if stopped.is_empty() {
                let (path, what) = (to.unwrap_or(self.vault_path()).to_owned(), "has no kept key backup");
                let what = if to.is_some() { "isn't a kept key backup of this vault" } else { what };
                return Err(KeyringError::Backup { path, what: what.to_owned() });
            }
            for to in &stopped {
                draft.record(Event::BackupKeepingStopped(to.to_string_lossy().into_owned()));
            }
            Ok(stopped)
        })
    }

    /// Has `wake` called after each change, instead of the one who changes writing the backups: it has a thread call
    /// [`Keys::write_kept_backups`]. Once.
    pub fn keep_backups_in_background(&self, wake: Box<dyn Fn() + Send + Sync>) {
        let _ = self.kept.background.set(wake);
    }

    /// To be called after each change of the keyring, with no lock held.
    pub(in crate::keyring) fn keyring_changed(&self) {
        match self.kept.background.get() {
            Some(wake) => wake(),
            None => self.write_kept_backups(),
        }
    }

    /// Writes each kept backup that isn't of the newest keyring. Failures are logged, once until it works again.
    pub fn write_kept_backups(&self) {
        let _one = self.kept.writing.lock();
        for _ in 0..ROUNDS {
            let state = match self.keeping() {
                Ok(Some(state)) => state,
                Ok(None) => {
                    self.kept.tried.lock().clear();
                    break;
                }
                Err(error) => {
                    tracing::warn!("the key backups that are kept can't be written: {error}");
                    break;
                }
            };
            let stripped = backup_file::body_of(&state.body);
            for kept in state.body.kept() {
                let before = self.kept.tried.lock().get(&kept.to).cloned().unwrap_or_default();
                let tried = try_to_write(&state.header, &stripped, kept, &before);
                tell(&kept.to, &before, &tried);
                self.kept.tried.lock().insert(kept.to.clone(), tried);
            }
            let generation = state.body.generation;
            if self.store.lock().still_is(&state) {
                *self.kept.done.lock() = generation;
                break;
            }
        }
        self.kept.passed.notify_all();
    }

    /// The keyring as it is on disk, if it has backups to be kept.
    fn keeping(&self) -> Result<Option<OpenedKeyring>> {
        let store = self.store.lock();
        let in_use = store.state();
        if store.still_is(in_use) && in_use.body.kept().is_empty() {
            return Ok(None);
        }
        Ok(Some(store.on_disk()?).filter(|state| !state.body.kept().is_empty()))
    }

    /// What is known of the vault's key backups. Where a thread writes them, waits a moment until it has seen the newest
    /// keyring.
    ///
    /// # Errors
    /// The keyring can't be read.
    pub fn key_backup(&self) -> Result<KeyBackupInfo> {
        let state = self.store.lock().on_disk()?;
        let Some(known) = state.body.extensions.key_backups() else { return Ok(KeyBackupInfo::default()) };
        let now = Held::of(&state.body);
        let exported = ExportInfo::of(&state.body);
        if !known.kept.is_empty() {
            self.wait_for(now.generation);
        }
        let stripped = backup_file::body_of(&state.body);
        let kept = known.kept.iter().map(|kept| {
            let tried = self.kept.tried.lock().get(&kept.to).cloned();
            let tried = tried.unwrap_or_else(|| look(&state.header, &stripped, kept));
            KeptInfo {
                to: kept.to.clone(),
                begun: kept.begun,
                age: kept.slots.age_slots().next().is_some(),
                lag: tried.holds.map(|held| held.lag(now)),
                problem: tried.problem,
            }
        });
        Ok(KeyBackupInfo { exported, kept: kept.collect() })
    }

    fn wait_for(&self, generation: Generation) {
        let Some(wake) = self.kept.background.get() else { return };
        let mut done = self.kept.done.lock();
        if *done < generation {
            wake();
            self.kept.passed.wait_while_for(&mut done, |done| *done < generation, PATIENCE);
        }
    }
}
