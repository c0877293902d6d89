//! Slots open with their own secret and nothing else; recovery keys forgive how they are typed.
use std::time::Duration;

use zeroize::Zeroizing;

use super::*;
use crate::crypto::keys::RootKey;
use crate::crypto::password::KdfParams;
use crate::ids::{SlotId, Timestamp, VaultId};

const USUAL: CostBounds = CostBounds::Usual { memory_kib: None };
const KDF: KdfParams = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };

fn key_file(byte: u8) -> Secret {
    Secret::KeyFile(Zeroizing::new([byte; KEY_FILE_LEN]))
}

fn passphrase(text: &str) -> Secret {
    Secret::Passphrase(Zeroizing::new(text.as_bytes().to_vec()))
}

fn slots(vault: VaultId, root: &RootKey, secrets: &[&Secret]) -> Slots {
    let mut slots = Slots::default();
    for secret in secrets {
        slots.push(Slot::seal(vault, root, secret, KDF, Timestamp(0)).unwrap());
    }
    slots
}

#[test]
fn each_secret_opens_its_own_slot() {
    let (vault, root) = (VaultId::random(), RootKey::generate());
    let recovery = Secret::Recovery(RecoveryKey::generate());
    let secrets = [passphrase("a"), passphrase("b"), key_file(1), recovery];
    let slots = slots(vault, &root, &secrets.iter().collect::<Vec<_>>());
    let text = serde_json::to_string(&slots).unwrap();
    let read: Slots = serde_json::from_str(&text).unwrap();
    assert_eq!(read.list(), slots.list());
    for (secret, info) in secrets.iter().zip(slots.list()) {
        let (opened, id) = read.unlock(vault, secret, USUAL).map_err(|e| e.to_string()).unwrap();
        assert_eq!((opened.expose(), Some(id)), (root.expose(), info.id));
        assert!(read.verify(vault, id, secret, &root));
        assert!(!read.verify(vault, id, secret, &RootKey::generate()));
        assert!(read.unlock(VaultId::random(), secret, USUAL).is_err());
    }
    assert_eq!(
        read.unlock(vault, &passphrase("c"), USUAL).err(),
        Some(UnlockError::WrongSecret(SecretKind::Passphrase))
    );
    assert_eq!(
        read.unlock(vault, &key_file(2), USUAL).err(),
        Some(UnlockError::WrongSecret(SecretKind::KeyFile))
    );
}

#[test]
fn a_recovery_key_is_no_key_file_of_the_same_bytes() {
    let (vault, root) = (VaultId::random(), RootKey::generate());
    let recovery = RecoveryKey::generate();
    let same_bytes = Secret::KeyFile(Zeroizing::new(*recovery.expose()));
    let slots = slots(vault, &root, &[&Secret::Recovery(recovery)]);
    assert_eq!(
        slots.unlock(vault, &same_bytes, USUAL).err(),
        Some(UnlockError::NoSuchSlot(SecretKind::KeyFile))
    );
    let text = serde_json::to_string(&slots).unwrap().replace("recovery", "keyfile");
    let forged: Slots = serde_json::from_str(&text).unwrap();
    assert_eq!(
        forged.unlock(vault, &same_bytes, USUAL).err(),
        Some(UnlockError::WrongSecret(SecretKind::KeyFile))
    );
}

#[test]
fn every_byte_of_a_slot_counts() {
    let (vault, root) = (VaultId::random(), RootKey::generate());
    let secret = passphrase("a");
    let text = serde_json::to_string(&slots(vault, &root, &[&secret])).unwrap();
    for i in 0..text.len() {
        let mut bad = text.clone().into_bytes();
        bad[i] ^= 1;
        let Ok(bad) = serde_json::from_slice::<Slots>(&bad) else { continue };
        // "created" isn't in the slot's AAD; the keyring's covers it.
        let created = text.find("\"created\":").unwrap();
        let opened = bad.unlock(vault, &secret, USUAL).is_ok();
        assert!(!opened || (created..created + 12).contains(&i), "byte {i} of {text}");
    }
}

#[test]
fn malformed_slots_are_refused() {
    let (vault, root) = (VaultId::random(), RootKey::generate());
    let slots = slots(vault, &root, &[&passphrase("a"), &key_file(1)]);
    let good = serde_json::to_value(&slots).unwrap();
    let change = |at: usize, field: &str, value: Option<serde_json::Value>| {
        let mut bad = good.clone();
        let slot = bad[at].as_object_mut().unwrap();
        match value {
            Some(value) => drop(slot.insert(field.to_owned(), value)),
            None => drop(slot.remove(field)),
        }
        serde_json::from_value::<Slots>(bad).err().map(|e| e.to_string())
    };
    assert_eq!(change(0, "salt", Some(good[0]["salt"].clone())), None);
    for (at, field, value) in [
        (0, "type", None),
        (0, "type", Some("keyfile".into())),
        (1, "type", Some("passphrase".into())),
        (0, "salt", None),
        (0, "salt", Some("AAAA".into())),
        (0, "salt", Some("*".into())),
        (0, "wrapped", None),
        (0, "extra", Some(1.into())),
        (1, "id", Some(good[0]["id"].clone())),
        (1, "id", Some("x".into())),
    ] {
        assert!(change(at, field, value.clone()).is_some(), "{at} {field} {value:?}");
    }
}

#[test]
fn costs_beyond_the_caps_are_refused_before_they_run() {
    let (vault, root) = (VaultId::random(), RootKey::generate());
    let secret = passphrase("a");
    let good = serde_json::to_value(slots(vault, &root, &[&secret])).unwrap();
    for (field, value) in [
        ("memory_kib", (4 << 20) + 1),
        ("memory_kib", 7),
        ("passes", 65),
        ("passes", 0),
        ("lanes", 17),
        ("lanes", 0),
    ] {
        let mut bad = good.clone();
        bad[0]["kdf"][field] = value.into();
        let bad: Slots = serde_json::from_value(bad).unwrap();
        let error = bad.unlock(vault, &secret, USUAL).err().unwrap();
        assert!(matches!(error, UnlockError::CostBeyondCaps(_)), "{field} {value}: {error}");
    }
    let beyond = KdfParams { memory_kib: u32::MAX, passes: 1, lanes: 1 };
    assert!(Slot::seal(vault, &root, &secret, beyond, Timestamp(0)).is_err());
}

#[test]
fn a_recovery_key_is_read_as_people_type_it() {
    let key = RecoveryKey::generate();
    let text = key.to_text();
    assert_eq!((text.len(), text.split('-').count()), (63, 8));
    let typed = format!(" {}\n", text.to_lowercase().replace('-', " "));
    let mixed = text.replace('O', "0").replace('I', "1").replace('B', "8");
    for form in [text.as_str(), &typed, &mixed, &text.replace('-', "")] {
        assert_eq!(RecoveryKey::parse(form.as_bytes()).ok().unwrap().expose(), key.expose(), "{form}");
    }
    assert_eq!(RecoveryKey::parse(b"").err(), Some(RecoveryKeyError::Length(0)));
    assert_eq!(RecoveryKey::parse(&text.as_bytes()[1..]).err(), Some(RecoveryKeyError::Length(55)));
    let bad = text.replacen(|c: char| c.is_ascii_alphanumeric(), "?", 1);
    assert_eq!(RecoveryKey::parse(bad.as_bytes()).err(), Some(RecoveryKeyError::Character));
    assert_eq!(RecoveryKey::parse(&[0xff; 56]).err(), Some(RecoveryKeyError::Character));
}

#[test]
fn a_mistyped_recovery_key_is_found_out() {
    let text = RecoveryKey::generate().to_text();
    let mut swapped_pairs = 0;
    for i in 0..text.len() - 1 {
        let mut bytes = text.as_bytes().to_vec();
        bytes.swap(i, i + 1);
        if bytes[i] != bytes[i + 1] && !bytes[i..i + 2].contains(&b'-') {
            assert_eq!(RecoveryKey::parse(&bytes).err(), Some(RecoveryKeyError::Checksum), "swap at {i}");
            swapped_pairs += 1;
        }
    }
    assert!(swapped_pairs > 20);
}

#[test]
fn a_key_file_has_exactly_32_bytes() {
    for len in [0, 31, 33, 64] {
        assert!(matches!(Secret::read_key_file(&*vec![1; len]), Err(KeyFileError::Length)), "{len}");
    }
    assert!(matches!(Secret::read_key_file(&[1; 32][..]), Ok(Secret::KeyFile(key)) if *key == [1; 32]));
    let directory = std::fs::File::open("/").unwrap();
    assert!(matches!(Secret::read_key_file(directory), Err(KeyFileError::Io(_))));
}

#[test]
fn numbers_in_a_slot_of_an_unknown_kind_are_kept_to_the_last_bit() {
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..2000 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = f64::from_bits(bits);
        if !number.is_finite() {
            continue;
        }
        let slots: Slots = serde_json::from_str(&format!(r#"[{{"type":"newer","n":{number:e}}}]"#)).unwrap();
        let text = serde_json::to_string(&slots).unwrap();
        let written = text.split(['}', ':']).nth(2).unwrap();
        assert_eq!(written.parse::<f64>().unwrap().to_bits(), number.to_bits(), "{number:e} in {text}");
    }
}

#[test]
fn a_replaced_slot_costs_no_less_and_opens_within_the_usual_bounds() {
    let usual = |kdf| USUAL.admits(SlotId::random(), Some(kdf)).is_ok();
    let params = |mib: u32, passes| KdfParams { memory_kib: mib << 10, passes, lanes: 1 };
    let mut raised = 0;
    for (old_mib, new_mib) in
        [8, 64, 100, 1024, 3000, 4096].into_iter().flat_map(|a| [64, 341, 1024, 4096].map(|b| (a, b)))
    {
        for (old_passes, new_passes) in
            [1, 3, 6, 12, 50, 64].into_iter().flat_map(|a| [3, 6, 12].map(|b| (a, b)))
        {
            let (old, new) = (params(old_mib, old_passes), params(new_mib, new_passes));
            let made = in_place_of(new, old);
            assert!(made.within_caps() && made.memory_kib >= old.memory_kib, "{old:?} {new:?} {made:?}");
            assert!(SlotCost::of(made) >= SlotCost::of(old), "{old:?} {new:?} {made:?}");
            assert_eq!(usual(made), usual(old), "{old:?} {new:?} {made:?}");
            assert!(made == new.at_least(old) || !usual(new.at_least(old)), "{old:?} {new:?} {made:?}");
            raised += u32::from(made != old && made != new.at_least(old));
        }
    }
    assert!(raised > 10);
    // The costs of a small machine, and a number that is given: memory makes up for passes.
    assert_eq!(in_place_of(params(4096, 3), params(128, 50)), params(4096, 3));
}

/// Slots as an attacker who can write the keyring makes them: copies of a real one, with other ids and costs.
fn forged(good: &Slots, count: usize, memory_kib: u32, passes: u32) -> Slots {
    let slot = serde_json::to_value(good).unwrap()[0].clone();
    let forged = |_| {
        let mut slot = slot.clone();
        slot["id"] = serde_json::to_value(SlotId::random()).unwrap();
        slot["kdf"]["memory_kib"] = memory_kib.into();
        slot["kdf"]["passes"] = passes.into();
        slot
    };
    let mut all: Vec<_> = (0..count).map(forged).collect();
    all.push(slot.clone());
    serde_json::from_value(all.into()).unwrap()
}

#[test]
fn forged_slots_are_refused_at_once_by_number_and_by_cost() {
    let (vault, root) = (VaultId::random(), RootKey::generate());
    let secret = passphrase("a");
    let good = slots(vault, &root, &[&secret]);
    let began = std::time::Instant::now();
    let refused = |slots: &Slots| slots.unlock(vault, &secret, USUAL).err();
    assert_eq!(refused(&forged(&good, 1000, 4 << 20, 64)), Some(UnlockError::TooManySlots(1001)));
    // So many that each is admitted, and all together are not.
    let together = refused(&forged(&good, 33, 1 << 20, 3)).unwrap();
    assert!(matches!(together, UnlockError::TooCostlyTogether { slots: 34, .. }), "{together}");
    assert!(
        together.to_string().contains("99 GiB") && together.to_string().contains("--any-cost"),
        "{together}"
    );
    // Those that are too costly alone aren't tried, and don't keep the real one from being tried.
    let alone = forged(&good, 60, 4 << 20, 64);
    assert!(alone.unlock(vault, &secret, USUAL).is_ok());
    let wrong = alone.unlock(vault, &passphrase("b"), USUAL).err().unwrap();
    assert!(matches!(wrong, UnlockError::TooCostly { memory_mib: 4096, passes: 64, .. }), "{wrong}");
    assert!(!wrong.is_wrong_secret());
    // One of those that are too costly takes minutes.
    assert!(began.elapsed() < Duration::from_secs(30));
    // Without bounds they are.
    assert!(forged(&good, 100, 64, 1).unlock(vault, &secret, CostBounds::None).is_ok());
    assert!(forged(&good, 100, 64, 1).unlock(vault, &secret, USUAL).is_err());
}

/// Passphrase slots, however costly, are nothing to a key file.
#[test]
fn only_slots_that_would_be_tried_count() {
    let (vault, root) = (VaultId::random(), RootKey::generate());
    let good = slots(vault, &root, &[&passphrase("a"), &key_file(1)]);
    let mut many = forged(&good, 40, 1 << 20, 3);
    many.push(Slot::seal(vault, &root, &key_file(2), KDF, Timestamp(0)).unwrap());
    assert!(many.unlock(vault, &key_file(2), USUAL).is_ok());
    assert!(many.unlock(vault, &passphrase("a"), USUAL).is_err());
}
