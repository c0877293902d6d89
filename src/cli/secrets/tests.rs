//! Secrets come from where the options say, and errors say which secret they are about.
use super::*;

fn written(contents: &[u8]) -> (tempfile::TempDir, Source) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pass");
    std::fs::write(&path, contents).unwrap();
    (dir, Source::File(path))
}

fn read(source: &Source) -> Outcome<Vec<u8>> {
    of(Role::Opens, source).read().map(|line| line.to_vec())
}

fn of(role: Role, source: &Source) -> Asked<'_> {
    Asked { source, role, kind: SecretKind::Passphrase, place: Path::new("/v") }
}

#[test]
fn an_error_says_which_secret_it_is_about_and_by_which_option_it_was_given() {
    let (_dir, empty) = written(b"\n");
    let told = |role, source: &Source| of(role, source).read().unwrap_err().to_string();
    assert!(told(Role::Opens, &empty).contains("should be the passphrase of /v, and is empty"));
    assert!(told(Role::New, &empty).contains("should be the new passphrase of /v, and is empty"));
    assert!(told(Role::NewOfBackup, &empty).contains("the new passphrase of the key backup /v"));
    let nowhere = Source::File("/nonexistent".into());
    assert!(told(Role::OpensBackup, &nowhere).contains("can't read the passphrase of the key backup /v"));
    let (fails, silent) = (Source::Command("exit 3".into()), Source::Command("true".into()));
    assert!(told(Role::New, &fails).starts_with("--new-extpass command: no new passphrase of /v: "));
    assert!(told(Role::OpensBackup, &silent).starts_with("--backup-extpass command: "));
    // No test has a terminal or a line in its standard input.
    assert!(told(Role::New, &Source::Ask).contains("give --new-passfile or --new-extpass"));
    assert!(told(Role::First, &Source::Ask).contains("give --passfile or --extpass"));
}

#[test]
fn a_passfile_gives_its_first_line() {
    for (contents, want) in [
        (&b"secret"[..], &b"secret"[..]),
        (b"secret\n", b"secret"),
        (b"se cret \nmore\n", b"se cret "),
        (b"\xff\x00\r\n", b"\xff\x00\r"),
    ] {
        let (_dir, source) = written(contents);
        assert_eq!(read(&source).unwrap(), want);
    }
}

#[test]
fn empty_and_endless_ones_are_refused() {
    for contents in [&b""[..], b"\n", b"\nsecond\n"] {
        let (_dir, source) = written(contents);
        assert_eq!(read(&source).unwrap_err().exit, Exit::EmptyPassphrase);
    }
    let (_dir, source) = written(&[b'x'; MAX_LEN]);
    assert_eq!(read(&source).unwrap().len(), MAX_LEN);
    let (_dir, source) = written(&[b'x'; MAX_LEN + 1]);
    assert_eq!(read(&source).unwrap_err().exit, Exit::ReadSecret);
    assert_eq!(read(&Source::File("/nonexistent".into())).unwrap_err().exit, Exit::ReadSecret);
}

#[test]
fn a_command_gives_its_first_line_and_must_succeed() {
    assert_eq!(read(&Source::Command("printf 'a b\\nc\\n'".into())).unwrap(), b"a b");
    assert_eq!(read(&Source::Command("yes | head -c 1000000".into())).unwrap(), b"y");
    assert_eq!(read(&Source::Command("echo x; false".into())).unwrap_err().exit, Exit::ReadSecret);
    assert_eq!(read(&Source::Command("true".into())).unwrap_err().exit, Exit::EmptyPassphrase);
}
