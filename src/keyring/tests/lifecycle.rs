//! The life cycle of a key over years, as a state machine: no keyring, a clock that is a number.
use super::*;
use crate::keyring::format::model::{Cause, Key, Origin};
use crate::keyring::retire::Retirement;
use crate::keyring::rules::state::Switch;

const DAY: i64 = 86_400_000;

fn day(number: i64) -> Timestamp {
    Timestamp(number * DAY)
}

fn customer() -> Key {
    Key::create(Manager::Customer, "", day(0))
}

/// Why the rules refuse something.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Refused {
    Rule(RuleError),
    State(Unusable),
    ServiceManaged,
    Imported,
}

impl Refused {
    pub(super) fn by<T>(result: Result<T, KeyringError>) -> Option<Self> {
        result.err().map(|error| match error {
            KeyringError::Rule(error) => Self::Rule(error),
            KeyringError::Key(KeyError::NotUsable { state, .. }) => Self::State(state),
            KeyringError::ServiceManaged(_) => Self::ServiceManaged,
            KeyringError::Imported(_) => Self::Imported,
            other => panic!("{other}"),
        })
    }

    pub(super) fn state(state: KeyState) -> Option<Self> {
        Some(Self::State(Unusable::State(state)))
    }
}

/// The days on which a key rotates when it is looked at on each of these.
fn rotations(key: &mut Key, days: impl IntoIterator<Item = i64>) -> Vec<i64> {
    days.into_iter().filter(|at| key.rotate_if_due(day(*at)).unwrap().is_some()).collect()
}

#[test]
fn automatic_rotation_is_off_until_it_is_enabled() {
    let mut key = customer();
    assert!(!key.rotates());
    assert_eq!(rotations(&mut key, 0..4000), [0; 0]);
    key.enable_rotation(None, day(4000)).unwrap();
    assert_eq!((key.rotation.period_days, key.rotation.next), (365, Some(day(4365))));
    assert_eq!(rotations(&mut key, 4000..5500), [4365, 4730, 5095, 5460]);
    assert!(key.versions[1..].iter().all(|version| version.cause == Cause::Schedule));
}

#[test]
fn what_can_be_retired_is_said_and_of_a_key_with_one_version_that_nothing_can() {
    let mut key = customer();
    let why =
        |key: &mut Key, below| key.retire(KeyVersion(below), Retirement::Retire).unwrap_err().to_string();
    let one = why(&mut key, 1);
    assert!(one.contains("its only version stays in use") && !one.contains("--below"), "{one}");
    for (current, said) in [(2, "give --below 2: "), (3, "give --below 2 to 3: ")] {
        key.rotate(day(current)).unwrap();
        let refused = why(&mut key, 9);
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn every_version_is_kept_with_rotation_off_again() {
    let mut key = customer();
    let (id, policy) = (key.id, key.policy.clone());
    key.enable_rotation(Some(90), day(0)).unwrap();
    rotations(&mut key, 0..1000);
    key.disable_rotation().unwrap();
    assert_eq!(rotations(&mut key, 1000..4000), [0; 0]);
    assert_eq!((key.versions.len(), key.current), (12, KeyVersion(12)));
    assert!(key.versions.iter().all(|version| version.material.is_some()));
    assert_eq!((key.id, &key.policy, key.rotation.next), (id, &policy, None));
}

#[test]
fn periods_and_windows_have_their_limits() {
    for (days, fine) in
        [(-1, false), (0, false), (89, false), (90, true), (2560, true), (2561, false), (65_626, false)]
    {
        let refused = Refused::by(customer().enable_rotation(Some(days), day(0)));
        let (what, least, most) = (Quantity::RotationPeriod, 90, 2560);
        let wanted = RuleError::OutOfRange { what, value: days, least, most };
        assert_eq!(refused, (!fine).then_some(Refused::Rule(wanted)), "{days}");
    }
    for (days, fine) in [(6, false), (7, true), (30, true), (31, false), (i64::MAX, false)] {
        let refused = Refused::by(customer().schedule_deletion(Some(days), day(0)));
        let (what, least, most) = (Quantity::DeletionWindow, 7, 30);
        let wanted = RuleError::OutOfRange { what, value: days, least, most };
        assert_eq!(refused, (!fine).then_some(Refused::Rule(wanted)), "{days}");
    }
    assert_eq!(customer().schedule_deletion(None, day(1)).unwrap(), (30, day(31)));
}

#[test]
fn enabling_again_restarts_the_period() {
    let mut key = customer();
    key.enable_rotation(Some(90), day(0)).unwrap();
    key.enable_rotation(Some(100), day(80)).unwrap();
    assert_eq!(rotations(&mut key, 80..400), [180, 280, 380]);
}

#[test]
fn leap_days_do_not_matter() {
    // 2024-02-29 is in between: a period has so many days of 24 hours, and the date says which.
    let start = Timestamp(1_709_164_800_000 - 10 * DAY);
    let mut key = customer();
    key.enable_rotation(Some(365), start).unwrap();
    assert_eq!(start.to_string(), "2024-02-19T00:00:00.000Z");
    assert_eq!(key.rotation.next.unwrap().to_string(), "2025-02-18T00:00:00.000Z");
}

#[test]
fn a_disabled_key_waits_and_is_rotated_when_it_comes_back_overdue() {
    let mut key = customer();
    key.enable_rotation(Some(90), day(0)).unwrap();
    // Back in time: the old schedule continues.
    key.switch(Switch::Disable).unwrap();
    key.switch(Switch::Enable).unwrap();
    assert_eq!(rotations(&mut key, [50, 89, 90, 91]), [90]);
    // Back late: at once, once, and then a period from that day.
    key.switch(Switch::Disable).unwrap();
    assert_eq!(rotations(&mut key, 91..1000), [0; 0]);
    assert!(key.rotates());
    key.switch(Switch::Enable).unwrap();
    assert_eq!(rotations(&mut key, 1000..1200), [1000, 1090, 1180]);
}

#[test]
fn a_key_looked_at_late_rotates_once() {
    let mut key = customer();
    key.enable_rotation(Some(90), day(0)).unwrap();
    assert_eq!(rotations(&mut key, [2000, 2001, 2089, 2090]), [2000, 2090]);
}

#[test]
fn a_clock_that_jumps_back_rotates_nothing_and_changes_no_date() {
    let mut key = customer();
    key.enable_rotation(Some(90), day(1000)).unwrap();
    assert_eq!(rotations(&mut key, [1090, 500, 0, -10_000, 1089, 1179, 1180]), [1090, 1180]);
    key.enable_rotation(Some(90), Timestamp(i64::MAX)).unwrap();
    assert_eq!(key.rotation.next, Some(Timestamp(i64::MAX)));
}

#[test]
fn the_service_managed_key_rotates_every_three_years_and_is_nobodys() {
    let mut key = Key::create(Manager::Service, "", day(0));
    assert!(key.rotates());
    assert_eq!(rotations(&mut key, 0..4000), [1095, 2190, 3285]);
    let unsupported = Some(Refused::ServiceManaged);
    assert_eq!(Refused::by(key.enable_rotation(None, day(0))), unsupported);
    assert_eq!(Refused::by(key.disable_rotation()), unsupported);
    assert_eq!(Refused::by(key.rotate_on_demand(day(0))), unsupported);
    assert_eq!(Refused::by(key.switch(Switch::Disable)), unsupported);
    assert_eq!(Refused::by(key.schedule_deletion(None, day(0))), unsupported);
}

#[test]
fn imported_material_is_not_rotated_automatically() {
    let mut key = Key { origin: Origin::External, ..customer() };
    let unsupported = Some(Refused::Imported);
    assert_eq!(Refused::by(key.enable_rotation(None, day(0))), unsupported);
    assert_eq!(Refused::by(key.disable_rotation()), unsupported);
    assert_eq!(rotations(&mut key, 0..5000), [0; 0]);
    assert_eq!(
        Refused::by(key.rotate_on_demand(day(0))),
        Some(Refused::Rule(RuleError::NothingWaits(key.id)))
    );
}

#[test]
fn rotations_on_demand_leave_the_schedule_alone_and_are_counted() {
    let mut key = customer();
    key.rotate_on_demand(day(1)).unwrap();
    key.enable_rotation(Some(90), day(0)).unwrap();
    for at in 1..25 {
        key.rotate_on_demand(day(at)).unwrap();
    }
    assert_eq!(key.rotation.next, Some(day(90)));
    assert_eq!(
        Refused::by(key.rotate_on_demand(day(30))),
        Some(Refused::Rule(RuleError::OnDemandLimit { key: key.id, limit: 25 }))
    );
    // The limit is on demand's alone.
    key.rotate(day(31)).unwrap();
    assert_eq!(rotations(&mut key, 32..100), [90]);
    assert_eq!(key.versions.len(), 28);
}

#[test]
fn a_pending_deletion_stops_rotation_and_its_end_disables_the_key() {
    let mut key = customer();
    key.enable_rotation(Some(90), day(0)).unwrap();
    assert_eq!(
        Refused::by(key.cancel_deletion()),
        Some(Refused::Rule(RuleError::NotPendingDeletion(key.id)))
    );
    assert_eq!(key.schedule_deletion(Some(7), day(85)).unwrap(), (7, day(92)));
    assert!(!key.rotates());
    assert_eq!(rotations(&mut key, 85..300), [0; 0]);
    let invalid = Refused::state(KeyState::PendingDeletion);
    assert_eq!(Refused::by(key.switch(Switch::Enable)), invalid);
    assert_eq!(Refused::by(key.switch(Switch::Disable)), invalid);
    assert_eq!(Refused::by(key.schedule_deletion(None, day(86))), invalid);
    assert_eq!(Refused::by(key.enable_rotation(None, day(86))), invalid);
    assert_eq!(Refused::by(key.disable_rotation()), invalid);
    assert_eq!(Refused::by(key.rotate_on_demand(day(86))), invalid);
    key.cancel_deletion().unwrap();
    assert_eq!((key.state, key.deletion_date, key.rotates()), (KeyState::Disabled, None, true));
    assert_eq!(Refused::by(key.enable_rotation(None, day(86))), Refused::state(KeyState::Disabled));
    assert_eq!(rotations(&mut key, 300..310), [0; 0]);
    key.schedule_deletion(None, day(300)).unwrap();
    key.cancel_deletion().unwrap();
    key.switch(Switch::Enable).unwrap();
    assert_eq!(rotations(&mut key, 310..320), [310]);
}
