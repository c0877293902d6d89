use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;

const ID: &str = "RKFSAAAABBBBCCCCDDDD";
const SECRET: &str = "0123456789012345678901234567890123456789";

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    (dir, path)
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn what_is_added_is_what_is_read() {
    let (_dir, path) = place();
    let admin = add(&path, Principal::Admin, false).unwrap();
    let user = add(&path, Principal::User(1000), true).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let credentials = Credentials::of(path);
    assert_eq!(credentials.check().unwrap(), 2);
    let grant = credentials.grant(&admin.access_key).unwrap().unwrap();
    assert_eq!((grant.principal, grant.read_only), (Principal::Admin, false));
    let grant = credentials.grant(&user.access_key).unwrap().unwrap();
    assert_eq!((grant.principal, grant.read_only), (Principal::User(1000), true));
    assert!(credentials.grant("RKFSNOBODYSNOBODYSNO").unwrap().is_none());
    assert_ne!(admin.secret, user.secret);
}

#[test]
fn a_line_that_is_taken_out_opens_nothing_any_more() {
    let (_dir, path) = place();
    let made = add(&path, Principal::Admin, false).unwrap();
    let credentials = Credentials::of(path.clone());
    assert!(credentials.grant(&made.access_key).unwrap().is_some());
    write(&path, "# nobody\n");
    assert!(credentials.grant(&made.access_key).unwrap().is_none());
    fs::remove_file(&path).unwrap();
    assert!(matches!(credentials.grant(&made.access_key), Err(CredentialsError::Io(..))));
}

#[test]
fn an_edit_of_the_same_instant_and_length_is_seen() {
    let (_dir, path) = place();
    let credentials = Credentials::of(path.clone());
    for round in 0..300 {
        let (old, new) = (
            format!("{ID} {SECRET} uid:{}\n", 1000 + round),
            format!("{ID} {SECRET} uid:{}\n", 5000 + round),
        );
        write(&path, &old);
        assert_eq!(credentials.grant(ID).unwrap().unwrap().principal, Principal::User(1000 + round));
        write(&path, &new);
        assert_eq!(credentials.grant(ID).unwrap().unwrap().principal, Principal::User(5000 + round));
    }
}

#[test]
fn times_of_a_change_settle() {
    let now = UNIX_EPOCH + Duration::new(1000, 500);
    let stamp = |modified, changed| Stamp { ino: 1, size: 1, modified, changed };
    for (modified, changed, settled) in [
        ((998, 500), (998, 500), true),
        ((998, 501), (500, 0), false),
        ((500, 0), (998, 501), false),
        ((1000, 500), (500, 0), false),
        ((1001, 0), (500, 0), false),
        ((-5, 0), (500, 0), true),
    ] {
        assert_eq!(stamp(modified, changed).is_settled(now), settled, "{modified:?} {changed:?}");
    }
}

#[test]
fn a_file_that_others_have_access_to_is_refused() {
    let (dir, path) = place();
    write(&path, "");
    let credentials = Credentials::of(path.clone());
    assert_eq!(credentials.check().unwrap(), 0);
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert!(matches!(credentials.check(), Err(CredentialsError::Exposed(..))), "{mode:o}");
        assert!(add(&path, Principal::Admin, false).is_err());
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(credentials.check(), Err(CredentialsError::Exposed(..))));
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(Credentials::of(link).check().is_err());
    assert!(Credentials::of(dir.path().to_owned()).check().is_err());
}

#[test]
fn a_file_with_a_line_that_is_not_understood_is_refused_whole() {
    for (text, line) in [
        ("word", 1),
        (&*format!("{ID} {SECRET}"), 1),
        (&*format!("\n# comment\n{ID} {SECRET} root\n"), 3),
        (&*format!("{ID} {SECRET} admin read-write\n"), 1),
        (&*format!("{ID} {SECRET} admin read-only more\n"), 1),
        (&*format!("{ID} {SECRET} admin\n{ID} {SECRET} uid:5\n"), 2),
        (&*format!("short {SECRET} admin\n"), 1),
        (&*format!("{ID} short admin\n"), 1),
    ] {
        assert_eq!(parse(text).err().map(|(line, _)| line), Some(line), "{text:?}");
    }
    assert_eq!(parse(&format!("  {ID}\t{SECRET}  uid:5 read-only  \n\n")).unwrap_or_default().len(), 1);
}

#[test]
fn a_last_line_without_an_end_is_not_run_into() {
    let (_dir, path) = place();
    write(&path, &format!("{ID} {SECRET} admin"));
    add(&path, Principal::User(3), false).unwrap();
    assert_eq!(Credentials::of(path).check().unwrap(), 2);
}

#[test]
fn a_line_that_is_half_written_grants_nothing() {
    let (_dir, path) = place();
    let credentials = Credentials::of(path.clone());
    let whole = format!("# mine\n{ID} {SECRET} uid:1000 read-only\n");
    for (cut, _) in whole.char_indices().skip(8) {
        write(&path, &whole[..cut]);
        let refused = credentials.grant(ID).err().map(|error| error.to_string());
        assert!(refused.is_some_and(|said| said.contains(":2: ")), "{:?}", &whole[..cut]);
    }
    write(&path, &whole);
    assert!(credentials.grant(ID).unwrap().unwrap().read_only);
}

#[test]
fn a_file_that_is_too_long_is_not_read_in_part() {
    let (_dir, path) = place();
    let line = format!("{ID} {SECRET} admin\n");
    let fill = "#\n".repeat((MAX_LEN as usize - line.len()) / 2 + 1);
    write(&path, &format!("{line}{fill}"));
    let credentials = Credentials::of(path.clone());
    assert!(matches!(credentials.check(), Err(CredentialsError::Io(..))));
    let said = credentials.check().unwrap_err().to_string();
    assert!(said.contains("--credentials") && !said.contains("--new-credentials"), "{said}");
    assert!(add(&path, Principal::Admin, false).is_err());
    write(&path, &format!("{line}{}", &fill[2..]));
    assert_eq!(credentials.check().unwrap(), 1);
}

#[test]
fn messages_have_no_secret() {
    let (_dir, path) = place();
    write(&path, &format!("{ID} {SECRET} nobody\n"));
    let said = Credentials::of(path).check().unwrap_err().to_string();
    assert!(said.contains(":1: its principal is neither") && !said.contains(SECRET), "{said}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,300}") {
        let _ = parse(&text);
    }
}
