//! Damaged, cut, newer, rolled back and forked keyrings: each refused clearly, none a panic.
use super::*;

#[test]
fn every_flipped_byte_is_refused() {
    let f = Fixture::new();
    f.create(&[&key_file(1), &passphrase("x")]);
    let good = f.read(FILE_NAME);
    for i in 0..good.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut bad = good.clone();
            bad[i] ^= flip;
            f.write(FILE_NAME, &bad);
            let error = f.open(&key_file(1)).err().unwrap_or_else(|| panic!("byte {i} ^ {flip:#x} opened"));
            let clear = matches!(
                error,
                KeyringError::Damaged { .. } | KeyringError::NewerFormat { .. } | KeyringError::Unlock { .. }
            );
            assert!(clear, "byte {i}: {error}");
        }
    }
    f.write(FILE_NAME, &good);
    assert!(f.open(&key_file(1)).is_ok());
}

#[test]
fn every_cut_is_refused() {
    let f = Fixture::new();
    f.create(&[&key_file(1)]);
    let good = f.read(FILE_NAME);
    for len in 0..good.len() {
        f.write(FILE_NAME, &good[..len]);
        assert!(matches!(f.open(&key_file(1)), Err(KeyringError::Damaged { .. })), "{len} bytes");
    }
    let mut longer = good.clone();
    longer.push(0);
    f.write(FILE_NAME, &longer);
    assert!(matches!(f.open(&key_file(1)), Err(KeyringError::Damaged { .. })));
}

#[test]
fn costs_beyond_the_caps_are_not_run() {
    let f = Fixture::new();
    f.create(&[&passphrase("x")]);
    let text = String::from_utf8_lossy(&f.read(FILE_NAME)).into_owned();
    assert!(text.contains("\"memory_kib\":8192,\"passes\":1,"));
    let good = f.read(FILE_NAME);
    // An id or a salt may have these digits too.
    const COST: &[u8] = b"\"memory_kib\":8192";
    let at = good.windows(COST.len()).position(|w| w == COST).unwrap() + COST.len() - 4;
    // Four digits more, and the header's length with them: 81920000 KiB.
    let mut bad = good.clone();
    bad.splice(at + 4..at + 4, *b"0000");
    let len = u32::from_le_bytes(good[14..18].try_into().unwrap()) + 4;
    bad[14..18].copy_from_slice(&len.to_le_bytes());
    f.write(FILE_NAME, &bad);
    let error = f.open(&passphrase("x")).err().unwrap();
    assert!(matches!(error, KeyringError::Unlock { source: UnlockError::CostBeyondCaps(_), .. }), "{error}");
}

#[test]
fn a_newer_format_is_named() {
    let f = Fixture::new();
    f.create(&[&key_file(1)]);
    let good = f.read(FILE_NAME);
    for (at, what) in [(4, "format"), (6, "features")] {
        let mut newer = good.clone();
        newer[at] += 4;
        f.write(FILE_NAME, &newer);
        let error = f.open(&key_file(1)).err().unwrap();
        assert!(matches!(&error, KeyringError::NewerFormat { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn an_older_keyring_is_refused_unless_accepted() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let old = f.read(FILE_NAME);
    keys.rotate(&default_alias()).unwrap();
    assert_eq!(f.read(PREV_NAME), old);
    f.write(FILE_NAME, &old);
    assert!(matches!(
        f.open(&key_file(1)),
        Err(KeyringError::RolledBack { found: Generation(1), seen: Generation(2), .. })
    ));
    // The opening that saw the newer one doesn't write over it either.
    assert!(matches!(keys.rotate(&default_alias()), Err(KeyringError::RolledBack { .. })));
    let accept = OpenOptions { accept_rollback: true, ..f.options() };
    assert!(KeyringFile::open(&f.vault(), &key_file(1), &accept).is_ok());
    assert!(f.open(&key_file(1)).is_ok());
    // Another host, or the same vault elsewhere, knows nothing of it.
    f.write(FILE_NAME, &old);
    let elsewhere = OpenOptions { host: SeenGenerations::at(f.dir.path().join("other")), ..f.options() };
    assert!(KeyringFile::open(&f.vault(), &key_file(1), &elsewhere).is_ok());
}

#[test]
fn a_keyring_changed_in_two_places_is_refused() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let first = f.read(FILE_NAME);
    // Another host (another memory) changes it twice from generation 1 on.
    let elsewhere = OpenOptions { host: SeenGenerations::at(f.dir.path().join("other")), ..f.options() };
    let mut theirs = Vec::new();
    let other = KeyringFile::open(&f.vault(), &key_file(1), &elsewhere).unwrap().keys;
    for _ in 0..2 {
        other.rotate(&default_alias()).unwrap();
        theirs.push(f.read(FILE_NAME));
    }
    f.write(FILE_NAME, &first);
    keys.rotate(&default_alias()).unwrap();
    for their in theirs {
        f.write(FILE_NAME, &their);
        assert!(matches!(f.open(&key_file(1)), Err(KeyringError::Forked { .. })));
    }
    assert!(f.open(&key_file(1)).err().unwrap().to_string().contains("--accept-rollback"));
}

#[test]
fn a_torn_memory_counts_as_none() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let old = f.read(FILE_NAME);
    keys.rotate(&default_alias()).unwrap();
    f.write(FILE_NAME, &old);
    assert!(f.open(&key_file(1)).is_err());
    let record = std::fs::read_dir(f.dir.path().join("state")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&record).unwrap();
    std::fs::write(&record, &whole[..whole.len() - 5]).unwrap();
    assert!(f.open(&key_file(1)).is_ok());
    let changed = String::from_utf8(whole).unwrap().replace("\"generation\":2", "\"generation\":3");
    std::fs::write(&record, changed).unwrap();
    assert!(f.open(&key_file(1)).is_ok());
}

#[test]
fn a_lost_keyring_is_told_with_its_remedy() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    keys.rotate(&default_alias()).unwrap();
    std::fs::remove_file(f.vault().join(FILE_NAME)).unwrap();
    let error = f.open(&key_file(1)).err().unwrap();
    assert!(matches!(&error, KeyringError::Missing { left: Left::Previous, .. }));
    assert!(error.to_string().contains("keyring.prev"), "{error}");
    // And the remedy works.
    std::fs::copy(f.vault().join(PREV_NAME), f.vault().join(FILE_NAME)).unwrap();
    assert!(matches!(f.open(&key_file(1)), Err(KeyringError::RolledBack { .. })));
    let accept = OpenOptions { accept_rollback: true, ..f.options() };
    assert!(KeyringFile::open(&f.vault(), &key_file(1), &accept).is_ok());
}

#[test]
fn leftovers_of_an_interrupted_change_are_removed() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    f.write(".tmp.0123456789abcdef", b"torn");
    // A crash between keeping the old one and replacing it: both names are one file.
    std::fs::hard_link(f.vault().join(FILE_NAME), f.vault().join(PREV_NAME)).unwrap();
    keys.rotate(&default_alias()).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(f.vault())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected =
        [&["events.jsonl", "keyring", LOCK_NAME, "keyring.prev"], RESERVE_NAMES.as_slice()].concat();
    assert_eq!(names, expected);
    assert!(f.open(&key_file(1)).is_ok());
}

#[test]
fn a_body_decodes_from_nothing_but_itself() {
    let now = Timestamp(5);
    let body = first_body(VaultId::random(), now).unwrap();
    let good = body::encode(&body).unwrap();
    let again = body::decode(&good).unwrap();
    assert_eq!(*body::encode(&again).unwrap(), *good);
    assert!(good.len() < 1024, "{}", good.len());
    for len in 0..good.len() {
        assert!(body::decode(&good[..len]).is_err());
    }
    let mut longer = good.to_vec();
    longer.push(0);
    assert!(body::decode(&longer).is_err());
    for i in 0..good.len() {
        let mut bad = good.to_vec();
        bad[i] ^= 0xff;
        // Whatever it says, it is no panic and no vast allocation.
        let _ = body::decode(&bad);
    }
}

#[test]
fn a_full_disk_changes_nothing() {
    use crate::storage::Errno;
    use crate::storage::fault::{After, Faults, Op, Plan};
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let before = f.read(FILE_NAME);
    let plan = Plan { skip: 0, only: Some(Op::Pwrite), errno: Errno::NOSPC, after: After::Stop };
    let faults = Faults::new(plan);
    {
        let _scope = faults.on_this_thread();
        let error = keys.rotate(&default_alias()).err().unwrap();
        assert!(
            error.to_string().contains("No space left on device (os error 28); free some there"),
            "{error}"
        );
    }
    assert_eq!(f.read(FILE_NAME), before);
    assert_eq!(keys.current(&AliasName::default_alias()).unwrap().version, KeyVersion(1));
    assert_eq!(keys.rotate(&default_alias()).unwrap().new, KeyVersion(2));
}
