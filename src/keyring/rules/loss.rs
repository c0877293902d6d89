//! When an older keyring takes a newer one's place: which key versions may have existed and are lost with it.
//!
//! Each save adds at most one version to a key, so a key has lost at most as many as there are generations between
//! the keyring that is found and the newest one that something knows of: this host's memory, or the events of changes
//! in the audit log, whose MACs only the vault's own keys make. A file's header is no evidence: whoever can write the
//! ciphertext can have it name any version. Where this host itself remembers nothing, a log that was copied earlier
//! than the files may know too little, so that numbers jump further ([`GUESS`]), unless the user says how far.
//!
//! A process that is killed between the event of a change and the save that it is of leaves evidence of a generation
//! that never was. Nothing tells it from one that was, so each key skips a number then, which counts as lost.
//!
//! The marks are in the body from the moment it is opened and saved with the first change of it, before which nothing
//! of the evidence is touched: the host's memory is never lowered, and the log is never shortened.

use crate::ids::{Generation, KeyVersion};
use crate::keyring::format::model::{Key, KeyState, KeyringBody, Origin};
use crate::keyring::format::ranges::LostGenerations;

/// The most versions of a key that are marked lost for generations that are known of.
const MOST: u64 = 4096;
/// How many are where nothing tells how many there were.
const GUESS: u32 = 64;

/// What is known of a loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keyring) struct Loss {
    /// The newest generation that something knows of, if one is newer than the keyring.
    pub(in crate::keyring) known: Option<Generation>,
    /// Whether there may have been newer ones that nothing here knows of.
    pub(in crate::keyring) uncertain: bool,
    /// The number from which on new versions are safe, as the user says.
    pub(in crate::keyring) next_version: Option<KeyVersion>,
}

impl Loss {
    /// The generation that the next save has to pass.
    pub(in crate::keyring) fn newest(&self, found: Generation) -> Generation {
        self.known.map_or(found, |known| known.max(found))
    }
}

impl KeyringBody {
    /// Marks the versions lost that may be. Returns how many that is of the key that loses most.
    pub(in crate::keyring) fn lose(&mut self, loss: &Loss) -> u32 {
        let found = self.generation;
        let between = loss.newest(found).0.saturating_sub(found.0).min(MOST) as u32;
        let mut most = 0;
        for key in &mut self.keys {
            let before = key.last_number();
            let last = KeyVersion(before.0.saturating_add(between));
            let guess = match loss.next_version {
                Some(next) => KeyVersion(next.0.saturating_sub(1)),
                None => KeyVersion(before.0.saturating_add(GUESS)),
            };
            key.lose_up_to(if loss.uncertain { last.max(guess) } else { last });
            key.await_again();
            most =
                most.max(key.lost_versions().last().map_or(0, |lost| lost.last.0.saturating_sub(before.0)));
        }
        let earlier = self.lost_generations;
        self.lost_generations = Some(LostGenerations {
            after: earlier.map_or(found, |earlier| earlier.after.min(found)),
            known: if loss.uncertain {
                None
            } else {
                loss.known.max(earlier.and_then(|earlier| earlier.known))
            },
        });
        most
    }
}

impl Key {
    /// Material may have been imported into the version that waits for its first: what waits gets a new number.
    fn await_again(&mut self) {
        let waits = self.origin == Origin::External
            && matches!(self.state, KeyState::PendingImport | KeyState::PendingDeletion)
            && self.versions.iter().all(|version| !version.was_imported());
        let Some(last) = self.gaps.last().map(|gap| gap.last).filter(|_| waits) else { return };
        if self.versions.iter().all(|version| version.number > last) {
            return;
        }
        let Some(next) = last.0.checked_add(1).map(KeyVersion) else { return };
        for mut version in std::mem::take(&mut self.versions) {
            self.gap_at(version.number);
            version.number = next;
            self.versions = vec![version];
        }
        self.current = next;
    }
}
