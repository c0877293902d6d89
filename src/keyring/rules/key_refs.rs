//! How keys and aliases are named: key ids, ARNs, alias names, alias ARNs.

use crate::ids::{AliasName, KeyId};
use crate::keyring::error::{KeyError, KeyringError};
use crate::keyring::format::model::Body;
use crate::keyring::kms::{KmsError, KmsErrorName, alias_arn};

type Result<T> = std::result::Result<T, KeyringError>;

const ARN_PREFIX: &str = "arn:rekeyfs:kms:local:000000000000:";

/// The key of a key id or key ARN.
pub(in crate::keyring) fn key(body: &Body, asked: &str) -> Result<KeyId> {
    let unprefixed = asked.strip_prefix(ARN_PREFIX).and_then(|rest| rest.strip_prefix("key/"));
    let invalid = || {
        KmsError::new(KmsErrorName::NotFoundException, format!("Invalid keyId '{}'", asked.escape_debug()))
    };
    let id: KeyId = unprefixed.unwrap_or(asked).parse().map_err(|_| invalid())?;
    body.key(id).map(|key| key.id).ok_or(KeyringError::Key(KeyError::UnknownKey(id)))
}

/// The key of a key id, key ARN, alias name or alias ARN.
pub(in crate::keyring) fn key_or_alias(body: &Body, asked: &str) -> Result<KeyId> {
    match alias_of(asked) {
        None => key(body, asked),
        Some(name) => {
            let name = pattern(name)?;
            let alias = body.alias(&name).map(|alias| alias.key);
            alias.ok_or(KeyringError::Key(KeyError::UnknownAlias(name)))
        }
    }
}

/// The key that an alias is to point at: an alias can't point at an alias.
pub(in crate::keyring) fn target(body: &Body, asked: &str) -> Result<KeyId> {
    if alias_of(asked).is_some() {
        return Err(KmsError::validation("Aliases must refer to keys. Not aliases").into());
    }
    key(body, asked)
}

/// The name of an alias that a user may make, move and remove.
pub(in crate::keyring) fn own_alias(asked: &str) -> Result<AliasName> {
    if !asked.starts_with(AliasName::PREFIX) {
        return Err(KmsError::validation("Alias must start with the prefix \"alias/\".").into());
    }
    let name = pattern(asked)?;
    if name.is_reserved() {
        let message = format!("{} begins with a prefix that is reserved.", alias_arn(&name));
        return Err(KmsError::new(KmsErrorName::InvalidAliasNameException, message).into());
    }
    Ok(name)
}

fn alias_of(asked: &str) -> Option<&str> {
    let name = asked.strip_prefix(ARN_PREFIX).unwrap_or(asked);
    name.starts_with(AliasName::PREFIX).then_some(name)
}

fn pattern(name: &str) -> Result<AliasName> {
    name.parse().map_err(|_| {
        let name = name.escape_debug();
        let text = format!(
            "1 validation error detected: Value '{name}' at 'aliasName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: ^alias/[a-zA-Z0-9/_-]+$ and have at most 256 characters"
        );
        KmsError::validation(text).into()
    })
}
