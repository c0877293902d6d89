use std::path::Path;

use super::*;
use crate::ids::{AliasName, VaultId};
use crate::keyring::Staying;
use crate::service::AliasStatus;

fn inspector() -> Inspector {
    Inspector { entries: vec![], mounts: vec![] }
}

fn slot(sequence: u64, version: u32) -> [u8; 512] {
    let mut slot = [0; 512];
    slot[..4].copy_from_slice(b"RKFS");
    slot[4] = 1;
    slot[6] = 2;
    slot[8..16].copy_from_slice(&sequence.to_le_bytes());
    slot[16..32].fill(5);
    slot[32..48].fill(9);
    slot[48..52].copy_from_slice(&version.to_le_bytes());
    slot
}

fn inspect(contents: &[u8]) -> Outcome<Row> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lower");
    std::fs::write(&path, contents).unwrap();
    inspector().inspect(&path)
}

#[test]
fn a_ciphertext_header_is_shown_with_the_higher_sequence() {
    let mut file = vec![0; 4096];
    file[..512].copy_from_slice(&slot(6, 3));
    file[512..1024].copy_from_slice(&slot(7, 4));
    let row = inspect(&file).unwrap();
    assert_eq!((row.version, row.sequence, row.format), (Some(KeyVersion(4)), Some(7), Some(1)));
    assert_eq!(row.key_id, Some(KeyId::from_bytes([9; 16])));
    assert_eq!(row.suite.as_deref(), Some("chacha20-poly1305"));
    assert!(row.source == Source::Ciphertext && row.stale.is_none() && !row.empty);
    assert!(text(&row).ends_with(" (not verified)\n"));
    file[512 + 6] = 77;
    assert_eq!(inspect(&file).unwrap().suite.as_deref(), Some("unknown (77)"));
}

#[test]
fn what_has_no_header_is_refused() {
    assert!(inspect(b"").unwrap().empty);
    assert!(inspect(b"RKFS").is_err());
    assert!(inspect(&[0; 4096]).is_err());
    assert!(inspector().inspect(Path::new("/nonexistent")).is_err());
    assert!(inspector().inspect(Path::new("/")).unwrap_err().to_string().contains("directory"));
    assert!(inspector().inspect(Path::new("/dev/null")).unwrap_err().to_string().contains("device"));
}

#[test]
fn staleness_is_told_only_where_it_is_known() {
    let key = |n: u8| KeyId::from_bytes([n; 16]);
    let alias = |name: &str, n: u8| AliasStatus {
        alias: name.parse().unwrap(),
        key_id: key(n),
        version: KeyVersion(2),
        state: "Enabled".into(),
    };
    let mut status = Status {
        vault_id: VaultId::from_bytes([1; 16]),
        vault: Path::new("/v").into(),
        suite: String::new(),
        mount: None,
        aliases: vec![alias("alias/default", 9), alias(AliasName::tree().as_str(), 1)],
        keys: vec![],
        counted: None,
        counts_as_of: None,
        versions: vec![],
        files_seen: 0,
        files_stale: 0,
        files_staying: Staying::default(),
        files_unknown: 0,
        files_noted: Vec::new(),
        key_backup: None,
        pending_rewraps: 0,
        pending_deletions: vec![],
    };
    let at = |n, version| BackingKeyId { key: key(n), version: KeyVersion(version) };
    assert_eq!(stale(&status, at(9, 1)), Some(true));
    assert_eq!(stale(&status, at(9, 2)), Some(false));
    assert_eq!(stale(&status, at(8, 1)), None);
    status.aliases.push(alias("alias/other", 8));
    assert_eq!(stale(&status, at(9, 2)), None);
    assert_eq!(stale(&status, at(9, 1)), Some(true));
}
