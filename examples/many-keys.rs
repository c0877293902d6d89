//! Adds keys to a vault that isn't mounted: `many-keys VAULT PASSFILE COUNT`. What a keyring of that size costs is measured by
//! scripts/many-keys.sh.
#![allow(clippy::expect_used, missing_docs)]

use std::path::PathBuf;

use rekeyfs::keyring::{KeyringFile, OpenOptions};
use rekeyfs::unlock::Secret;
use zeroize::Zeroizing;

/// Versions of each key.
const VERSIONS: u32 = 3;

fn main() {
    let [vault, passfile, count]: [PathBuf; 3] = std::env::args_os()
        .skip(1)
        .map(PathBuf::from)
        .collect::<Vec<_>>()
        .try_into()
        .expect("many-keys VAULT PASSFILE COUNT");
    let count = count.to_str().and_then(|count| count.parse().ok()).expect("COUNT is a number");
    let text = std::fs::read_to_string(passfile).expect("the passphrase's file");
    let secret = Secret::Passphrase(Zeroizing::new(text.trim_end().to_owned().into_bytes()));
    let opened = KeyringFile::open(&vault, &secret, &OpenOptions::default()).expect("the vault opens");
    opened.keys.add_many(count, VERSIONS).expect("the keys are added");
}
