//! The members of a vault that several hosts share, by what their records say: no secret is asked for.

use std::os::fd::AsFd;
use std::path::Path;

use super::super::errors;
use super::super::exit::{Exit, Failure, Outcome};
use crate::keyring::{KeyringDir, Listed, list_hosts};
use crate::printable;

/// The members of a vault.
///
/// # Errors
/// The vault's directory, or the records, can't be read.
pub(super) fn of(vault: &Path) -> Outcome<Vec<Listed>> {
    let dir = KeyringDir::open(vault).and_then(|dir| dir.descriptor());
    let dir = dir.map_err(|error| errors::opening(&error))?;
    list_hosts(dir.as_fd())
        .map_err(|error| Failure::new(Exit::Vault, printable::path(&vault.join("hosts")), error))
}
