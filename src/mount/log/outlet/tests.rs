use super::*;
use crate::sys::testing::eventually;

fn message(text: &str) -> Message {
    let fields = vec![("REKEYFS_VAULT".to_owned(), "/v".into())];
    Message { severity: libc::LOG_NOTICE, text: text.to_owned(), fields }
}

fn received(socket: &UnixDatagram) -> Vec<String> {
    socket.set_nonblocking(true).unwrap();
    let mut bytes = vec![0; 1 << 16];
    let mut next =
        || socket.recv(&mut bytes).ok().map(|len| String::from_utf8_lossy(&bytes[..len]).into_owned());
    std::iter::from_fn(&mut next).collect()
}

#[test]
fn a_system_log_that_comes_later_or_again_gets_the_next_line_and_how_many_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = SystemLog::at(dir.path().join("no journal"), Otherwise::Syslog(path.clone()));
    let line = |text: &str| format!("<29>rekeyfs[{}]: {text}", std::process::id());
    let missed = |what: &str| {
        format!(
            "<28>rekeyfs[{}]: WARN {what} could not be written to the log before this",
            std::process::id()
        )
    };
    (0..3).for_each(|_| log.write(&message("too early")));
    let first = UnixDatagram::bind(&path).unwrap();
    log.write(&message("here"));
    log.write(&message("and here"));
    assert_eq!(received(&first), [missed("3 lines"), line("here"), line("and here")]);

    // Restarted: the old socket is gone, and another one comes in its place.
    drop(first);
    // A process that another test has just forked has the socket until it executes its program.
    eventually(|| UnixDatagram::unbound().unwrap().connect(&path).is_err());
    log.write(&message("refused"));
    std::fs::remove_file(&path).unwrap();
    let second = UnixDatagram::bind(&path).unwrap();
    log.write(&message("again"));
    assert_eq!(received(&second), [missed("1 line"), line("again")]);
}

#[test]
fn a_log_that_is_stuck_is_not_waited_for_and_told_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    for (name, journal) in [("syslog", false), ("journal", true)] {
        let path = dir.path().join(name);
        let listener = UnixDatagram::bind(&path).unwrap();
        let nowhere = dir.path().join("nowhere");
        let log = if journal {
            SystemLog::at(path, Otherwise::Syslog(nowhere))
        } else {
            SystemLog::at(nowhere, Otherwise::Syslog(path))
        };
        (0..5000).for_each(|_| log.write(&message("x")));
        let written = received(&listener).len();
        assert!(written < 5000, "{written} lines wait in a socket");
        log.write(&message("again"));
        let last = received(&listener);
        assert_eq!(last.len(), 2);
        assert!(last[0].contains(&format!("WARN {} lines could not be written", 5000 - written)), "{last:?}");
        assert!(last[1].contains("again"));
    }
}

#[test]
fn a_journal_gets_fields_and_comes_before_the_system_log() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, syslog) = (dir.path().join("journal"), dir.path().join("log"));
    let listening = [&journal, &syslog].map(|path| UnixDatagram::bind(path).unwrap());
    let log = SystemLog::at(&journal, Otherwise::Syslog(syslog));
    log.write(&message("mounted"));
    assert_eq!(
        listening.each_ref().map(received),
        [
            vec!["SYSLOG_IDENTIFIER=rekeyfs\nSYSLOG_FACILITY=3\nPRIORITY=5\nMESSAGE=mounted\nREKEYFS_VAULT=/v\n".to_owned()],
            vec![]
        ]
    );
    assert_eq!(message("mounted").for_stream(), "<5>mounted\n");
}
