//! Key policies: AWS's JSON, as far as it is understood. What isn't understood is refused, never ignored; what is
//! kept is [`Policy`], which answers one question: may this user use the key for that.
//!
//! The text is stored as it was written. AWS's default policy and Terraform's name the account as a whole
//! (`arn:aws:iam::ACCOUNT:root`): in a statement that allows, that is the vault's owner ([`Owner`]). Users of IAM, services
//! and conditions aren't known here, and so no policy that has them is taken.
//!
//! A policy governs the use of a key, for files and for data ([`KeyUse`]). Administration is the control socket's, so that no
//! policy takes it from the vault's owner.

mod actions;
mod document;
mod error;
mod once_named;
mod uses;

pub(in crate::keyring) use document::Owner;
use document::{Effect, Rule, Who};
use error::MAX_LEN;
pub use error::PolicyError;
pub use uses::KeyUse;

use crate::ids::KeyId;

/// The policy of a key that was given none.
pub(crate) const DEFAULT: &str = concat!(
    r#"{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Everybody may use the key","#,
    r#""Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"}]}"#
);

/// Whether a policy is taken by which the vault's owner couldn't use the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockOut {
    /// It isn't.
    Refused,
    /// It is: that is meant.
    Meant,
}

/// A policy that is understood.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::keyring) struct Policy(Vec<Rule>);

impl Rule {
    fn is_about(&self, uid: u32, used_for: KeyUse) -> bool {
        self.uses.has(used_for)
            && match &self.who {
                Who::Everybody => true,
                Who::Users(users) => users.contains(&uid),
            }
    }
}

impl Policy {
    /// The policy that this text is, for this key and this owner of the vault.
    ///
    /// # Errors
    /// [`PolicyError::Malformed`] for what isn't understood, [`PolicyError::TooLong`] over 32 KiB.
    pub(in crate::keyring) fn parse(text: &str, key: KeyId, owner: Owner) -> Result<Self, PolicyError> {
        if text.len() > MAX_LEN {
            return Err(PolicyError::TooLong(text.len()));
        }
        document::rules(text, key, owner).map(Self)
    }

    /// The policy of a key as it is stored: an empty text is the default. Of one that this program doesn't
    /// understand nothing is ignored: it allows nothing. `None`: everybody may do everything.
    pub(in crate::keyring) fn stored(text: &str, key: KeyId, owner: Owner) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let policy = Self::parse(text, key, owner).unwrap_or(Self(Vec::new()));
        (!policy.is_open_for(&KeyUse::ALL)).then_some(policy)
    }

    /// Whether it denies anybody the use of the key for files.
    pub(in crate::keyring) fn restricts_files(&self) -> bool {
        !self.is_open_for(&KeyUse::OF_FILES)
    }

    /// Whether everybody may use the key so.
    fn is_open_for(&self, uses: &[KeyUse]) -> bool {
        uses.iter().all(|used_for| {
            let mut about = self.0.iter().filter(|rule| rule.uses.has(*used_for));
            about.clone().all(|rule| rule.effect == Effect::Allow)
                && about.any(|rule| rule.who == Who::Everybody)
        })
    }

    /// Whether a user may use the key so: if a statement allows it and none denies it. Allocates nothing.
    pub(in crate::keyring) fn allows(&self, uid: u32, used_for: KeyUse) -> bool {
        let mut allowed = false;
        for rule in self.0.iter().filter(|rule| rule.is_about(uid, used_for)) {
            match rule.effect {
                Effect::Deny => return false,
                Effect::Allow => allowed = true,
            }
        }
        allowed
    }
}

/// Whether a policy that is stored for a key is understood. One that isn't allows nothing.
pub fn policy_is_understood(text: &str, key: KeyId) -> bool {
    // Who the owner is changes whom it allows, and not whether it is understood.
    Policy::parse(text, key, Owner(0)).is_ok()
}

/// Checks a policy that is to be stored for a key.
///
/// # Errors
/// [`PolicyError`].
pub(in crate::keyring) fn check(
    text: &str,
    key: KeyId,
    owner: Owner,
    lock_out: LockOut,
) -> Result<(), PolicyError> {
    let policy = Policy::parse(text, key, owner)?;
    // AWS's pattern of a policy. Policies that were stored before this was asked stay in force.
    if let Some(other) = text.chars().find(|c| !matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}')) {
        return Err(PolicyError::Character(other));
    }
    match lock_out {
        LockOut::Refused if !KeyUse::OF_FILES.iter().all(|used_for| policy.allows(owner.0, *used_for)) => {
            Err(PolicyError::LocksOut(owner.0))
        }
        LockOut::Refused | LockOut::Meant => Ok(()),
    }
}

#[cfg(test)]
mod tests;
