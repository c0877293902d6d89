//! Imported material as a state machine over years.
use super::lifecycle::Refused;
use super::*;
use crate::crypto::keys::KeyMaterial;
use crate::keyring::format::model::{Cause, Key};
use crate::keyring::rules::import::ImportType;
use crate::keyring::rules::state::Switch;

const DAY: i64 = 86_400_000;

fn day(number: i64) -> Timestamp {
    Timestamp(number * DAY)
}

fn material(byte: u8) -> KeyMaterial {
    KeyMaterial::from_bytes(&[byte; 32])
}

fn nothing_waits(key: &Key) -> Option<Refused> {
    Some(Refused::Rule(RuleError::NothingWaits(key.id)))
}

/// Imports on a day; says why not.
fn import(
    key: &mut Key,
    byte: u8,
    kind: Option<ImportType>,
    expires: Option<i64>,
    at: i64,
) -> Option<Refused> {
    Refused::by(key.import(material(byte), kind, expires.map(day), day(at)))
}

#[test]
fn a_key_waits_for_its_material_and_takes_no_other_afterwards() {
    let mut key = Key::external("", day(0));
    assert_eq!(key.state, KeyState::PendingImport);
    let invalid = Refused::state(KeyState::PendingImport);
    assert_eq!(Refused::by(key.switch(Switch::Enable)), invalid);
    assert_eq!(Refused::by(key.rotate_on_demand(day(0))), invalid);
    assert_eq!(import(&mut key, 1, None, None, 1), None);
    assert_eq!(key.state, KeyState::Enabled);
    let another = Some(Refused::Rule(RuleError::MaterialIsAnother));
    assert_eq!(import(&mut key, 2, None, None, 2), another);
    assert_eq!(import(&mut key, 2, Some(ImportType::Existing), None, 2), another);
    assert_eq!(
        import(&mut key, 1, Some(ImportType::New), None, 2),
        Some(Refused::Rule(RuleError::MaterialIsOld))
    );
    assert_eq!(
        import(&mut key, 1, Some(ImportType::Existing), Some(9), 2),
        None,
        "a date can be given later"
    );
    assert_eq!(key.versions[0].expires, Some(day(9)));
    let mut made_here = Key::create(Manager::Customer, "", day(0));
    let makes_own = Some(Refused::Rule(RuleError::MakesOwnMaterial(made_here.id)));
    assert_eq!(import(&mut made_here, 1, None, None, 1), makes_own);
    assert_eq!(Refused::by(made_here.delete_material(None)), makes_own);
}

#[test]
fn material_expires_on_its_day_and_only_the_same_brings_the_key_back() {
    let mut key = Key::external("", day(0));
    import(&mut key, 1, None, Some(100), 0);
    // A clock that jumps back expires nothing.
    for at in [99, -5000, 0] {
        assert!(key.expire(day(at)).is_empty());
    }
    assert_eq!(key.expire(day(100)).len(), 1);
    assert!(key.expire(day(101)).is_empty(), "once");
    assert_eq!((key.state, key.versions[0].material.is_none()), (KeyState::PendingImport, true));
    assert_eq!(import(&mut key, 2, None, None, 102), Some(Refused::Rule(RuleError::MaterialIsAnother)));
    assert_eq!(import(&mut key, 1, None, None, 103), None);
    assert_eq!((key.state, key.versions.len()), (KeyState::Enabled, 1));
    assert!(key.expire(day(100_000)).is_empty(), "without a date for ever");
}

#[test]
fn new_material_waits_for_a_rotation_on_demand() {
    let mut key = Key::external("", day(0));
    import(&mut key, 1, None, None, 0);
    assert_eq!(import(&mut key, 2, Some(ImportType::New), Some(900), 1), None);
    assert_eq!((key.current, key.versions.len()), (KeyVersion(1), 2), "not in use yet");
    let waits = Some(Refused::Rule(RuleError::MaterialWaits(key.id)));
    assert_eq!(import(&mut key, 3, Some(ImportType::New), None, 1), waits, "one at a time");
    assert_eq!(key.rotate_on_demand(day(2)).unwrap(), (KeyVersion(1), KeyVersion(2)));
    assert_eq!((key.rotation.on_demand_count, key.versions[1].rotated), (1, Some(day(2))));
    assert_eq!(Refused::by(key.rotate_on_demand(day(3))), nothing_waits(&key));
    import(&mut key, 3, Some(ImportType::New), None, 4);
    assert_eq!(key.rotate(day(5)).unwrap().1, KeyVersion(3));
    assert_eq!((key.rotation.on_demand_count, key.versions[2].cause), (1, Cause::Manual));
    // An old version that expires makes the key wait: its files can't be opened.
    assert_eq!(key.expire(day(900))[0].version, KeyVersion(2));
    assert_eq!(key.state, KeyState::PendingImport);
    assert_eq!(import(&mut key, 2, None, None, 901), None);
    assert_eq!(key.state, KeyState::Enabled);
}

#[test]
fn what_waits_and_what_is_retired_is_not_missed() {
    let mut key = Key::external("", day(0));
    import(&mut key, 1, None, Some(10), 0);
    import(&mut key, 2, Some(ImportType::New), Some(5), 1);
    assert_eq!(key.expire(day(5)).len(), 1);
    assert_eq!(key.state, KeyState::Enabled, "it wasn't in use");
    assert_eq!(Refused::by(key.rotate_on_demand(day(6))), nothing_waits(&key));
    import(&mut key, 2, None, None, 6);
    key.rotate_on_demand(day(7)).unwrap();
    key.min_decryption = KeyVersion(2);
    assert_eq!(key.expire(day(10)).len(), 1);
    assert_eq!(key.state, KeyState::Enabled, "nothing opens with it any more");
    key.schedule_deletion(None, day(11)).unwrap();
    assert_eq!(import(&mut key, 1, None, None, 11), Refused::state(KeyState::PendingDeletion));
    key.delete_material(None).unwrap();
    assert_eq!(key.state, KeyState::PendingDeletion);
    key.cancel_deletion().unwrap();
    assert_eq!(key.state, KeyState::PendingImport);
}
