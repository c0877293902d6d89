//! What the keys of an open vault answer alone, without its files.

use std::collections::HashMap;

use super::errors;
use super::operations::Result;
use super::reports::KmsReply;
use super::status::{
    AliasStatus, KeyStatus, KeyVersionStatus, PendingStatus, Status, TagStatus, VersionStatus,
};
use crate::events::Principal;
use crate::ids::{BackingKeyId, KeyId};
use crate::keyring::{self, KeyInfo, KeyRef, Keys, Rotation, Staying};
use crate::kms::{Call, KmsError};

/// How many files each version wraps, with the state of the version.
pub(super) fn versions(keys: &Keys, census: Vec<(BackingKeyId, u64)>) -> Vec<VersionStatus> {
    let version = |(backing, files): (BackingKeyId, u64)| VersionStatus {
        key_id: backing.key,
        version: backing.version,
        files,
        state: Some(keys.state_of(backing)),
    };
    census.into_iter().map(version).collect()
}

/// What the keyring alone says of a vault: no mount, no files.
pub(super) fn status(keys: &Keys) -> Status {
    let known: Vec<KeyInfo> = keys.keys();
    let by_id: HashMap<KeyId, &KeyInfo> = known.iter().map(|key| (key.id, key)).collect();
    let aliases = keys.aliases().into_iter().filter_map(|alias| {
        let key = by_id.get(&alias.key)?;
        Some(AliasStatus {
            alias: alias.name,
            key_id: key.id,
            version: key.current,
            state: key.state.name().to_owned(),
        })
    });
    Status {
        vault_id: keys.vault_id(),
        vault: keys.vault_path().into(),
        suite: keys.suite().to_string(),
        mount: None,
        aliases: aliases.collect(),
        keys: known.iter().map(key_status).collect(),
        counted: None,
        counts_as_of: None,
        versions: Vec::new(),
        files_seen: 0,
        files_stale: 0,
        files_staying: Staying::default(),
        files_unknown: 0,
        files_noted: Vec::new(),
        pending_rewraps: 0,
        key_backup: None,
        pending_deletions: keys.pending_deletions().iter().map(pending).collect(),
    }
}

fn key_status(key: &KeyInfo) -> KeyStatus {
    let version = |version: &keyring::VersionInfo| KeyVersionStatus {
        version: version.number,
        created: version.created.to_string(),
        has_material: version.has_material,
        expires: version.expires.map(|at| at.to_string()),
        rotated: version.rotation.map(|rotation| rotation.at.to_string()),
        automatic: version.rotation.map(|rotation| rotation.automatic),
        state: Some(version.state),
    };
    KeyStatus {
        key_id: key.id,
        description: key.description.clone(),
        tags: key
            .tags
            .iter()
            .map(|(key, value)| TagStatus { key: key.clone(), value: value.clone() })
            .collect(),
        service_managed: key.manager == keyring::Manager::Service,
        state: key.state.name().to_owned(),
        current: key.current,
        min_decryption: key.min_decryption,
        rotation_period_days: key.rotation_days,
        next_rotation: key.next_rotation.map(|at| at.to_string()),
        versions: key.versions.iter().map(version).collect(),
        lost: key.lost.clone(),
    }
}

fn pending(pending: &keyring::PendingDeletion) -> PendingStatus {
    PendingStatus {
        key_id: pending.key,
        date: pending.date.to_string(),
        forced: pending.forced,
        blocked: None,
    }
}

/// Rotates a key. A refusal is recorded.
pub(super) fn rotate(keys: &Keys, target: &KeyRef) -> Result<Rotation> {
    keys.rotate(target).map_err(|error| {
        keys.record_refused_rotation(target, &error);
        errors::of_keyring(&error)
    })
}

/// The refusal of an operation that a principal may not ask for; recorded.
pub(super) fn refused(keys: &Keys, call: &Call, principal: Principal) -> Option<KmsReply> {
    let error = call.allowed_to(principal).err()?;
    keys.record_refused_call(call, &error.name.to_string());
    Some(KmsReply::Failed { error })
}

/// Does an operation of the KMS interface. A refusal is recorded.
pub(super) fn kms(keys: &Keys, call: &Call) -> Result<KmsReply> {
    match keys.call(call) {
        Ok(answer) => {
            keys.record_look(call);
            Ok(KmsReply::Done { answer })
        }
        Err(error) => match KmsError::of(error) {
            Ok(error) => {
                keys.record_refused_call(call, &error.name.to_string());
                Ok(KmsReply::Failed { error })
            }
            Err(error) => {
                keys.record_refused_call(call, "KeyringError");
                Err(errors::of_keyring(&error))
            }
        },
    }
}
