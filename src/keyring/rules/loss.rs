//! Which key versions may have existed and are lost when an older keyring replaces a newer one.
//!
//! Each save adds at most one version to a key. So a key has lost at most as many versions as there are generations between
//! the keyring that is found and the newest one of which there is evidence: this host's memory, or the events of changes
//! in the audit log, whose MACs take the vault's own keys. A file's header is no evidence: anyone who can write the
//! ciphertext can make it name any version. If this host remembers nothing, a log that was copied before the files may
//! know too little; then numbers skip further ([`GUESS`]), unless the user says how far.
//!
//! A process that is killed between the event of a change and its save leaves evidence of a generation that never was. It
//! looks like one that was, so each key skips a number, which counts as lost.
//!
//! The body has the marks once it is opened, and the file has them with the first change. Until then all evidence stays:
//! the host's memory is never lowered, and the log is never shortened.

use crate::ids::{Generation, KeyVersion};
use crate::keyring::format::model::{Key, KeyState, KeyringBody, Origin};
use crate::keyring::format::ranges::LostGenerations;

/// The most versions of a key that are marked lost for generations of which there is evidence.
const MOST: u64 = 4096;
/// The versions of a key that are marked lost where their number is unknown.
const GUESS: u32 = 64;

/// The evidence of a loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keyring) struct Loss {
    /// The newest generation of which there is evidence, if it is newer than the keyring.
    pub(in crate::keyring) known: Option<Generation>,
    /// Whether there may have been still newer ones.
    pub(in crate::keyring) uncertain: bool,
    /// The number from which on new versions are safe, as the user says.
    pub(in crate::keyring) next_version: Option<KeyVersion>,
}

impl Loss {
    /// The newest generation that is known of: the next save gets a higher one.
    pub(in crate::keyring) fn newest(&self, found: Generation) -> Generation {
        self.known.map_or(found, |known| known.max(found))
    }
}

impl KeyringBody {
    /// Marks the versions that may be lost. Returns how many the key that loses most loses.
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
    /// Material may have been imported into a version that waits for its first: it waits under a new number.
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
