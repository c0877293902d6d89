//! The lock and its record.

use super::record::is_word;
use super::*;
use crate::sys::testing::PATIENCE;

fn record(vault: &Path) -> String {
    std::fs::read_to_string(vault.join("lock")).unwrap()
}

#[test]
fn the_record_is_of_the_process_and_nothing_it_was_told() {
    let vault = tempfile::tempdir().unwrap();
    let lock = VaultLock::take(vault.path()).unwrap();
    let holder: serde_json::Value = serde_json::from_str(&record(vault.path())).unwrap();
    let fields: Vec<&String> = holder.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["pid", "host", "command", "serves", "changes"]);
    assert!(is_word(holder["command"].as_str().unwrap()));
    lock.leave_to_child();
    drop(lock);
    assert_ne!(record(vault.path()), "", "it is the child's");
}

#[test]
fn what_an_older_program_or_someone_else_wrote_is_not_shown() {
    let vault = tempfile::tempdir().unwrap();
    let _lock = VaultLock::take(vault.path()).unwrap();
    for command in ["rekeyfs mount v m --extpass 'echo secret'", "\u{1b}[31m", "", "secret word"] {
        let holder = serde_json::json!({"pid": 7, "command": command, "mountpoint": "/secret"});
        std::fs::write(vault.path().join("lock"), holder.to_string()).unwrap();
        let refused = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err().to_string();
        assert!(refused.contains("in use by process 7;"), "{refused}");
    }
}

#[test]
fn a_lock_that_stands_for_another_file_is_refused_and_an_open_one_is_shut() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let vault = tempfile::tempdir().unwrap();
    let (lock, other) = (vault.path().join("lock"), vault.path().join("other"));
    std::fs::write(&other, b"of another").unwrap();
    symlink(&other, &lock).unwrap();
    VaultLock::take(vault.path()).unwrap_err();
    if geteuid().is_root() {
        // As the owner of a vault could have root write into a file of root's.
        std::fs::remove_file(&lock).unwrap();
        std::fs::hard_link(&other, &lock).unwrap();
        std::os::unix::fs::chown(vault.path(), Some(65_533), None).unwrap();
        VaultLock::take(vault.path()).unwrap_err();
        std::os::unix::fs::chown(vault.path(), Some(0), None).unwrap();
    }
    assert_eq!(std::fs::read(&other).unwrap(), b"of another");
    std::fs::remove_file(&lock).unwrap();
    std::fs::write(&lock, b"").unwrap();
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o666)).unwrap();
    drop(VaultLock::take(vault.path()).unwrap());
    assert_eq!(lock.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn one_at_a_time_and_the_other_is_named() {
    let vault = tempfile::tempdir().unwrap();
    let lock = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap();
    let refused = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err();
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    drop(lock);
    assert_eq!(record(vault.path()), "", "emptied when the lock is given up");
    // Not at once: a process that another test has just forked has the lock's descriptor until it executes its program.
    VaultLock::take_within(vault.path(), PATIENCE).unwrap();
}

#[test]
fn a_holder_on_its_way_out_is_waited_for() {
    let vault = tempfile::tempdir().unwrap();
    let lock = VaultLock::take(vault.path()).unwrap();
    // As a daemon that has unmounted, but still syncs.
    lock.serves(u64::MAX).unwrap();
    let leaving = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(lock);
    });
    VaultLock::take_within(vault.path(), PATIENCE).unwrap();
    leaving.join().unwrap();
}

#[test]
fn each_holder_in_turn_is_given_its_time() {
    let vault = tempfile::tempdir().unwrap();
    // Many of its turns: a turn that a busy machine makes longer is no other holder's fault.
    let (patience, turn) = (Duration::from_secs(2), Duration::from_millis(100));
    let sign = |lock: &VaultLock, pid| {
        Holder { pid, ..Holder::this_process(&host(), None, false) }.write(&lock.file).unwrap();
    };
    let lock = VaultLock::take(vault.path()).unwrap();
    sign(&lock, 1);
    // As a queue of commands: the lock is never free, but its holder changes.
    let queue = std::thread::spawn(move || {
        for pid in 2..30 {
            std::thread::sleep(turn);
            sign(&lock, pid);
        }
    });
    let began = Instant::now();
    VaultLock::take_within(vault.path(), patience).unwrap();
    assert!(began.elapsed() > patience);
    queue.join().unwrap();

    let lock = VaultLock::take(vault.path()).unwrap();
    sign(&lock, 7);
    let refused = VaultLock::take_within(vault.path(), turn).unwrap_err();
    assert!(refused.to_string().contains("process 7"), "{refused}");
}

#[test]
fn looking_shares_the_lock_and_writes_nothing() {
    let vault = tempfile::tempdir().unwrap();
    assert!(VaultLock::look(vault.path()).unwrap().is_none());
    assert!(!vault.path().join("lock").exists());
    drop(VaultLock::take(vault.path()).unwrap());
    let record = std::fs::read(vault.path().join("lock")).unwrap();
    let looks = [VaultLock::look(vault.path()).unwrap(), VaultLock::look(vault.path()).unwrap()];
    assert!(looks.iter().all(Option::is_some));
    let refused = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err().to_string();
    assert!(refused.contains("rekeyfs fsck"), "{refused}");
    assert_eq!(std::fs::read(vault.path().join("lock")).unwrap(), record);
    drop(looks);
    drop(VaultLock::take_within(vault.path(), PATIENCE).unwrap());
}

#[test]
fn in_a_vault_that_may_only_be_read_the_lock_is_taken_as_it_is() {
    // No more of a keyring than can be told without a secret.
    let header = |ro_compat: u32| {
        let json = br#"{"vault":"44d8dc31-fa24-42b6-b006-6dae0ab64958","suite":"aes-256-gcm","slots":[]}"#;
        let mut bytes = b"RKFK\x01\0\0\0\0\0".to_vec();
        bytes.extend_from_slice(&ro_compat.to_le_bytes());
        bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
        bytes.extend_from_slice(json);
        bytes
    };
    let vault = tempfile::tempdir().unwrap();
    let keyring = vault.path().join("keyring");
    std::fs::write(&keyring, header(1 << 31)).unwrap();
    let lock = VaultLock::take(vault.path()).unwrap();
    assert!(!vault.path().join("lock").exists());
    VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err();
    drop(lock);
    std::fs::write(&keyring, header(0)).unwrap();
    drop(VaultLock::take(vault.path()).unwrap());
    std::fs::write(&keyring, header(1 << 31)).unwrap();
    let made = vault.path().join("lock").metadata().unwrap().modified().unwrap();
    let lock = VaultLock::take(vault.path()).unwrap();
    lock.serves(7).unwrap();
    VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err();
    assert_eq!(record(vault.path()), "");
    drop(lock);
    assert_eq!(vault.path().join("lock").metadata().unwrap().modified().unwrap(), made);
    VaultLock::take_within(vault.path(), PATIENCE).unwrap();
}

#[test]
fn a_torn_record_names_nobody() {
    let vault = tempfile::tempdir().unwrap();
    let _lock = VaultLock::take(vault.path()).unwrap();
    std::fs::write(vault.path().join("lock"), b"{\"pid\":1").unwrap();
    let refused = VaultLock::take_within(vault.path(), Duration::ZERO).unwrap_err();
    assert!(refused.to_string().contains("another process"), "{refused}");
}

#[test]
fn on_a_filesystem_of_one_host_the_record_of_another_host_is_that_of_a_disk_that_was_moved() {
    let vault = tempfile::tempdir().unwrap();
    let left = r#"{"pid":7,"host":"elsewhere","command":"mount","serves":9}"#;
    std::fs::write(vault.path().join("lock"), left).unwrap();
    let (holder, shared) = lock_holder(vault.path()).unwrap();
    let holder = holder.unwrap();
    assert_eq!((holder.host.as_deref(), holder.pid), (Some("elsewhere"), Some(7)));
    assert!(holder.mount && !holder.here && !holder.holds && shared.is_none());
    let lock = VaultLock::take(vault.path()).unwrap();
    assert!(lock_holder(vault.path()).unwrap().0.is_some_and(|holder| holder.here && holder.holds));
    drop(lock);
    assert!(lock_holder(vault.path()).unwrap().0.is_none());
}

#[test]
fn a_record_that_is_not_whole_is_of_a_host_and_what_a_longer_one_left_behind_it_is_not_looked_at() {
    let vault = tempfile::tempdir().unwrap();
    let dir = open_vault(vault.path()).unwrap();
    let lost = || LostHost::of(dir.as_fd(), "here").map(|lost| lost.map(|lost| lost.name));
    assert_eq!(lost().unwrap(), None, "there is no lock file");
    let of = |host: &str| format!(r#"{{"pid":7,"host":"{host}","command":"mount","serves":57}}"#);
    for (record, named) in [
        (String::new(), None),
        (of("here"), None),
        (r#"{"pid":7,"command":"mount"}"#.to_owned(), None),
        (of("there"), Some("there")),
        (of("there") + "\n}\n", Some("there")),
        (r#"{"pid":7,"host":"th"#.to_owned(), Some("unknown")),
        ("\0".repeat(70), Some("unknown")),
    ] {
        std::fs::write(vault.path().join("lock"), &record).unwrap();
        assert_eq!(lost().unwrap().as_deref(), named, "{record:?}");
    }
    std::fs::remove_file(vault.path().join("lock")).unwrap();
    std::fs::create_dir(vault.path().join("lock")).unwrap();
    assert!(lost().is_err(), "what can't be read isn't taken for empty");
}

#[test]
fn the_record_of_a_host_that_has_taken_the_vault_over_is_not_written_over() {
    let vault = tempfile::tempdir().unwrap();
    let mut lock = VaultLock::take(vault.path()).unwrap();
    lock.shared = true;
    lock.sign().unwrap();
    // As while a secret was waited for.
    let theirs = r#"{"pid":7,"host":"elsewhere","command":"mount","serves":9}"#;
    std::fs::write(vault.path().join("lock"), theirs).unwrap();
    for signed in [lock.sign(), lock.serves(9)] {
        let refused = signed.unwrap_err().to_string();
        assert!(refused.contains("in use by host elsewhere, which has taken it over"), "{refused}");
    }
    drop(lock);
    assert_eq!(record(vault.path()), theirs);
}

#[test]
fn a_host_that_was_given_another_name_meanwhile_empties_its_record() {
    let vault = tempfile::tempdir().unwrap();
    let mut lock = VaultLock::take(vault.path()).unwrap();
    (lock.shared, lock.host) = (true, "before".to_owned());
    lock.write(None, true);
    assert!(record(vault.path()).contains(r#""host":"before""#));
    lock.sign().unwrap();
    drop(lock);
    assert_eq!(record(vault.path()), "");
}

#[test]
fn a_host_that_was_lost_while_it_waited_for_a_secret_is_in_nobodys_way() {
    let vault = tempfile::tempdir().unwrap();
    let mut lock = VaultLock::take(vault.path()).unwrap();
    lock.shared = true;
    let says = |changes: bool| record(vault.path()).contains(&format!(r#""changes":{changes}"#));
    assert!(says(false));
    lock.sign().unwrap();
    assert!(says(true));
    lock.await_secret();
    assert!(says(false));
    lock.serves(9).unwrap();
    assert!(says(true));
    let waited = r#"{"pid":7,"host":"elsewhere","command":"mount","changes":false}"#;
    std::fs::write(vault.path().join("lock"), waited).unwrap();
    assert!(!lock.other_host().unwrap().unwrap().changes);
    // It has the lock, if its record is there while this process thinks that it has it.
    assert!(lock.sign().is_err());
    lock.await_secret();
    assert_eq!(record(vault.path()), waited);
    drop(lock);
    assert!(lock_holder(vault.path()).unwrap().0.is_none());
    std::fs::write(vault.path().join("lock"), waited.replace("false", "true")).unwrap();
    assert_eq!(lock_holder(vault.path()).unwrap().0.unwrap().host.as_deref(), Some("elsewhere"));
}

#[test]
fn only_the_record_of_the_host_that_was_evicted_is_emptied() {
    let vault = tempfile::tempdir().unwrap();
    let dead = r#"{"pid":7,"host":"dead","command":"mount","serves":9}"#;
    let mut lock = VaultLock::take(vault.path()).unwrap();
    lock.shared = true;
    std::fs::write(vault.path().join("lock"), dead).unwrap();
    let lost = lock.other_host().unwrap().unwrap();
    // As while the secret was waited for: a third host evicted it, and has mounted.
    let third = dead.replace("dead", "third");
    std::fs::write(vault.path().join("lock"), &third).unwrap();
    let refused = lock.forget_lost_host(&lost).unwrap_err().to_string();
    assert!(refused.contains("taken it over"), "{refused}");
    assert_eq!(record(vault.path()), third);
    std::fs::write(vault.path().join("lock"), dead).unwrap();
    lock.forget_lost_host(&lost).unwrap();
    assert_eq!(record(vault.path()), "");
}

#[test]
fn what_an_earlier_process_of_this_host_left_is_written_before_the_record_says_that_it_is_in_nobodys_way() {
    use crate::storage::fault::{Faults, Op};
    let vault = tempfile::tempdir().unwrap();
    let mut lock = VaultLock::take(vault.path()).unwrap();
    lock.shared = true;
    let syncs = |lock: &VaultLock| {
        let calls = Faults::record();
        let scope = calls.on_this_thread();
        lock.write_remains();
        drop(scope);
        calls.log().contains(&Op::Syncfs)
    };
    // As a daemon that was killed left it.
    lock.sign().unwrap();
    assert!(syncs(&lock));
    let theirs = record(vault.path());
    lock.await_secret();
    assert!(!syncs(&lock));
    std::fs::write(vault.path().join("lock"), "").unwrap();
    assert!(!syncs(&lock));
    std::fs::write(vault.path().join("lock"), theirs).unwrap();
    lock.shared = false;
    assert!(!syncs(&lock));
}
