//! A custodian's slot opens a vault on a host that knows it, is replaced only as it was read, and is never the last way in.
use std::sync::atomic::AtomicU32;

use parking_lot::Mutex;
use serde_json::Map;

use super::*;
use crate::crypto::keys::CustodyKek;
use crate::ids::SlotId;
use crate::keyring::rules::state::Clock;
use crate::unlock::{Custody, CustodyParams, HeldKek};

fn held(slot: SlotId, kek: u8) -> Secret {
    let params = CustodyParams::try_from(Map::new()).unwrap();
    let custody = Custody::new("double".parse().unwrap(), params, vec![kek], None).unwrap();
    Secret::Custodian(HeldKek::new(slot, custody, &CustodyKek::from_bytes(&[kek; 32])))
}

fn slot_of(secret: &Secret) -> &HeldKek {
    match secret {
        Secret::Custodian(held) => held,
        _ => panic!("no custodian's"),
    }
}

/// A vault with a key file and a custodian's slot.
fn with_custodian() -> (Fixture, Opened, Secret) {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let secret = held(SlotId::random(), 1);
    opened.keys.add_slot(&opened.proof, &NewSlot::of(&secret, KDF)).unwrap();
    (f, opened, secret)
}

fn on_another_host(f: &Fixture) -> OpenOptions {
    OpenOptions { host: SeenGenerations::at(f.dir.path().join("another host")), ..f.options() }
}

#[test]
fn a_custodian_opens_a_vault_only_on_a_host_that_remembers_its_root_key() {
    let (f, _, secret) = with_custodian();
    assert_eq!(f.open(&secret).unwrap().proof.slot(), slot_of(&secret).slot());
    let options = on_another_host(&f);
    let before = everything(&f.vault());
    let open = |secret: &Secret, first_use| {
        KeyringFile::open(&f.vault(), secret, &OpenOptions { first_use, ..options.clone() }).map(drop)
    };
    let refused = open(&secret, false).unwrap_err();
    assert!(matches!(refused, KeyringError::FirstUse(_)), "{refused}");
    // Not even a rollback that is accepted is more than that.
    let accepting = OpenOptions { accept_rollback: true, ..options.clone() };
    assert!(KeyringFile::open(&f.vault(), &secret, &accepting).is_err());
    assert!(everything(&f.vault()) == before, "nothing is written for it");
    open(&secret, true).unwrap();
    open(&secret, false).unwrap();
    // What a secret of one's own opens is known, too.
    let third = OpenOptions { host: SeenGenerations::at(f.dir.path().join("a third host")), ..f.options() };
    KeyringFile::open(&f.vault(), &key_file(1), &third).unwrap();
    KeyringFile::open(&f.vault(), &secret, &third).unwrap();
}

/// Who knows a custodian's public key has it keep a KEK of his own, and seals a keyring under the vault's id.
#[test]
fn a_keyring_that_someone_else_sealed_for_the_same_custodian_is_refused_where_the_vault_is_known() {
    let (f, opened, secret) = with_custodian();
    let vault = opened.keys.vault_id();
    let root = Arc::new(RootKey::generate());
    let mut theirs = Header::new(vault, Suite::Aes256Gcm);
    theirs.slots.push(Slot::seal(vault, &root, &secret, KDF, Timestamp(0)).unwrap());
    let mut body = first_body(vault, Timestamp(0)).unwrap();
    let bytes = f.read(FILE_NAME);
    body.generation = Generation(100);
    body.continue_line(line::Head { generation: Generation(99), hash: crate::crypto::sha256(&bytes) });
    let file = store::sealed(&theirs, header::Kind::Keyring, &root, &body::encode(&body).unwrap()).unwrap();
    f.write(FILE_NAME, &file);
    let refused = f.open(&secret).err().unwrap();
    assert!(matches!(refused, KeyringError::OtherRootKey { .. }), "{refused}");
    let refused = KeyringFile::open(&f.vault(), &secret, &on_another_host(&f)).err().unwrap();
    assert!(matches!(refused, KeyringError::FirstUse(_)), "{refused}");
}

#[test]
fn the_root_key_that_a_revocation_makes_is_endorsed_for_custodians_too() {
    let (f, Opened { keys, proof }, _) = with_custodian();
    let other_host = on_another_host(&f);
    KeyringFile::open(&f.vault(), &key_file(1), &other_host).unwrap();
    let again = held(SlotId::random(), 2);
    keys.revoke(&proof, &[&key_file(1)], &[NewSlot::of(&again, KDF)], KDF).unwrap();
    KeyringFile::open(&f.vault(), &again, &other_host).unwrap();
}

#[test]
fn a_slot_is_replaced_only_if_it_is_still_what_was_read() {
    let (f, Opened { keys, proof }, first) = with_custodian();
    let (second, third) = (held(SlotId::random(), 2), held(SlotId::random(), 3));
    keys.label_slot(&proof, slot_of(&first).slot(), Some("server".parse().unwrap())).unwrap();
    // The same slot with another blob is another one.
    let other = held(slot_of(&first).slot(), 9);
    assert!(matches!(keys.rewrap_slot(&proof, slot_of(&other), &second), Err(KeyringError::UnknownSlot(_))));
    let new = keys.rewrap_slot(&proof, slot_of(&first), &second).unwrap();
    assert_eq!(new, slot_of(&second).slot());
    assert!(f.open(&second).is_ok() && f.open(&first).is_err());
    assert_eq!(keys.slot_labels().unwrap(), [(new, "server".parse().unwrap())]);
    let late = keys.rewrap_slot(&proof, slot_of(&first), &third);
    assert!(matches!(late, Err(KeyringError::UnknownSlot(_))));
    assert!(f.open(&second).is_ok() && f.open(&third).is_err());
}

/// Removes a slot by another handle of the vault when it is asked for the time, after so many times.
#[derive(Default)]
struct Meddler(AtomicU32, Mutex<Option<(Opened, SlotId)>>);

impl Clock for Meddler {
    fn now(&self) -> Timestamp {
        if self.0.load(Ordering::Relaxed) > 0 && self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            let (other, slot) = self.1.lock().take().unwrap();
            other.keys.remove_slot(&other.proof, slot).unwrap();
        }
        Timestamp(1_000_000)
    }
}

#[test]
fn a_slot_that_is_removed_while_it_is_replaced_does_not_come_back() {
    // The new slot is sealed after the first time; it has been added at the second.
    for times in [1, 2] {
        let (f, _, first) = with_custodian();
        let meddler = Arc::new(Meddler::default());
        let options = OpenOptions { clock: Arc::clone(&meddler) as Arc<dyn Clock>, ..f.options() };
        let Opened { keys, proof } = KeyringFile::open(&f.vault(), &first, &options).unwrap();
        *meddler.1.lock() = Some((f.open(&key_file(1)).unwrap(), slot_of(&first).slot()));
        meddler.0.store(times, Ordering::Relaxed);
        let second = held(SlotId::random(), 2);
        let late = keys.rewrap_slot(&proof, slot_of(&first), &second);
        assert!(matches!(late, Err(KeyringError::UnknownSlot(_))), "{times}");
        assert!(meddler.1.lock().is_none(), "{times}");
        assert!(f.open(&second).is_err() && f.open(&first).is_err(), "{times}");
        assert_eq!(keys.slots().unwrap().len(), 1, "{times}");
    }
}

#[test]
fn a_slot_that_is_removed_while_its_secret_is_changed_stays_away() {
    // Before it is looked for under the lock, and once the new one has been added.
    for times in [1, 2] {
        let (f, Opened { keys, proof }, first) = with_custodian();
        let forgotten = keys.add_slot(&proof, &NewSlot::of(&key_file(2), KDF)).unwrap();
        let meddler = Arc::new(Meddler::default());
        let options = OpenOptions { clock: Arc::clone(&meddler) as Arc<dyn Clock>, ..f.options() };
        let Opened { keys, proof } = KeyringFile::open(&f.vault(), &first, &options).unwrap();
        *meddler.1.lock() = Some((f.open(&key_file(1)).unwrap(), forgotten));
        meddler.0.store(times, Ordering::Relaxed);
        let late = keys.change_slot(&proof, forgotten, &NewSlot::of(&key_file(3), KDF));
        assert!(matches!(late, Err(KeyringError::UnknownSlot(slot)) if slot == forgotten), "{times}");
        assert!(meddler.1.lock().is_none(), "{times}");
        assert!(f.open(&key_file(3)).is_err() && f.open(&key_file(2)).is_err(), "{times}");
        assert_eq!(keys.slots().unwrap().len(), 2, "{times}");
    }
}

/// It may be removed because the new one opens the vault.
#[test]
fn a_new_slot_stays_if_nothing_else_opens_the_vault_once_somebody_removed_the_old_one() {
    let (f, Opened { proof, .. }, custodian) = with_custodian();
    let old = proof.slot();
    let meddler = Arc::new(Meddler::default());
    let options = OpenOptions { clock: Arc::clone(&meddler) as Arc<dyn Clock>, ..f.options() };
    let Opened { keys, proof } = KeyringFile::open(&f.vault(), &custodian, &options).unwrap();
    *meddler.1.lock() = Some((f.open(&key_file(1)).unwrap(), old));
    // Once the new one has been added.
    meddler.0.store(2, Ordering::Relaxed);
    let new = keys.change_slot(&proof, old, &NewSlot::of(&key_file(3), KDF)).unwrap();
    assert!(meddler.1.lock().is_none());
    assert_eq!(f.open(&key_file(3)).unwrap().proof.slot(), new);
    assert!(f.open(&key_file(1)).is_err() && f.open(&custodian).is_ok());
}

/// Revocation and rebinding wrap new KEKs by what slots say.
#[test]
fn slots_are_those_of_the_keyring_in_use_whatever_header_lies_there_meanwhile() {
    let (f, Opened { keys, proof }, secret) = with_custodian();
    let older = f.read(FILE_NAME);
    keys.remove_slot(&proof, slot_of(&secret).slot()).unwrap();
    let newest = f.read(FILE_NAME);
    f.write(FILE_NAME, &older);
    let refused = keys.slots().unwrap_err();
    assert!(matches!(refused, KeyringError::RolledBack { .. }), "{refused}");
    // The header lies there in the clear, under the body's seal.
    let mut changed = newest.clone();
    let at = changed.windows(7).position(|bytes| bytes == b"created").unwrap();
    changed[at + "created\":".len()] = b'7';
    assert!(changed != newest);
    f.write(FILE_NAME, &changed);
    assert!(keys.slots().is_err());
    f.write(FILE_NAME, &newest);
    assert_eq!(keys.slots().unwrap().len(), 1);
}

#[test]
fn the_last_slot_that_no_custodian_keeps_stays() {
    let (f, Opened { keys, proof }, secret) = with_custodian();
    let own = proof.slot();
    assert!(matches!(keys.remove_slot(&proof, own), Err(KeyringError::LastSlot(_))));
    let replaced = keys.replace_slots(&proof, &[own], &[]);
    assert!(matches!(replaced, Err(KeyringError::LastSlot(_))));
    keys.remove_slot(&proof, slot_of(&secret).slot()).unwrap();
    assert!(f.open(&key_file(1)).is_ok());
}
