//! Large keyrings. The limits are for an unoptimized build: they tell a cost that grows with the square of the size, or with
//! each version that nobody uses; benches/keyring.rs tells how long it takes.
use super::*;
use crate::sys::testing::cpu_time;

const KEYS: usize = 2_000;
const VERSIONS: u32 = 25;

#[test]
fn thousands_of_keys_of_25_versions_open_and_change() {
    let f = Fixture::new();
    let made = f.create(&[&key_file(1)]).keys;
    made.add_many(KEYS, VERSIONS).unwrap();
    drop(made);

    let (opened, loaded) = cpu_time(|| f.open(&key_file(1)).unwrap());
    let keys = opened.keys;
    assert_eq!(keys.keys().len(), KEYS + 2);
    assert!(loaded < Duration::from_secs(10), "loading took {loaded:?}");

    let alias: AliasName = "alias/many-1999".parse().unwrap();
    let (_, changed) = cpu_time(|| keys.rotate_on_demand(&KeyRef::Alias(alias.clone())).unwrap());
    assert_eq!(keys.current(&alias).unwrap().version, KeyVersion(VERSIONS + 1));
    assert!(changed < Duration::from_secs(10), "a verb took {changed:?}");

    let first = BackingKeyId { version: KeyVersion(1), ..keys.current(&alias).unwrap() };
    assert_eq!(keys.usable(first), Ok(()));
    let (_, looked) = cpu_time(|| keys.of_key(&KeyRef::Alias(alias), |key| key.current).unwrap());
    assert!(looked < Duration::from_secs(1), "a look at one took {looked:?}");
}
