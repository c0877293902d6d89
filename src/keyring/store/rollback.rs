//! An opened keyring beside what this host remembers of its vault: whether it is an older one or another one, what is
//! lost with the newer one, and what is remembered of it.

use std::path::PathBuf;

use super::seen_generations::{RollbackCheck, SeenAt, SeenGenerations, Sighting};
use super::vault_dir::VaultDir;
use super::{KeyringError, Loss, State, Store, parse};
use crate::events::EventLog;
use crate::ids::{Generation, KeyVersion};

impl Store {
    /// Looks for what a newer keyring had, and marks what may be lost of it. `behind`: why this one isn't what the host
    /// remembers, if it isn't, and is accepted nevertheless. How far another line went isn't known.
    pub(in crate::keyring) fn look_for_loss(
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
        self.mark_lost(log, host, diverged, next_version);
    }

    /// The same of a keyring that is only looked at. What was seen at another place is no loss here: that is where the
    /// newer keyring is, and this one is a copy's.
    pub(in crate::keyring) fn look_for_loss_here(&mut self, log: &EventLog) {
        let (vault, path) = (self.state.header.vault, self.dir.path());
        let host = match self.host.seen_elsewhere(vault, path) {
            Some(_) => None,
            None => self.host.generation(vault, path),
        };
        self.mark_lost(log, host, false, None);
    }

    fn mark_lost(
        &mut self,
        log: &EventLog,
        host: Option<Generation>,
        diverged: bool,
        next_version: Option<KeyVersion>,
    ) {
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

    fn sighting<T>(&self, with: impl FnOnce(&SeenGenerations, &Sighting<'_>) -> T) -> T {
        let State { header, body, root, .. } = &self.state;
        let (vault, path) = (header.vault, self.dir.path());
        let root = root.commitment(vault);
        with(&self.host, &Sighting { vault, path, head: self.state.head(), root, body })
    }

    /// Has this host remember the keyring as the one it has seen, unless it is known to lack something that isn't marked
    /// in it yet: a host that remembers nothing must not take it for the newest one next time.
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

    /// Has this host remember this keyring, or the one that it becomes, for its place: the user insists on it.
    pub(in crate::keyring) fn accept(&mut self) {
        self.accepted = true;
    }

    /// The other place where this host has used the vault, if that is there still and this one is a copy of it: a
    /// change here would part the two, and neither is older than the other then.
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
