//! What the properties of src/fuzzing.rs see of the keyring's files.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::sync::OnceLock;

use super::format::body;
use super::format::header::{self, Header, Kind};
use super::rules::policy::{KeyUse, Owner, Policy};
use super::{backup_file, store};
use crate::crypto::keys::RootKey;
use crate::crypto::password::KdfParams;
use crate::crypto::suite::Suite;
use crate::ids::{KeyId, Timestamp, VaultId};
use crate::unlock::{CostLimit, Secret, Slot};

/// The body of the committed key backup.
pub(crate) const BODY: &[u8] = include_bytes!("../../fuzz/seeds/keyring_body/golden-key-backup");

fn secret() -> Secret {
    Secret::KeyFile([0x17; 32].into())
}

/// A key backup under a key file, so that no Argon2id has to run. The same bytes all through the process.
pub(crate) fn backup() -> &'static [u8] {
    static BACKUP: OnceLock<Vec<u8>> = OnceLock::new();
    BACKUP.get_or_init(|| {
        let (vault, root) = (VaultId::from_bytes([0x28; 16]), RootKey::from_bytes(&[0x39; 32]));
        let mut head = Header::new(vault, Suite::Aes256Gcm);
        let kdf = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };
        head.slots.push(Slot::seal(vault, &root, &secret(), kdf, Timestamp(0)).unwrap());
        store::sealed(&head, Kind::Backup, &root, BODY).unwrap()
    })
}

/// The body of a backup that opens.
pub(crate) fn open_backup(file: &[u8]) -> Option<Vec<u8>> {
    let (_, opened) = backup_file::open(
        Path::new("backup"),
        file,
        backup_file::BackupOpener::Secret(&secret()),
        CostLimit::Usual,
    )
    .ok()?;
    Some(body::encode(&opened).unwrap().to_vec())
}

/// See [`crate::fuzzing::keyring_header`].
pub(crate) fn header_comes_back(file: &[u8]) {
    for kind in [Kind::Keyring, Kind::Backup] {
        let Ok(parts) = header::parse(file, kind) else { continue };
        assert_eq!([parts.aad, parts.sealed].concat(), file);
        // None: it is at the limit, and written at length it is beyond it.
        let Some(written) = parts.header.encode(kind) else { continue };
        let Ok(again) = header::parse(&written, kind) else { panic!("what was written isn't understood") };
        assert!(again.sealed.is_empty());
        assert_eq!((again.header.vault, again.header.suite), (parts.header.vault, parts.header.suite));
        assert_eq!(again.header.ro_compat, parts.header.ro_compat);
        assert_eq!(again.header.slots.list(), parts.header.slots.list());
        assert_eq!(again.header.encode(kind), Some(written), "two forms of one header");
    }
}

/// See [`crate::fuzzing::keyring_body`].
pub(crate) fn body_comes_back(bytes: &[u8]) {
    if let Ok(decoded) = body::decode(bytes) {
        assert_eq!(*body::encode(&decoded).expect("it fits, as it did"), bytes, "two forms of one body");
        assert!(decoded.check().is_ok());
    }
}

/// What a policy's text comes to for one user: whether it allows each use of a key.
pub(crate) struct PolicyAnswers {
    /// As it was parsed; none if it isn't understood.
    pub(crate) parsed: Option<[bool; 6]>,
    /// As it is used once it is stored.
    pub(crate) stored: [bool; 6],
}

/// The vault's owner to whom the policies are asked about.
const OWNER: Owner = Owner(0);

/// Asks a policy.
pub(crate) fn policy_allows(text: &str, uid: u32) -> PolicyAnswers {
    let key = KeyId::from_bytes([1; 16]);
    let answers = |policy: &Policy| KeyUse::ALL.map(|what| policy.allows(uid, what));
    let parsed = Policy::parse(text, key, OWNER).ok().as_ref().map(answers);
    PolicyAnswers { parsed, stored: Policy::stored(text, key, OWNER).as_ref().map_or([true; 6], answers) }
}
