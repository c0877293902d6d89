//! Two hosts that share a vault, as two keyrings opened on one directory: what one changes is in force on the other when the change
//! returns.
use std::sync::mpsc::channel;

use super::*;
use crate::hosts::{BootId, HostName, Mode, SlotNumber};
use crate::storage::Errno;
use crate::storage::fault::{After, Faults, Op, Plan};
use crate::sys::boottime::BootTime;

fn who(host: &str, mode: Mode) -> Identity {
    Identity { host: HostName::new(host).unwrap(), boot: BootId([0; 16]), mode }
}

/// A vault that is shared, its keys as the writer has them, and as a reader has them.
fn shared() -> (Fixture, Arc<Keys>, Arc<Keys>) {
    let (f, keys, _) = Fixture::new().with_keyring();
    keys.share().unwrap();
    let other = f.open(&key_file(1)).unwrap().keys;
    (f, keys, other)
}

/// Renews a membership on a thread of its own, as a mount does, until this is dropped.
struct Renewing(Option<std::sync::mpsc::Sender<()>>, Option<std::thread::JoinHandle<Membership>>);

impl Renewing {
    fn start(keys: &Arc<Keys>, mut membership: Membership) -> Self {
        let (end, ended) = channel::<()>();
        let keys = Arc::clone(keys);
        let thread = std::thread::spawn(move || {
            while ended.recv_timeout(lease() / 10) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                keys.renew(&mut membership).unwrap();
            }
            membership
        });
        Self(Some(end), Some(thread))
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        drop(self.0.take());
        self.1.take().unwrap().join().unwrap();
    }
}

fn default_key(keys: &Keys) -> KeyId {
    keys.current(&AliasName::default_alias()).unwrap().key
}

#[test]
fn the_mark_is_set_once_and_goes_into_backups_and_what_is_made_of_them() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    assert!(!opened.keys.is_shared() && !f.vault().join(HOSTS_NAME).exists());
    opened.keys.share().unwrap();
    let generation = opened.keys.generation();
    opened.keys.share().unwrap();
    assert_eq!(opened.keys.generation(), generation);
    rotate(&opened.keys);
    assert_eq!(KeyringFile::read_header(&f.vault()).unwrap().features(), ["shared"]);
    let backup = f.dir.path().join("backup");
    opened.export_for_test("pass", &backup).unwrap();
    std::fs::remove_file(f.vault().join("keyring")).unwrap();
    std::fs::remove_dir_all(f.vault().join(HOSTS_NAME)).unwrap();
    f.import_backup(&backup, "pass", &key_file(2), replacing(Replace::IfDamaged)).unwrap();
    assert!(f.open(&key_file(2)).unwrap().keys.is_shared());
}

#[test]
fn a_change_is_in_force_on_each_member_when_it_returns() {
    let (_f, writer, reader) = shared();
    let _writing = Renewing::start(&writer, writer.join(&who("writer", Mode::Writer)).unwrap());
    let reading = Renewing::start(&reader, reader.join(&who("reader", Mode::Reader)).unwrap());
    let began = BootTime::now();
    let new = rotate(&writer);
    assert_eq!(reader.current(&AliasName::default_alias()).unwrap().version.0, new);
    let key = default_key(&writer);
    let backing = writer.current_of(key).unwrap();
    writer.disable_key(key).unwrap();
    assert!(reader.usable(backing).is_err());
    writer.enable_key(key).unwrap();
    assert!(reader.usable(backing).is_ok());
    // Nobody's time ran out.
    assert!(writer.verify_events().unwrap().is_good());
    assert!(began.elapsed() < lease() * 30);
    drop(reading);
}

#[test]
fn who_registers_takes_the_keyring_into_use_that_is_there_then() {
    let (_f, writer, reader) = shared();
    let new = rotate(&writer);
    assert_ne!(reader.generation(), writer.generation());
    let membership = reader.join(&who("reader", Mode::Reader)).unwrap();
    assert_eq!(reader.current(&AliasName::default_alias()).unwrap().version.0, new);
    assert!(membership.lease_end() > BootTime::now());
}

#[test]
fn what_a_process_saved_that_died_before_it_told_anybody_is_made_up_for() {
    let (f, writer, reader) = shared();
    let mut membership = writer.join(&who("writer", Mode::Writer)).unwrap();
    let before = std::fs::read(f.vault().join(HOSTS_NAME).join("epoch")).unwrap();
    rotate(&writer);
    // As if it had died in between.
    std::fs::write(f.vault().join(HOSTS_NAME).join("epoch"), &before).unwrap();
    writer.renew(&mut membership).unwrap();
    assert_ne!(std::fs::read(f.vault().join(HOSTS_NAME).join("epoch")).unwrap(), before);
    writer.renew(&mut membership).unwrap();
    let mut reading = reader.join(&who("reader", Mode::Reader)).unwrap();
    assert_eq!(reader.generation(), writer.generation());
    reader.renew(&mut reading).unwrap();
}

#[test]
fn a_change_of_which_nobody_can_be_told_is_not_made() {
    let (f, writer, _) = shared();
    rotate(&writer);
    let before = f.read(FILE_NAME);
    let refused =
        Faults::new(Plan { skip: 0, only: Some(Op::Fdatasync), errno: Errno::IO, after: After::Stop });
    let scope = refused.on_this_thread();
    let error = writer.rotate(&default_alias()).unwrap_err().to_string();
    drop(scope);
    assert!(error.contains("hosts") && error.contains("was not made"), "{error}");
    assert_eq!(f.read(FILE_NAME), before);
    rotate(&writer);
}

#[test]
fn a_member_under_another_root_key_gets_no_lease() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    opened.keys.share().unwrap();
    let reader = f.open(&key_file(1)).unwrap().keys;
    let mut membership = reader.join(&who("reader", Mode::Reader)).unwrap();
    let end = membership.lease_end();
    opened.keys.revoke(&opened.proof, &[&key_file(1)], &[], KDF).unwrap();
    // Not authentic under the new root key, so it was waited for.
    assert!(BootTime::now() > end);
    assert!(matches!(reader.renew(&mut membership), Err(NotRenewed::Epoch)));
    assert_eq!(membership.lease_end(), end);
}

#[test]
fn who_waits_for_a_place_holds_nothing_up() {
    let (f, writer, reader) = shared();
    let dir = f.vault().join(HOSTS_NAME);
    let slots: Vec<_> = SlotNumber::all().collect();
    let mut members: Vec<_> =
        slots.iter().map(|_| reader.join(&who("reader", Mode::Reader)).unwrap()).collect();
    let full = writer.join(&who("late", Mode::Reader)).map(drop).unwrap_err().to_string();
    assert!(full.contains("all 64 places") && full.contains("end the session"), "{full}");
    // One that was killed.
    drop(members.pop());
    let late = std::thread::spawn({
        let writer = Arc::clone(&writer);
        move || writer.join(&who("late", Mode::Reader)).unwrap().slot()
    });
    let mut others = 0;
    while !late.is_finished() {
        // What a change begins with.
        let store = writer.store.lock();
        drop(store.dir().lock(store.writable().unwrap()).unwrap());
        drop(store);
        others += 1;
        std::thread::sleep(lease() / 20);
    }
    assert_eq!(Some(&late.join().unwrap()), slots.last());
    assert!(others >= 5, "{others}");
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 65);
}
