//! Rollback protection: compares an opened keyring with what this host remembers of its vault (seen_generations.rs), marks
//! what is lost with a newer one (rules/loss.rs), and updates the memory.

use std::path::PathBuf;

use super::seen_generations::{RollbackCheck, SeenAt, SeenGenerations, Sighting};
use super::vault_dir::VaultDir;
use super::{KeyringError, Loss, OpenedKeyring, Store, parse};
use crate::events::EventLog;
use crate::ids::{Generation, KeyVersion};
use crate::keyring::error::Left;

/// What tells of a newer keyring, beside the audit log.
struct Evidence {
    /// The newest generation that this host remembers.
    host: Option<Generation>,
    /// Whether that is of a keyring which this one doesn't come from.
    diverged: bool,
    /// The number from which on new versions are safe, as the user says.
    next_version: Option<KeyVersion>,
}

impl Store {
    /// Marks what a newer keyring may have had as lost. `behind` is why this keyring isn't the one that the host remembers,
    /// where it is accepted nevertheless. How many generations a diverged keyring has had isn't known.
    pub(in crate::keyring) fn mark_loss(
        &mut self,
        log: &EventLog,
        behind: Option<&KeyringError>,
        next_version: Option<KeyVersion>,
    ) {
        let (vault, path) = (self.state.header.vault, self.dir.path());
        let diverged =
            matches!(behind, Some(KeyringError::Forked { .. } | KeyringError::OtherRootKey { .. }));
        let host = match behind {
            Some(_) => self.host.newest(vault, path),
            None => self.host.generation(vault, path),
        };
        self.mark_lost(log, Evidence { host, diverged, next_version });
    }

    /// The same for a keyring that is only read. If the host has seen a newer one at another path, this is a copy's, and
    /// nothing is lost: the newer one is there.
    pub(in crate::keyring) fn mark_loss_of_copy(&mut self, log: &EventLog) {
        let (vault, path) = (self.state.header.vault, self.dir.path());
        let host = match self.host.seen_elsewhere(vault, path) {
            Some(_) => None,
            None => self.host.generation(vault, path),
        };
        self.mark_lost(log, Evidence { host, diverged: false, next_version: None });
    }

    fn mark_lost(&mut self, log: &EventLog, evidence: Evidence) {
        let Evidence { host, diverged, next_version } = evidence;
        let logged = log.changes_after(self.state.body.event_anchor);
        let known = host.max(logged.newest).filter(|known| *known > self.state.body.generation);
        let uncertain = diverged || logged.more || (known.is_some() && host.is_none());
        let loss = Loss { known, uncertain, next_version };
        if known.is_some() || uncertain {
            let versions = self.state.body.lose(&loss);
            self.loss = Some((loss, versions));
        }
    }

    /// How this keyring compares with what the host remembers. Changes nothing.
    pub(in crate::keyring) fn check(&self) -> RollbackCheck {
        self.sighting(|host, found| host.check(found))
    }

    /// Why this is an old or a diverged keyring, if this host knows that it is. Changes nothing.
    pub(in crate::keyring) fn behind(&self) -> Option<KeyringError> {
        self.refusal(self.check())
    }

    /// The error for a keyring that isn't what the host remembers.
    pub(in crate::keyring) fn refusal(&self, check: RollbackCheck) -> Option<KeyringError> {
        let (vault, found) = (self.dir.path().to_owned(), self.state.body.generation);
        match check {
            RollbackCheck::Fine | RollbackCheck::Unproven(_) => None,
            RollbackCheck::RolledBack(SeenAt { generation: seen, elsewhere }) => {
                Some(KeyringError::RolledBack { vault, found, seen, elsewhere })
            }
            RollbackCheck::Forked(SeenAt { elsewhere, .. }) => {
                Some(KeyringError::Forked { vault, found, elsewhere })
            }
            RollbackCheck::OtherRoot(SeenAt { elsewhere, .. }) => {
                Some(KeyringError::OtherRootKey { vault, elsewhere })
            }
        }
    }

    /// Whether the host remembers the root key of the keyring that counts here.
    pub(in crate::keyring) fn is_known_here(&self) -> bool {
        self.host.knows_root(self.state.header.vault, self.dir.path())
    }

    fn sighting<T>(&self, with: impl FnOnce(&SeenGenerations, &Sighting<'_>) -> T) -> T {
        let OpenedKeyring { header, body, root, .. } = &self.state;
        let (vault, path) = (header.vault, self.dir.path());
        let root = root.commitment(vault);
        with(&self.host, &Sighting { vault, path, head: self.state.head(), root, body })
    }

    /// Remembers this keyring as the newest one, unless it lacks something that isn't marked in the file yet: a host that
    /// remembers nothing else must not take it for the newest one next time.
    pub(in crate::keyring) fn remember(&self) {
        if self.loss.is_some() {
            return;
        }
        if self.accepted {
            self.sighting(SeenGenerations::accept);
        } else {
            self.sighting(SeenGenerations::follow);
        }
    }

    /// Accepts this keyring at its path: what is saved next is remembered for the path.
    pub(in crate::keyring) fn accept(&mut self) {
        self.accepted = true;
    }

    /// Remembers this keyring, which was imported from a key backup: as the vault's, if this is the vault's own place, else for
    /// its path, as one that is accepted. Returns where the vault is in the second case.
    pub(in crate::keyring) fn remember_import(&mut self) -> Option<PathBuf> {
        let vault = self.vault_elsewhere();
        if vault.is_some() {
            self.accept();
            self.remember();
        } else {
            self.sighting(SeenGenerations::import);
        }
        vault
    }

    /// Where the vault of which this is a copy is: the place at which this host has seen its newest keyring, unless it was
    /// moved away from there. One whose keyring is lost there may be what the import is tried for, and counts.
    fn vault_elsewhere(&self) -> Option<PathBuf> {
        let vault = self.state.header.vault;
        let other = self.host.mark_elsewhere(vault, self.dir.path())?;
        let there = VaultDir::open(&other).ok().filter(|there| !there.holds_same_file(&self.dir))?;
        let its_own = match there.read() {
            Ok(bytes) => parse(&there, &bytes).ok().is_none_or(|parts| parts.header.vault == vault),
            Err(_) => there.left() != Left::Nothing,
        };
        its_own.then_some(other)
    }

    /// The other path at which this host has used the vault, if a vault is still there and this one is a copy of it. A
    /// change here would make the two diverge, so that neither is older than the other.
    pub(in crate::keyring) fn original(&self) -> Option<PathBuf> {
        let vault = self.state.header.vault;
        let other = self.host.seen_elsewhere(vault, self.dir.path())?;
        let there = VaultDir::open(&other).ok()?;
        if there.holds_same_file(&self.dir) {
            return None;
        }
        let bytes = there.read().ok()?;
        parse(&there, &bytes).is_ok_and(|parts| parts.header.vault == vault).then_some(other)
    }
}
