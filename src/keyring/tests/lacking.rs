//! Vaults on filesystems that have fewer calls: no RENAME_NOREPLACE (NFS, FUSE filesystems), no hard links.
use super::*;
use crate::storage::Errno;
use crate::storage::fault::{After, Faults, Op, Plan};

#[test]
fn a_keyring_is_made_changed_and_imported_without_noreplace_and_links() {
    let no_flags = || Faults::record().refusing(Op::RenameFlagged, Errno::INVAL);
    for lacking in [no_flags(), no_flags().refusing(Op::Link, Errno::OPNOTSUPP)] {
        let f = Fixture::new();
        let _scope = lacking.on_this_thread();
        let opened = f.create(&[&key_file(1)]);
        let before = f.read(FILE_NAME);
        assert!(matches!(
            KeyringFile::create(&f.vault(), Suite::Aes256Gcm, &[&key_file(2)], KDF, &f.options()),
            Err(KeyringError::Exists(_))
        ));
        assert_eq!(f.read(FILE_NAME), before, "what is there is never replaced");
        opened.keys.rotate(&default_alias()).unwrap();
        assert_eq!(f.read(PREV_NAME), before);

        let file = f.dir.path().join("backup");
        opened.export_for_test("b", &file).unwrap();
        let good = f.read(FILE_NAME);
        let imported = f.import_backup(&file, "b", &key_file(7), replacing(Replace::Always)).unwrap();
        assert_eq!(f.read(&imported.replaced.unwrap()), good, "set aside");
        f.open(&key_file(7)).unwrap();
        assert!(lacking.log().contains(&Op::RenameFlagged));
    }
}

#[test]
fn the_room_that_is_kept_is_used_without_noreplace_too() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let full = Plan { skip: 0, only: Some(Op::Create), errno: Errno::NOSPC, after: After::Recover };
    let faults = Faults::new(full).refusing(Op::RenameFlagged, Errno::INVAL);
    {
        let _scope = faults.on_this_thread();
        keys.rotate(&default_alias()).unwrap();
    }
    assert!(faults.fired() && faults.log().contains(&Op::RenameFlagged));
    f.open(&key_file(1)).unwrap();
    let names = f.names();
    assert!(!names.iter().any(|name| name.starts_with(".tmp.")), "{names:?}");
}
