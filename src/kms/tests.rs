//! The verbs on a real keyring.
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::*;
use crate::crypto::keys::Dek;
use crate::crypto::suite::Suite;
use crate::events::Event;
use crate::ids::{AliasName, BackingKeyId, FileId, Format, KeyId, KeyVersion};
use crate::keyring::testing::*;
use crate::keyring::*;
use crate::kms::Tag;

mod data;
mod faults;
#[cfg(feature = "aws-lc")]
mod import;
mod many_keys;
mod may_only_read;
mod prefixes;
mod refusals;
mod repeated;
mod replace_key;
mod verbs;
