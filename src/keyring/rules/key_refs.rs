//! How keys and aliases are named: key ids, the beginning of one, ARNs, alias names, alias ARNs.

use serde::{Deserialize, Serialize};

use super::error::RuleError;
use crate::events::ARN_PREFIX;
use crate::ids::{AliasName, IdPrefix, KeyId, NotOne};
use crate::keyring::error::{KeyError, KeyringError};
use crate::keyring::format::model::KeyringBody;

/// A key as it was named: what an alias points at is looked up when the key is used, in the same change. The control
/// protocol writes it with these names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRef {
    /// The key that an alias points at.
    Alias(AliasName),
    /// A key.
    Key(KeyId),
    /// The key whose id begins like this.
    Prefix(IdPrefix),
}

impl KeyRef {
    /// What a key id or its beginning, key ARN, alias name or alias ARN names.
    ///
    /// # Errors
    /// [`RuleError`], if it is none of them.
    pub fn parse(asked: &str) -> Result<Self, RuleError> {
        match alias_of(asked) {
            None => Self::parse_key(asked),
            Some(name) => alias_name(name).map(Self::Alias),
        }
    }

    /// The same where an alias isn't taken.
    ///
    /// # Errors
    /// [`RuleError`], if it is neither a key id or its beginning nor a key ARN.
    pub fn parse_key(asked: &str) -> Result<Self, RuleError> {
        let unprefixed = asked.strip_prefix(ARN_PREFIX).and_then(|rest| rest.strip_prefix("key/"));
        if let Ok(whole) = unprefixed.unwrap_or(asked).parse() {
            return Ok(Self::Key(whole));
        }
        asked.parse().map(Self::Prefix).map_err(|_| RuleError::NoKeyId(asked.to_owned()))
    }

    /// The same for the key that an alias is to point at: an alias can't point at an alias.
    ///
    /// # Errors
    /// [`RuleError`], if it is neither a key id nor a key ARN.
    pub fn parse_target(asked: &str) -> Result<Self, RuleError> {
        if alias_of(asked).is_some() { Err(RuleError::AliasOfAlias) } else { Self::parse_key(asked) }
    }

    /// The key, if there is one.
    ///
    /// # Errors
    /// [`KeyError::UnknownKey`], [`KeyError::UnknownAlias`]; no key begins like this, or several do.
    pub(in crate::keyring) fn find(&self, body: &KeyringBody) -> Result<KeyId, KeyringError> {
        match self {
            Self::Key(id) => body.key(*id).map(|key| key.id).ok_or(KeyError::UnknownKey(*id).into()),
            Self::Prefix(prefix) => prefix.find(body.keys.iter().map(|key| key.id)).map_err(|why| {
                let prefix = prefix.to_string();
                match why {
                    NotOne::None => RuleError::NoKeyId(prefix).into(),
                    NotOne::Several(_) => RuleError::AmbiguousKeyId { prefix, why }.into(),
                }
            }),
            Self::Alias(name) => {
                let alias = body.alias(name).map(|alias| alias.key);
                alias.ok_or_else(|| KeyError::UnknownAlias(name.clone()).into())
            }
        }
    }
}

impl From<KeyId> for KeyRef {
    fn from(key: KeyId) -> Self {
        Self::Key(key)
    }
}

/// The name of an alias that the vault's owner may make, move and remove.
///
/// # Errors
/// [`RuleError`], if it is none, or reserved.
pub fn own_alias(asked: &str) -> Result<AliasName, RuleError> {
    if !asked.starts_with(AliasName::PREFIX) {
        return Err(RuleError::NoAliasPrefix);
    }
    let name = alias_name(asked)?;
    if name.is_reserved() { Err(RuleError::ReservedAlias(name)) } else { Ok(name) }
}

fn alias_of(asked: &str) -> Option<&str> {
    let name = asked.strip_prefix(ARN_PREFIX).unwrap_or(asked);
    name.starts_with(AliasName::PREFIX).then_some(name)
}

fn alias_name(name: &str) -> Result<AliasName, RuleError> {
    name.parse().map_err(|_| RuleError::NoAliasName(name.to_owned()))
}
