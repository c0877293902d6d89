//! The space reserved for saving on a full disk: when it is there, used, and made again.
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::storage::Errno;
use crate::storage::fault::{After, Faults, Op, Plan};

fn allocated(f: &Fixture) -> Vec<Option<u64>> {
    let blocks = |name| std::fs::metadata(f.vault().join(name)).ok().map(|m| m.blocks() * 512);
    RESERVE_NAMES.map(blocks).to_vec()
}

fn is_kept(f: &Fixture) -> bool {
    allocated(f).iter().all(|bytes| bytes.is_some_and(|bytes| bytes >= 64 << 10))
}

fn full(skip: u64, only: Op) -> Faults {
    Faults::new(Plan { skip, only: Some(only), errno: Errno::NOSPC, after: After::Recover })
}

#[test]
fn a_new_vault_keeps_room_and_an_old_one_gets_it() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    assert!(is_kept(&f), "{:?}", allocated(&f));
    std::fs::remove_file(f.vault().join(RESERVE_NAMES[0])).unwrap();
    // One that a backup has brought back without its blocks.
    let sparse = std::fs::File::create(f.vault().join(RESERVE_NAMES[1])).unwrap();
    sparse.set_len(64 << 10).unwrap();
    drop(sparse);
    assert!(!is_kept(&f));
    keys.replenish_reserve();
    assert!(is_kept(&f), "{:?}", allocated(&f));
    keys.replenish_reserve();
    assert_eq!(f.names().len(), 4 + RESERVE_NAMES.len() - 1, "{:?}", f.names());
}

/// Neither an inode nor a block: the new keyring is the reserve, renamed.
#[test]
fn a_keyring_is_saved_in_the_room_that_is_kept() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    for (what, only) in [(0, Op::Create), (1, Op::Pwrite), (0, Op::Fsync)] {
        let reserve = std::fs::metadata(f.vault().join(RESERVE_NAMES[0])).unwrap().ino();
        let before = keys.current(&AliasName::default_alias()).unwrap().version;
        let faults = full(what, only);
        {
            let _scope = faults.on_this_thread();
            let rotated = keys.rotate(&default_alias()).unwrap();
            assert_eq!(rotated.old, before, "{only:?}");
        }
        assert!(faults.fired());
        assert_eq!(std::fs::metadata(f.vault().join(FILE_NAME)).unwrap().ino(), reserve, "{only:?}");
        assert_eq!(std::fs::metadata(f.vault().join(FILE_NAME)).unwrap().mode() & 0o777, 0o600);
        let opened = f.open(&key_file(1)).unwrap().keys;
        assert!(opened.current(&AliasName::default_alias()).unwrap().version > before, "{only:?}");
        assert!(is_kept(&f), "{only:?}: made again");
    }
}

/// Someone could have linked the reserve elsewhere: what is written must not show there.
#[test]
fn a_reserve_with_another_name_is_not_written_to() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    for name in RESERVE_NAMES {
        std::fs::hard_link(f.vault().join(name), f.dir.path().join(name)).unwrap();
    }
    let faults = full(0, Op::Create);
    {
        let _scope = faults.on_this_thread();
        keys.rotate(&default_alias()).unwrap();
    }
    assert!(faults.fired());
    for name in RESERVE_NAMES {
        let kept = std::fs::read(f.dir.path().join(name)).unwrap();
        assert!(!kept.starts_with(b"RKFK"), "{name}");
    }
    f.open(&key_file(1)).unwrap();
    assert!(is_kept(&f));
}
