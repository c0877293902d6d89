//! The control socket lives as long as its mount, whatever becomes of the runtime directory.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::control::keeper::SOON;

/// The mount's entry in `run`, once its daemon answers there; none after a long time.
fn found_in(run: &Path) -> Option<Entry> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let alive = entries_in(run, me()).into_iter().find(Entry::is_alive);
        if alive.is_some() || Instant::now() > deadline {
            return alive;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Removes something of a served mount, and expects its daemon back in the same place.
fn comes_back_after(removal: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let (server, _) = server(dir.path());
    let before = found_in(&run).unwrap();
    removal(&run);
    let after = found_in(&run).expect("the daemon can't be asked any more");
    assert_eq!((after.mount_dev, &after.socket), (before.mount_dev, &before.socket));
    assert_eq!(Client::of(&after).status().unwrap(), status());
    assert_eq!(server.socket(), after.socket);
    drop(server);
    assert!(!run.exists(), "something is left");
}

#[test]
fn a_runtime_directory_that_was_removed() {
    comes_back_after(|run| fs::remove_dir_all(run).unwrap());
}

#[test]
fn a_runtime_directory_that_was_removed_and_made_again() {
    comes_back_after(|run| {
        fs::remove_dir_all(run).unwrap();
        RuntimeDir::create_at(run).unwrap();
    });
}

#[test]
fn a_runtime_directory_that_was_moved_away() {
    comes_back_after(|run| fs::rename(run, run.with_extension("aside")).unwrap());
}

#[test]
fn a_socket_that_was_removed() {
    comes_back_after(|run| {
        let socket = entries_in(run, me()).remove(0).socket;
        fs::remove_file(socket).unwrap();
    });
}

#[test]
fn a_registry_file_that_was_removed() {
    comes_back_after(|run| {
        let socket = entries_in(run, me()).remove(0).socket;
        fs::remove_file(socket.with_extension("json")).unwrap();
    });
}

#[test]
fn a_directory_that_is_being_removed_is_left_alone_for_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let (_server, _) = server(dir.path());
    loop {
        assert!(found_in(&run).is_some());
        let began = Instant::now();
        for path in files_of(&run) {
            let _ = fs::remove_file(path);
            std::thread::sleep(Duration::from_millis(20));
        }
        let removed = fs::remove_dir(&run);
        // On a busy machine the moment may be over.
        if began.elapsed() < SOON {
            removed.expect("it made files in a directory that was being emptied");
            break;
        }
    }
    assert!(found_in(&run).is_some());
}

#[test]
fn what_is_not_its_socket_is_neither_removed_nor_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let (served, _) = server(dir.path());
    let socket = served.socket();
    fs::remove_file(&socket).unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    std::thread::sleep(SOON * 3);
    drop(served);
    assert!(socket.exists(), "another's socket was removed");
    drop(other);
    // A process that another test has just forked has the listener until it executes its program.
    eventually(|| UnixStream::connect(&socket).is_err());
    let (served, _) = server(dir.path());
    assert!(found_in(&run).is_some_and(|entry| entry.socket == served.socket()));
}

#[test]
fn a_second_daemon_is_refused_and_a_dead_one_cleaned_up() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = RuntimeDir::create_at(&dir.path().join("run")).unwrap();
    let mut endpoint = runtime.bind(location(dir.path())).unwrap();
    assert!(entries_in(&dir.path().join("run"), me()).is_empty(), "not published yet");
    endpoint.publish(dir.path(), std::path::Path::new("/mnt/x"), 77).unwrap();
    assert!(matches!(runtime.bind(location(dir.path())), Err(RegistryError::InUse(_))));
    let socket = endpoint.socket().to_owned();
    // Dropped without clean-up, as a killed daemon leaves it.
    drop(endpoint);
    assert!(socket.exists());
    let left = entries_in(&dir.path().join("run"), me());
    assert_eq!(left.len(), 1);
    // A process that another test has just forked has the listener until it executes its program.
    eventually(|| !left[0].is_alive());
    runtime.bind(location(dir.path())).unwrap();
    assert!(!socket.with_extension("json").exists());
}

fn files_of(dir: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}
