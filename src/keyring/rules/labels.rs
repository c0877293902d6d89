//! What a key is labelled with: its description and its tags.

use super::error::RuleError;
use crate::keyring::error::{KeyError, KeyringError, Unusable};
use crate::keyring::format::model::{Key, KeyState, Tag};

/// Tags that a key takes.
pub(crate) const TAGS_MAX: usize = 50;

impl Key {
    /// Whether its tags and description may be changed.
    ///
    /// # Errors
    /// If it is service-managed or pending deletion.
    pub(in crate::keyring) fn may_be_labelled(&self) -> Result<(), KeyringError> {
        self.may_be_managed()?;
        match self.state {
            KeyState::PendingDeletion => {
                Err(KeyError::NotUsable { key: self.id, state: Unusable::State(self.state) }.into())
            }
            KeyState::Enabled | KeyState::Disabled | KeyState::PendingImport => Ok(()),
        }
    }

    /// Adds tags; one whose key is there gets the new value.
    ///
    /// # Errors
    /// As [`Key::may_be_labelled`], and [`RuleError::TooManyTags`].
    pub(in crate::keyring) fn add_tags(&mut self, new: Vec<Tag>) -> Result<(), KeyringError> {
        self.may_be_labelled()?;
        for tag in new {
            match self.tags.iter_mut().find(|old| old.key == tag.key) {
                Some(old) => old.value = tag.value,
                None => self.tags.push(tag),
            }
        }
        if self.tags.len() > TAGS_MAX {
            return Err(RuleError::TooManyTags(TAGS_MAX).into());
        }
        Ok(())
    }

    /// Removes the tags of these keys.
    ///
    /// # Errors
    /// As [`Key::may_be_labelled`].
    pub(in crate::keyring) fn remove_tags(&mut self, keys: &[String]) -> Result<(), KeyringError> {
        self.may_be_labelled()?;
        self.tags.retain(|tag| !keys.contains(&tag.key));
        Ok(())
    }

    /// Replaces the description.
    ///
    /// # Errors
    /// As [`Key::may_be_labelled`].
    pub(in crate::keyring) fn describe(&mut self, text: &str) -> Result<(), KeyringError> {
        self.may_be_labelled()?;
        text.clone_into(&mut self.description);
        Ok(())
    }
}
