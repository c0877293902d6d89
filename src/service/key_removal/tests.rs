//! Nothing that files need goes: deletions and retirements are refused with the count, then done.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::events::Principal;
use crate::ids::{AliasName, Ino, KeyVersion, Timestamp};
use crate::keyring::{Clock, ForceToken, KeyRef, Keys};
use crate::monitor::Cancellation;
use crate::service::{Operations, Rewrap};
use crate::vault::testing::{TestVault, me};

const DAY: i64 = 86_400_000;

struct Moved(AtomicI64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

struct Fixture {
    vault: TestVault,
    clock: Arc<Moved>,
    open: OpenVault,
    key: KeyId,
}

impl Fixture {
    fn new() -> Self {
        let clock = Arc::new(Moved(AtomicI64::new(0)));
        let vault = TestVault::at(Arc::clone(&clock) as Arc<dyn Clock>);
        let open = OpenVault::with_files(Arc::clone(&vault.vault));
        let key = vault.default_key();
        Self { vault, clock, open, key }
    }

    fn rotate(&self) {
        self.open.rotate(&KeyRef::Key(self.key)).unwrap();
    }

    fn retire(&self, below: u32, what: Retirement, force: Option<ForceToken>) -> Result<RetireReport> {
        let asked = Retire {
            key_id: self.key.to_string(),
            below: KeyVersion(below),
            what,
            force,
            copies: Vec::new(),
        };
        self.open.retire(&asked, &mut Monitor::unattended())
    }

    fn schedule(&self, key: KeyId, force: Option<ForceToken>) -> std::result::Result<(), KmsError> {
        let call =
            Call::ScheduleKeyDeletion { key_id: key.to_string(), pending_window_in_days: Some(7), force };
        match self.open.kms(&call, None, &mut Monitor::unattended()).unwrap() {
            KmsReply::Done { .. } => Ok(()),
            KmsReply::Failed { error } => Err(error),
        }
    }

    fn force(&self, order: &str) -> ForceToken {
        let opened = self.vault.unlocked();
        opened.keys.force_token(&opened.proof, order)
    }

    /// Another key, at which alias/default points from now on.
    fn new_default(&self) -> KeyId {
        let key = self.vault.keys().create_key_for_test("alias/next".parse().unwrap());
        let alias_name = "alias/default".to_owned();
        self.call(&Call::UpdateAlias { alias_name, target_key_id: key.to_string() });
        key
    }

    fn call(&self, call: &Call) {
        self.vault.keys().call(call).unwrap();
    }

    /// What a power cut leaves of a re-wrap of the only file: the new slot, and the old one beside it.
    fn cut_short(&mut self, ino: Ino) {
        let path = std::fs::read_dir(self.vault.tree()).unwrap().next().unwrap().unwrap().path();
        let before = std::fs::read(&path).unwrap();
        assert_eq!(self.vault.vault.rewrap_batch(&[ino]).rewrapped, 1);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &before[..512], 0).unwrap();
        self.vault.reopen();
        self.open = OpenVault::with_files(Arc::clone(&self.vault.vault));
    }

    fn events(&self, kind: &str) -> usize {
        let log = std::fs::read_to_string(self.vault.tree().with_file_name("events.jsonl")).unwrap();
        log.matches(kind).count()
    }
}

#[test]
fn versions_are_retired_once_no_file_needs_them_and_that_can_be_undone() {
    let f = Fixture::new();
    let ino = f.vault.written("file");
    let lower = std::fs::read_dir(f.vault.tree()).unwrap().next().unwrap().unwrap().path();
    let backup = std::fs::read(&lower).unwrap();
    f.rotate();
    f.rotate();
    for below in [0, 1, 4, u32::MAX] {
        assert_eq!(f.retire(below, Retirement::Retire, None).unwrap_err().kind, ErrorKind::KeyNotUsable);
    }
    let refused = f.retire(2, Retirement::Retire, None).unwrap_err();
    assert!(refused.message.starts_with("1 file needs versions below 2 of key"), "{refused}");
    assert!(refused.message.contains("rekeyfs rewrap"), "{refused}");
    assert_eq!(f.vault.vault.rewrap_batch(&[ino]).rewrapped, 1);
    let done = f.retire(3, Retirement::Retire, None).unwrap();
    assert_eq!((done.min_decryption, done.trimmed), (KeyVersion(3), 0));
    f.vault.open("file").unwrap();

    // A backup of the file as it was can't be opened, until the versions are opened again.
    std::fs::write(&lower, &backup).unwrap();
    let fresh = Fixture { vault: f.vault, ..f };
    let mut vault = fresh.vault;
    vault.reopen_keyring();
    assert!(matches!(vault.open("file"), Err(crate::vault::Error::KeyNotUsable(_))));
    let open = OpenVault::with_files(Arc::clone(&vault.vault));
    let f = Fixture { vault, open, ..fresh };
    let hole = f.retire(2, Retirement::Restore, None).unwrap_err();
    assert!(hole.message.contains("give --below 3 --undo"), "{hole}");
    assert_eq!(f.retire(3, Retirement::Restore, None).unwrap().min_decryption, KeyVersion(1));
    f.vault.open("file").unwrap();
}

#[test]
fn trimmed_material_is_gone_from_the_old_keyring_too() {
    let f = Fixture::new();
    f.vault.written("file");
    f.rotate();
    let order = RetireOrder { key: f.key, below: KeyVersion(2), what: Retirement::Trim }.to_string();
    assert!(f.retire(2, Retirement::Trim, None).is_err(), "a file needs it");
    let other = f.force(&Keys::deletion_order(f.key));
    assert_eq!(f.retire(2, Retirement::Trim, Some(other)).unwrap_err().kind, ErrorKind::Outdated);
    let late = f.force(&order);
    f.rotate();
    assert_eq!(f.retire(2, Retirement::Trim, Some(late)).unwrap_err().kind, ErrorKind::Outdated);
    let material = |f: &Fixture| {
        let info = f.vault.keys().keys().into_iter().find(|info| info.id == f.key).unwrap();
        info.versions.iter().map(|v| v.has_material).collect::<Vec<_>>()
    };
    assert_eq!(material(&f), [true, true, true]);
    let generation = f.vault.keys().generation();
    let done = f.retire(2, Retirement::Trim, Some(f.force(&order))).unwrap();
    assert_eq!((done.trimmed, done.min_decryption), (1, KeyVersion(2)));
    assert_eq!(
        f.vault.keys().generation().0,
        generation.0 + 2,
        "saved twice, so that the old one has it not"
    );
    assert_eq!(material(&f), [false, true, true]);
    assert_eq!(f.retire(2, Retirement::Restore, None).unwrap().lost, 1);
    assert!(f.vault.open("file").is_err());
}

#[test]
fn a_deletion_is_refused_while_files_need_the_key_and_deletes_its_aliases() {
    let f = Fixture::new();
    let ino = f.vault.written("file");
    let error = f.schedule(f.key, None).unwrap_err();
    assert_eq!(error.name, KmsErrorName::ConflictException);
    assert!(error.message.starts_with("1 file needs key"), "{}", error.message);
    f.vault.open("file").unwrap();
    f.new_default();
    assert_eq!(f.vault.vault.rewrap_batch(&[ino]).rewrapped, 1);
    f.schedule(f.key, None).unwrap();
    f.call(&Call::CreateAlias {
        alias_name: "alias/x".into(),
        target_key_id: f.vault.keys().current(&AliasName::default_alias()).unwrap().key.to_string(),
    });
    f.clock.0.store(7 * DAY - 1, Ordering::SeqCst);
    assert!(f.open.delete_due(&mut Monitor::unattended()).unwrap().is_empty());
    f.clock.0.store(7 * DAY, Ordering::SeqCst);
    let done = f.open.delete_due(&mut Monitor::unattended()).unwrap();
    assert_eq!(done, [DueDeletion { key: f.key, blocked: None }]);
    let describe = f.vault.keys().call(&Call::DescribeKey { key_id: f.key.to_string() });
    let error = KmsError::of(describe.unwrap_err()).unwrap();
    assert_eq!(error.name, KmsErrorName::NotFoundException);
    let reopened = f.vault.unlocked().keys;
    assert!(reopened.keys().iter().all(|info| info.id != f.key));
    assert_eq!(f.events("KMS CMK Deletion"), 1);
    f.vault.open("file").unwrap();
}

#[test]
fn a_deletion_that_files_need_by_its_date_is_blocked() {
    let f = Fixture::new();
    let ino = f.vault.written("file");
    let (vault, _) = (&f.vault.vault, f.new_default());
    let lower = std::fs::read_dir(f.vault.tree()).unwrap().next().unwrap().unwrap().path();
    let backup = std::fs::read(&lower).unwrap();
    assert_eq!(vault.rewrap_batch(&[ino]).rewrapped, 1);
    f.schedule(f.key, None).unwrap();
    // A backup is restored.
    vault.unlink(Ino::ROOT, b"file").unwrap();
    std::fs::write(&lower, &backup).unwrap();
    f.clock.0.store(8 * DAY, Ordering::SeqCst);
    let done = f.open.delete_due(&mut Monitor::unattended()).unwrap();
    assert!(done[0].blocked.as_ref().unwrap().starts_with("1 file needs key"), "{done:?}");
    assert!(f.open.delete_due(&mut Monitor::unattended()).unwrap().is_empty(), "not counted again at once");
    assert_eq!(f.events("DeleteKey"), 1);
    let status = f.open.status().unwrap().pending_deletions;
    assert_eq!((status.len(), status[0].key_id), (1, f.key));
    assert!(status[0].blocked.is_some() && !status[0].forced);
    // Cancelled and enabled, the file opens.
    f.call(&Call::CancelKeyDeletion { key_id: f.key.to_string() });
    f.call(&Call::EnableKey { key_id: f.key.to_string() });
    f.vault.open("file").unwrap();
    assert!(f.open.delete_due(&mut Monitor::unattended()).unwrap().is_empty());
    assert!(f.open.status().unwrap().pending_deletions.is_empty());
}

#[test]
fn a_forced_deletion_is_carried_out() {
    let f = Fixture::new();
    f.vault.written("file");
    let wrong = f.force("something else");
    assert_eq!(f.schedule(f.key, Some(wrong)).unwrap_err().name, KmsErrorName::ConflictException);
    f.schedule(f.key, Some(f.force(&Keys::deletion_order(f.key)))).unwrap();
    f.clock.0.store(7 * DAY, Ordering::SeqCst);
    // Without it no new file could be made.
    let done = f.open.delete_due(&mut Monitor::unattended()).unwrap();
    assert!(done[0].blocked.as_ref().unwrap().contains("alias/default"), "{done:?}");
    let next = f.vault.keys().create_key_for_test("alias/next".parse().unwrap());
    f.call(&Call::UpdateAlias { alias_name: "alias/default".into(), target_key_id: next.to_string() });
    let again = OpenVault::with_files(Arc::clone(&f.vault.vault));
    assert_eq!(
        again.delete_due(&mut Monitor::unattended()).unwrap(),
        [DueDeletion { key: f.key, blocked: None }]
    );
    assert!(f.vault.open("file").is_err());
}

#[test]
fn a_file_made_while_files_are_counted_takes_the_scheduling_back() {
    let f = Fixture::new();
    let mut calls = 0;
    let call =
        Call::ScheduleKeyDeletion { key_id: f.key.to_string(), pending_window_in_days: None, force: None };
    f.vault.vault.mkdir(Ino::ROOT, b"dir", 0o755, &me()).unwrap();
    let mut receiver = |_| {
        calls += 1;
        // The root was read already.
        if calls == 2 {
            f.vault.written("late");
        }
    };
    let reply = f.open.kms(&call, None, &mut Monitor::new(&Cancellation::default(), &mut receiver));
    assert!(
        matches!(reply.unwrap(), KmsReply::Failed { error } if error.message.starts_with("1 file needs"))
    );
    f.vault.open("late").unwrap();
}

/// It was accepted: whoever had the old version opened the file by the slot that a power cut had left of it.
#[test]
fn a_version_that_one_slot_still_bears_is_not_retired() {
    let mut f = Fixture::new();
    let ino = f.vault.written("file");
    f.rotate();
    f.cut_short(ino);
    let refusal = f.retire(2, Retirement::Trim, None).unwrap_err();
    assert!(refusal.message.contains("1 file needs versions below 2"), "{}", refusal.message);
    Operations::count_files(&f.open, &mut Monitor::unattended()).unwrap();
    let status = f.open.status().unwrap();
    assert_eq!((status.files_seen, status.files_stale), (1, 1));
    assert_eq!(f.open.rewrap(&Rewrap::default(), &mut Monitor::unattended()).unwrap().progress.rewrapped, 1);
    assert_eq!(f.open.status().unwrap().files_stale, 0);
    f.retire(2, Retirement::Trim, None).unwrap();
    f.vault.open("file").unwrap();
}

#[test]
fn a_count_that_is_stopped_is_an_error_of_its_own_and_changes_nothing() {
    let f = Fixture::new();
    f.vault.written("file");
    f.rotate();
    f.new_default();
    let (key_id, below) = (f.key.to_string(), KeyVersion(2));
    let retire = Retire { key_id, below, what: Retirement::Retire, force: None, copies: Vec::new() };
    let schedule =
        Call::ScheduleKeyDeletion { key_id: f.key.to_string(), pending_window_in_days: Some(7), force: None };
    let before = f.vault.keys().generation();
    let cancelled = Cancellation::default();
    cancelled.cancel();
    let mut stop = Monitor::silent(&cancelled);
    let retired = f.open.retire(&retire, &mut stop).unwrap_err();
    assert_eq!(retired.kind, ErrorKind::Stopped);
    assert!(retired.message.ends_with(": stopped; nothing is changed"), "{retired}");
    assert_eq!(f.open.kms(&schedule, None, &mut stop).unwrap_err().kind, ErrorKind::Stopped);
    assert_eq!(f.open.count_files(&mut stop).unwrap_err().kind, ErrorKind::Stopped);
    // The end of the mount stops it too: that is no wish of the one who asks.
    f.open.stop();
    let ended = f.open.kms(&schedule, None, &mut Monitor::unattended()).unwrap_err();
    assert_eq!(ended.kind, ErrorKind::Other);
    assert_eq!(f.vault.keys().generation(), before);
}

fn encrypt(key: KeyId) -> Call {
    Call::Encrypt(crate::kms::Encrypt {
        key_id: key.to_string(),
        plaintext: crate::kms::SecretText::new("AAAA".into()),
        encryption_context: crate::kms::Pairs::new(),
        encryption_algorithm: None,
        dry_run: false,
    })
}

#[test]
fn what_a_key_encrypted_outside_of_files_goes_by_force_only() {
    let f = Fixture::new();
    f.new_default();
    f.rotate();
    f.retire(2, Retirement::Retire, None).unwrap();
    f.call(&encrypt(f.key));
    f.rotate();
    let refused = f.retire(3, Retirement::Retire, None).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::KeyNotUsable);
    assert!(refused.message.contains("has encrypted data outside of files since version 2"), "{refused}");
    let error = f.schedule(f.key, None).unwrap_err();
    assert_eq!(error.name, KmsErrorName::ConflictException);
    assert!(error.message.contains("--force"), "{error}");
    f.schedule(f.key, Some(f.force(&Keys::deletion_order(f.key)))).unwrap();
    f.clock.0.fetch_add(8 * DAY, Ordering::SeqCst);
    let done = f.open.delete_due(&mut Monitor::unattended()).unwrap();
    assert_eq!(done, [DueDeletion { key: f.key, blocked: None }]);
}

/// A program that doesn't know of data schedules the deletion of a key that has encrypted some.
#[test]
fn a_deletion_that_an_older_program_scheduled_waits_for_its_owner() {
    let f = Fixture::new();
    f.new_default();
    f.call(&encrypt(f.key));
    f.vault.keys().schedule_deletion_for_test(f.key);
    f.clock.0.fetch_add(31 * DAY, Ordering::SeqCst);
    let done = f.open.delete_due(&mut Monitor::unattended()).unwrap();
    assert!(
        done[0].blocked.as_ref().is_some_and(|why| why.contains("has encrypted data outside of files")),
        "{done:?}"
    );
    assert!(f.vault.keys().delete_due(&f.vault.keys().pending_deletions()[0]).is_err());
}

#[test]
fn keys_are_administered_on_behalf_of_admin_alone_and_the_log_says_on_whose() {
    let f = Fixture::new();
    let asked = |call: &Call, principal| match f.open.kms(call, Some(principal), &mut Monitor::unattended()) {
        Ok(KmsReply::Done { .. }) => None,
        Ok(KmsReply::Failed { error }) => Some(error.name),
        Err(error) => panic!("{error}"),
    };
    let key_id = f.key.to_string();
    let schedule =
        Call::ScheduleKeyDeletion { key_id: key_id.clone(), pending_window_in_days: Some(7), force: None };
    let (describe, disable) = (Call::DescribeKey { key_id: key_id.clone() }, Call::DisableKey { key_id });
    let before = f.vault.keys().generation();
    for call in [&schedule, &describe, &disable] {
        assert_eq!(asked(call, Principal::User(1000)), Some(KmsErrorName::AccessDeniedException));
    }
    assert_eq!(f.vault.keys().generation(), before);
    assert_eq!(asked(&encrypt(f.key), Principal::User(1000)), None);
    assert_eq!(asked(&describe, Principal::Admin), None);
    assert_eq!(asked(&disable, Principal::Admin), None);
    let log = std::fs::read_to_string(f.vault.tree().with_file_name("events.jsonl")).unwrap();
    let said: Vec<(String, String)> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["detail"].clone())
        .filter_map(|detail| {
            Some((detail["event-name"].as_str()?.into(), detail["principal"].as_str()?.into()))
        })
        .collect();
    let user = |operation: &str| (operation.to_owned(), "uid:1000".to_owned());
    let admin = |operation: &str| (operation.to_owned(), "admin".to_owned());
    assert_eq!(
        said,
        [
            user("ScheduleKeyDeletion"),
            user("DescribeKey"),
            user("DisableKey"),
            user("BeginDataUse"),
            user("Encrypt"),
            admin("DescribeKey"),
            admin("DisableKey"),
        ]
    );
}
