//! Which files `rekeyfs inspect -r` lists.

use super::file::Row;
use crate::cli::args;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::ids::{self, IdPrefix, KeyId, KeyVersion, NotOne};
use crate::keyring::VersionState;
use crate::service::{KeyRef, Status};

/// What files must be to be listed: all of it.
pub(super) struct Filter {
    key: Option<KeyFilter>,
    version: Option<KeyVersion>,
    stale: bool,
    unusable: bool,
}

enum KeyFilter {
    Is(KeyId),
    /// No keyring can say which keys begin like this.
    Begins(IdPrefix),
}

/// Why it can't be told whether a file is to be listed.
const UNKNOWN: &str = "whether it is isn't known here: mount the vault, and ask as the user who mounted it";

impl Filter {
    /// `status` is that of the mount whose files are listed, if it can be asked.
    ///
    /// # Errors
    /// [`Exit::Key`] for what names no key, or several.
    pub(super) fn new(args: &args::Inspect, status: Option<&Status>) -> Outcome<Self> {
        let key = args.key.as_deref().map(|key| KeyFilter::new(key, status)).transpose()?;
        Ok(Self { key, version: args.version.map(KeyVersion), stale: args.stale, unusable: args.unusable })
    }

    /// Whether a file is to be listed.
    ///
    /// # Errors
    /// Why that can't be known.
    pub(super) fn takes(&self, row: &Row) -> Result<bool, String> {
        let Some(key) = row.key_id else {
            return Ok(self.key.is_none() && self.version.is_none() && !self.stale && !self.unusable);
        };
        let of_key = match &self.key {
            None => true,
            Some(KeyFilter::Is(wanted)) => key == *wanted,
            Some(KeyFilter::Begins(prefix)) => prefix.find([key]).is_ok(),
        };
        if !of_key || self.version.is_some_and(|version| row.version != Some(version)) {
            return Ok(false);
        }
        if self.stale && !row.stale.ok_or_else(|| format!("stale, or not: {UNKNOWN}"))? {
            return Ok(false);
        }
        let opens = |state| matches!(state, VersionState::Current | VersionState::Old);
        Ok(!self.unusable || !row.state.map(opens).ok_or_else(|| format!("usable, or not: {UNKNOWN}"))?)
    }
}

impl KeyFilter {
    fn new(key: &str, status: Option<&Status>) -> Outcome<Self> {
        let failed = |cause: String| Failure::new(Exit::Key, "--key", cause);
        match KeyRef::parse(key).map_err(|error| failed(error.to_string()))? {
            KeyRef::Key(key) => Ok(Self::Is(key)),
            KeyRef::Alias(alias) => {
                let Some(status) = status else {
                    let cause =
                        "only a mount knows where aliases point; give the key's id, or the beginning of it";
                    return Err(failed(format!("{alias}: {cause}")));
                };
                let known = status.aliases.iter().find(|known| known.alias == alias);
                let key = known.ok_or_else(|| {
                    failed(format!("there is no {alias}; `rekeyfs status` lists the aliases"))
                });
                key.map(|alias| Self::Is(alias.key_id))
            }
            KeyRef::Prefix(prefix) => {
                let Some(status) = status else { return Ok(Self::Begins(prefix)) };
                let known = status.keys.iter().map(|key| key.key_id);
                match ids::named(key, known) {
                    Ok(Ok(key)) => Ok(Self::Is(key)),
                    Ok(Err(NotOne::Several(keys))) => {
                        let why = NotOne::Several(keys);
                        Err(failed(format!("key id '{prefix}': {why}; give more of the one that is meant")))
                    }
                    // Files may bear keys that the keyring doesn't have.
                    Ok(Err(NotOne::None)) | Err(_) => Ok(Self::Begins(prefix)),
                }
            }
        }
    }
}
