//! The rule by which a file's key changes: **a file follows the alias under which it was wrapped**, which its header
//! tells by a tag ([`AliasTag`](crate::header::AliasTag)), wherever its names lie. [`follow`] is all of it, a pure
//! function of the slots and of what the keyring says:
//!
//! | tag | the keyring | the file |
//! |--|--|--|
//! | of an alias | that alias points at another key | moves to that key's current version |
//! | of an alias | that alias points at the file's key, or is gone (also: made again) | takes its own key's current version |
//! | pinned | | takes its own key's current version |
//! | none | it was recorded that untagged files of the file's key are of one alias, or of none | goes where one with that alias's tag would, which it gets if the alias is there; or takes its own key's current version |
//! | none | nothing was recorded, and exactly one alias points at the file's key | is adopted: gets that alias's tag, and its own key's current version |
//! | none | nothing was recorded, and none or several point at it | takes its own key's current version |
//! | of a generation that the keyring never had | | takes its own key's current version: the keyring is an older one that was put back, or comes from one, and what its aliases say isn't what the owner said last |
//!
//! A file whose target can't be used stays as it is until that can. Without a tag are files of programs that knew none,
//! and those that such a program re-wrapped under another key: nothing but their key tells which alias they followed,
//! and that only as long as its aliases are the ones of then; when the first of them leaves the key, the keyring records
//! it ([`Untagged`]). Which directory a file lies in says nothing: a user with a directory of their own could have files moved
//! to a key of their choice otherwise.

use serde::{Deserialize, Serialize};

use crate::header::SlotKeys;
use crate::ids::{AliasId, BackingKeyId, Generation, KeyId};
use crate::keyring::format::untagged::Untagged;

/// What a keyring says of keys and aliases.
pub trait KeyringView {
    /// Whether this keyring, as far as it knows, had this generation: it isn't newer, nor one of those that were lost when
    /// an older keyring was taken into use.
    fn had(&self, generation: Generation) -> bool;
    /// The key that an alias points at.
    fn key_of(&self, alias: AliasId) -> Option<KeyId>;
    /// What was recorded of the untagged files of a key.
    fn untagged_of(&self, key: KeyId) -> Option<Untagged>;
    /// The alias that points at a key, if exactly one does.
    fn only_alias_of(&self, key: KeyId) -> Option<AliasId>;
    /// A key's current version, if it can be used.
    fn usable_current(&self, key: KeyId) -> Option<BackingKeyId>;
}

/// Why a file belongs to its key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Belonging {
    /// It follows this alias.
    To(AliasId),
    /// It has no tag, and is to get that of this alias: the only one of its key, or the one that was.
    Adopted(AliasId),
    /// It followed an alias that is gone, by its tag or by what was recorded.
    AliasGone,
    /// It was put under this key for good.
    Pinned,
    /// It has no tag, and no alias or several point at its key, or did when first one left.
    Undecided,
    /// It has a tag of a newer keyring than this one, or of one that was lost.
    NewerThanKeyring,
}

impl Belonging {
    /// Whether the file moves by itself when an alias is pointed at another key.
    pub fn moves_by_itself(self) -> bool {
        matches!(self, Self::To(_) | Self::Adopted(_))
    }
}

/// Files that stay under their key when an alias is pointed at another one, and why.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Staying {
    /// The owner put them under their key.
    pub pinned: u64,
    /// The alias that they followed is gone.
    pub alias_gone: u64,
    /// They don't say which alias they follow, and no alias or several point at their key.
    pub undecided: u64,
    /// They were wrapped with a newer keyring than this one, or with one that was lost.
    pub newer: u64,
}

impl Staying {
    /// Counts files.
    pub fn note(&mut self, belonging: Belonging, files: u64) {
        match belonging {
            Belonging::Pinned => self.pinned += files,
            Belonging::AliasGone => self.alias_gone += files,
            Belonging::Undecided => self.undecided += files,
            Belonging::NewerThanKeyring => self.newer += files,
            Belonging::To(_) | Belonging::Adopted(_) => {}
        }
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        self.pinned + self.alias_gone + self.undecided + self.newer
    }
}

/// What is to become of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Followed {
    /// The backing key that both its slots should bear.
    pub target: BackingKeyId,
    /// Why.
    pub belonging: Belonging,
}

impl Followed {
    /// What the tag is to say that goes with the target: `None` leaves the tag, or that there is none, as it is.
    pub fn follows(&self) -> Option<Option<AliasId>> {
        match self.belonging {
            Belonging::To(alias) | Belonging::Adopted(alias) => Some(Some(alias)),
            Belonging::Pinned => Some(None),
            Belonging::AliasGone | Belonging::Undecided | Belonging::NewerThanKeyring => None,
        }
    }
}

/// Where a file with these slots belongs.
pub fn follow(slots: &SlotKeys, keyring: &impl KeyringView) -> Followed {
    let own = slots.backing.key;
    let (key, belonging) = match slots.tag {
        Some(tag) if !keyring.had(tag.generation) => (own, Belonging::NewerThanKeyring),
        Some(tag) => match tag.follows {
            None => (own, Belonging::Pinned),
            Some(alias) => {
                keyring.key_of(alias).map_or((own, Belonging::AliasGone), |key| (key, Belonging::To(alias)))
            }
        },
        None => match keyring.untagged_of(own) {
            Some(Untagged::OfNone) => (own, Belonging::Undecided),
            Some(Untagged::Of(alias)) => keyring
                .key_of(alias)
                .map_or((own, Belonging::AliasGone), |key| (key, Belonging::Adopted(alias))),
            None => {
                let only = keyring.only_alias_of(own);
                (own, only.map_or(Belonging::Undecided, Belonging::Adopted))
            }
        },
    };
    Followed { target: keyring.usable_current(key).unwrap_or(slots.backing), belonging }
}

#[cfg(test)]
mod tests;
