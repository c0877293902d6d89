//! Forget the last generations, work on, find the keyring again: whatever was wrapped opens, by the DEK that it had.
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::crypto::keys::Wrapped;
use crate::ids::BackingKeyId;
use crate::sys::testing::cases;

/// A DEK that a file's header has, and what it is told apart by.
struct File {
    backing: BackingKeyId,
    id: FileId,
    wrapped: Wrapped,
    print: [u8; 32],
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Rotate(usize),
    Write(usize),
    Make,
    Disable(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4usize).prop_map(Step::Rotate),
        4 => (0..4usize).prop_map(Step::Write),
        1 => Just(Step::Make),
        1 => (0..4usize).prop_map(Step::Disable),
    ]
}

/// The customer keys, in the order of their creation.
fn customers(keys: &Keys) -> Vec<KeyId> {
    let of = |key: &KeyInfo| key.manager == Manager::Customer;
    keys.keys().iter().filter(|key| of(key)).map(|key| key.id).collect()
}

fn run(keys: &Keys, steps: &[Step], files: &mut Vec<File>) {
    for step in steps {
        let all = customers(keys);
        let chosen = |n: &usize| all[n % all.len()];
        match step {
            Step::Rotate(n) => drop(keys.rotate(&KeyRef::Key(chosen(n)))),
            Step::Write(n) => {
                let Ok(guard) = keys.begin_wrap_key(chosen(n)) else { continue };
                let (id, dek) = (FileId::random(), Dek::generate());
                let wrapped = guard.wrap(id, Suite::Aes256Gcm, &dek);
                files.push(File { backing: guard.backing(), id, wrapped, print: print_of(&dek) });
            }
            Step::Make => {
                let name = format!("alias/made-{}", KeyId::random());
                keys.create_key_for_test(name.parse().unwrap());
            }
            Step::Disable(n) => {
                keys.disable_key(chosen(n)).unwrap();
                keys.enable_key(chosen(n)).unwrap();
            }
        }
    }
}

fn open(keys: &Keys, file: &File) -> Result<[u8; 32], KeyError> {
    let dek = keys.unwrap(file.backing, file.id, Suite::Aes256Gcm, Format::CURRENT, &file.wrapped);
    dek.map(|dek| print_of(&dek))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..cases(24) })]

    #[test]
    fn what_is_forgotten_and_merged_opens(
        before in prop::collection::vec(step(), 0..6),
        forgotten in prop::collection::vec(step(), 1..10),
        work in prop::collection::vec(step(), 0..10),
        later in prop::collection::vec(step(), 0..4),
        host_forgets in any::<bool>(),
    ) {
        let f = Fixture::in_memory();
        let keys = f.create(&[&key_file(1)]).keys;
        let mut files = Vec::new();
        run(&keys, &before, &mut files);
        let old = f.read(FILE_NAME);
        run(&keys, &forgotten, &mut files);
        let newest = f.save_as("newest");
        drop(keys);
        f.write(FILE_NAME, &old);
        if host_forgets {
            std::fs::remove_dir_all(f.dir.path().join("state")).unwrap();
        }
        let keys = f.accept().keys;
        let lost = files.len();
        // Nothing is taken for damaged: each file opens, or says that its key isn't there.
        for file in &files[..lost] {
            match open(&keys, file) {
                Ok(print) => prop_assert_eq!(print, file.print),
                Err(error) => prop_assert!(error.is_missing(), "{}", error),
            }
        }
        run(&keys, &work, &mut files);
        // No number has two materials.
        let mut numbers = BTreeMap::new();
        for file in &files {
            let found = open(&keys, file).ok();
            if let Some(before) = numbers.insert((file.backing, file.id), found) {
                prop_assert_eq!(before, found);
            }
            prop_assert!(found.is_none_or(|print| print == file.print));
        }
        keys.merge(&f.found(&newest).keys).unwrap();
        run(&keys, &later, &mut files);
        for keys in [&keys, &f.open(&key_file(1)).unwrap().keys] {
            for file in &files {
                prop_assert_eq!(open(keys, file), Ok(file.print));
            }
            prop_assert!(keys.verify_events().unwrap().is_good());
        }
    }
}
