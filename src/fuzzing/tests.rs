//! The properties over any bytes, over the seeds of fuzz/, and over seeds with edits.
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::edited;
use crate::sys::testing::cases;

/// The seeds of a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds for {target}");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Any bytes, or a seed with edits.
fn input(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let script = prop::collection::vec(any::<u8>(), 0..64);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..1200),
        (prop::sample::select(seeds(target)), script).prop_map(|(seed, script)| edited(&seed, &script)),
    ]
}

macro_rules! properties {
    ($($target:ident),* $(,)?) => {
        $(
            #[test]
            fn $target() {
                seeds(stringify!($target)).iter().for_each(|seed| super::$target(seed));
                proptest!(cases(96), |(data in input(stringify!($target)))| {
                    super::$target(&data);
                });
            }
        )*

        #[test]
        fn every_target_has_its_seeds_and_its_property() {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
            let named = |dir: &str| {
                let mut names: Vec<String> = fs::read_dir(root.join(dir))
                    .unwrap()
                    .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                    .collect();
                names.sort();
                names
            };
            let mut expected = vec![$(stringify!($target).to_owned()),*];
            expected.sort();
            assert_eq!(named("fuzz_targets"), expected);
            assert_eq!(named("seeds"), expected);
        }
    };
}

properties!(
    blob,
    header_slot,
    page,
    name,
    dir_record,
    keyring_header,
    keyring_body,
    unlock_slots,
    custodian_answer,
    control_message,
    policy,
    events_line,
    key_backup,
);
