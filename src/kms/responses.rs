//! The answers of the operations: AWS's fields, in the order of AWS's model, there when AWS has them. Not here:
//! `OnDemandRotationStartDate` is AWS's for a rotation that goes on in the background, and ours are done when they are
//! answered; what belongs to several regions, other sorts of keys and custom key stores.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::error::{KmsError, KmsErrorName, alias_arn};
use super::request::{Materials, Page};
use crate::events::arn;
use crate::ids::Timestamp;
use crate::keyring::{Alias, Cause, Key, KeyState, Manager, Origin, Usage, Version, VersionRange};

/// Items of a list when nothing is said, and at most.
const PAGE: i64 = 100;
const PAGE_MAX: i64 = 1000;

/// Seconds since 1970 with three decimals.
pub(super) fn date(time: Timestamp) -> Value {
    json!(time.0 as f64 / 1000.0)
}

pub(super) fn metadata(key: &Key) -> Value {
    let mut out = json!({
        "AWSAccountId": "000000000000",
        "KeyId": key.id.to_string(),
        "Arn": arn(key.id),
        "CreationDate": date(key.created),
        "Enabled": key.state == KeyState::Enabled,
        "Description": key.description,
        "KeyUsage": match key.usage { Usage::EncryptDecrypt => "ENCRYPT_DECRYPT" },
        "KeyState": key.state.name(),
    });
    if let Some(at) = key.deletion_date {
        out["DeletionDate"] = date(at);
    }
    let current = key.version(key.current);
    let expires = current.and_then(|version| expiration(key, version));
    if let Some((_, Some(valid_to))) = &expires {
        out["ValidTo"] = valid_to.clone();
    }
    let origin = match key.origin {
        Origin::Local => "AWS_KMS",
        Origin::External => "EXTERNAL",
    };
    let manager = match key.manager {
        Manager::Customer => "CUSTOMER",
        Manager::Service => "AWS",
    };
    out["Origin"] = origin.into();
    if let Some((model, _)) = expires {
        out["ExpirationModel"] = model.into();
    }
    out["KeyManager"] = manager.into();
    // Its former name: Terraform would make a key anew that lacks it.
    out["CustomerMasterKeySpec"] = "SYMMETRIC_DEFAULT".into();
    out["KeySpec"] = "SYMMETRIC_DEFAULT".into();
    out["EncryptionAlgorithms"] = json!(["SYMMETRIC_DEFAULT"]);
    out["MultiRegion"] = false.into();
    if let Some(version) = current.filter(|version| version.was_imported()) {
        out["CurrentKeyMaterialId"] = hex(&version.material_id).into();
    }
    // Not AWS's: there only where versions are lost.
    let lost: Vec<Value> = key.lost_versions().iter().map(range).collect();
    if !lost.is_empty() {
        out["LostVersions"] = lost.into();
    }
    json!({ "KeyMetadata": out })
}

/// A run of lost versions.
fn range(range: &VersionRange) -> Value {
    json!({ "FirstVersion": range.first.0, "LastVersion": range.last.0 })
}

/// ExpirationModel and ValidTo of imported material, where it is there.
fn expiration(key: &Key, version: &Version) -> Option<(&'static str, Option<Value>)> {
    if key.origin == Origin::Local || version.material.is_none() {
        return None;
    }
    Some(match version.expires {
        Some(at) => ("KEY_MATERIAL_EXPIRES", Some(date(at))),
        None => ("KEY_MATERIAL_DOES_NOT_EXPIRE", None),
    })
}

pub(super) fn alias(alias: &Alias) -> Value {
    json!({
        "AliasName": alias.name.as_str(),
        "AliasArn": alias_arn(&alias.name),
        "TargetKeyId": alias.key.to_string(),
        "CreationDate": date(alias.created),
        "LastUpdatedDate": date(alias.updated),
    })
}

pub(super) fn rotation_status(key: &Key) -> Value {
    let mut out = json!({ "KeyRotationEnabled": key.rotates(), "KeyId": key.id.to_string() });
    if key.rotates() {
        out["RotationPeriodInDays"] = key.rotation.period_days.into();
        if let Some(next) = key.rotation.next {
            out["NextRotationDate"] = date(next);
        }
    }
    out
}

/// The newest first, as AWS lists them.
pub(super) fn rotations(key: &Key, materials: Materials) -> Vec<(String, Value)> {
    let listed = |version: &&Version| {
        (materials == Materials::All && version.was_imported()) || version.rotated.is_some()
    };
    let item = |version: &Version| {
        let state = match version.number.cmp(&key.current) {
            Ordering::Less => "NON_CURRENT",
            Ordering::Equal => "CURRENT",
            Ordering::Greater => "PENDING_ROTATION",
        };
        let mut out = json!({
            "KeyId": key.id.to_string(),
            "KeyMaterialId": hex(&version.material_id),
        });
        if key.origin == Origin::External {
            let there = version.material.is_some();
            out["ImportState"] = if there { "IMPORTED" } else { "PENDING_IMPORT" }.into();
        }
        out["KeyMaterialState"] = state.into();
        if let Some((model, valid_to)) = expiration(key, version) {
            out["ExpirationModel"] = model.into();
            if let Some(valid_to) = valid_to {
                out["ValidTo"] = valid_to;
            }
        }
        if let Some(at) = version.rotated {
            let kind = if version.cause == Cause::Schedule { "AUTOMATIC" } else { "ON_DEMAND" };
            out["RotationDate"] = date(at);
            out["RotationType"] = kind.into();
        }
        (version.number.to_string(), out)
    };
    let lost = key.lost_versions().into_iter().map(|run| {
        let mut out = json!({ "KeyId": key.id.to_string(), "KeyMaterialState": "LOST" });
        (out["FirstVersion"], out["LastVersion"]) = (run.first.0.into(), run.last.0.into());
        (run.first, (run.to_string(), out))
    });
    let known = key.versions.iter().filter(listed).map(|version| (version.number, item(version)));
    let mut all: Vec<_> = known.chain(lost).collect();
    all.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    all.into_iter().map(|(_, item)| item).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// One page of named items under `field`.
///
/// # Errors
/// A limit out of range, a marker that names no item.
pub(super) fn page(field: &str, items: Vec<(String, Value)>, page: &Page) -> Result<Value, KmsError> {
    let limit = page_limit(page)?;
    let start = match &page.marker {
        None => 0,
        Some(marker) => {
            items.iter().position(|(name, _)| name == marker).map(|at| at + 1).ok_or_else(no_marker)?
        }
    };
    Ok(page_of(field, items.into_iter().skip(start), limit))
}

/// How many items a page has, at most.
///
/// # Errors
/// It is out of range.
pub(super) fn page_limit(page: &Page) -> Result<usize, KmsError> {
    let limit = page.limit.unwrap_or(PAGE);
    usize::try_from(limit)
        .ok()
        .filter(|_| (1..=PAGE_MAX).contains(&limit))
        .ok_or_else(|| KmsError::out_of_range("limit", limit, 1, PAGE_MAX))
}

/// The refusal of a marker that names no item.
pub(super) fn no_marker() -> KmsError {
    KmsError::new(KmsErrorName::InvalidMarkerException, "The marker is none that a list gave.")
}

/// The first items as a page. Only these are made: a list of many keys has many pages.
pub(super) fn page_of(field: &str, mut items: impl Iterator<Item = (String, Value)>, limit: usize) -> Value {
    let (mut values, mut last) = (Vec::new(), None);
    for (name, value) in items.by_ref().take(limit) {
        values.push(value);
        last = Some(name);
    }
    let next = last.filter(|_| items.next().is_some());
    let mut out = Map::new();
    out.insert(field.to_owned(), Value::Array(values));
    let truncated = next.is_some();
    if let Some(next) = next {
        out.insert("NextMarker".to_owned(), next.into());
    }
    out.insert("Truncated".to_owned(), truncated.into());
    Value::Object(out)
}
