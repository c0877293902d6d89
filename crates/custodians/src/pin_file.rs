//! PINs in files, for hosts where nobody is there to enter one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::protocol::{Kind, Refusal};

/// The longest PIN.
const MAX_PIN: usize = 256;
/// So much of a file is read: a mark, the PIN, and the end of its line.
const MAX_FILE: usize = 3 + MAX_PIN + 2;

/// What editors put before a text, and files of Windows have at the end of a line.
const MARK: &[u8] = b"\xef\xbb\xbf";
const RETURN: &[u8] = b"\r";

/// The first line of a file that belongs to root or to who asks, that its group can't write and others can't use at all. (systemd
/// gives credentials to services of users by an ACL, which shows as the group's reading.) What can't be a PIN is refused here: a token
/// would count it as a wrong one.
///
/// # Errors
/// [`Kind::NotFound`] if it can't be read, [`Kind::NotAllowed`] if others could have read or written it.
pub fn pin_of_file(path: &str) -> Result<Zeroizing<String>, Refusal> {
    let refused =
        |kind, cause: &dyn std::fmt::Display| Refusal::new(kind, format!("the PIN's file {path}: {cause}"));
    if !Path::new(path).is_absolute() {
        return Err(refused(Kind::NotAllowed, &"its path in custodians.conf isn't absolute"));
    }
    let file = open(path).map_err(|error| refused(Kind::NotFound, &error))?;
    let about = file.metadata().map_err(|error| refused(Kind::NotFound, &error))?;
    if !about.is_file() {
        return Err(refused(Kind::NotAllowed, &"it is no regular file"));
    }
    if ![0, rustix::process::geteuid().as_raw()].contains(&about.uid()) {
        return Err(refused(Kind::NotAllowed, &"it belongs to somebody else"));
    }
    if about.mode() & 0o037 != 0 {
        let cause = format!(
            "its mode {:o} lets others use it; chmod o=,g-w it, and change the PIN",
            about.mode() & 0o7777
        );
        return Err(refused(Kind::NotAllowed, &cause));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE));
    let read = file.take(MAX_FILE as u64).read_to_end(&mut bytes);
    read.map_err(|error| refused(Kind::NotFound, &error))?;
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_prefix(MARK).unwrap_or(line);
    let line = line.strip_suffix(RETURN).unwrap_or(line);
    if line.is_empty() {
        return Err(refused(Kind::NotFound, &"its first line is empty; that is where the PIN stands"));
    }
    let fits = |pin: &&str| pin.len() <= MAX_PIN && !pin.contains(char::is_control);
    let pin = std::str::from_utf8(line).ok().filter(fits);
    let cause = "its first line is no PIN of 1 to 256 bytes in UTF-8, without control characters";
    let pin = pin.ok_or_else(|| refused(Kind::NotFound, &cause))?;
    Ok(Zeroizing::new(pin.to_owned()))
}

/// Waits until nobody else tries the PIN of this file, and keeps others waiting as long as what is returned lives. Slots of one token
/// are asked about at once, each by a helper of its own: what one wrong PIN cost, the next one has to see.
///
/// # Errors
/// Those of the system calls.
pub fn alone_with(path: &str) -> io::Result<File> {
    let file = open(path)?;
    file.lock()?;
    Ok(file)
}

/// A pipe that nobody writes to must not hold up the helper.
fn open(path: &str) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_pin_comes_from_a_file_that_nobody_else_can_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token.pin");
        let text = path.to_str().unwrap();
        assert_eq!(pin_of_file(text).unwrap_err().kind(), Kind::NotFound);
        fs::write(&path, "12 34\nmore\n").unwrap();
        for (mode, kind) in
            [(0o604, Some(Kind::NotAllowed)), (0o620, Some(Kind::NotAllowed)), (0o440, None), (0o400, None)]
        {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(pin_of_file(text).err().map(|refusal| refusal.kind()), kind, "{mode:o}");
        }
        assert_eq!(&**pin_of_file(text).unwrap(), "12 34");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for wrong in
            [vec![b'1'; 257], b"\xff".to_vec(), b"\xff\xfe1\x002\x00\r\x00\n".to_vec(), b"12\t34".to_vec()]
        {
            fs::write(&path, &wrong).unwrap();
            let refusal = pin_of_file(text).unwrap_err();
            assert_eq!(refusal.kind(), Kind::NotFound, "{wrong:?}");
            assert!(refusal.message().contains("no PIN of 1 to 256 bytes"), "{}", refusal.message());
        }
        assert_eq!(pin_of_file(dir.path().to_str().unwrap()).unwrap_err().kind(), Kind::NotAllowed);
        assert_eq!(pin_of_file("token.pin").unwrap_err().kind(), Kind::NotAllowed);
    }

    #[test]
    fn the_end_of_a_pins_line_is_none_of_it_whichever_editor_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token.pin");
        let text = path.to_str().unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for same in ["1234", "1234\n", "1234\r\n", "1234\r", "1234\r\nmore\r\n", "\u{feff}1234\r\n"] {
            fs::write(&path, same).unwrap();
            assert_eq!(&**pin_of_file(text).unwrap(), "1234", "{same:?}");
        }
        let longest = "1".repeat(MAX_PIN);
        fs::write(&path, format!("\u{feff}{longest}\r\n")).unwrap();
        assert_eq!(*pin_of_file(text).unwrap(), longest);
        for empty in ["", "\n", "\r\n", "\n1234", "\u{feff}"] {
            fs::write(&path, empty).unwrap();
            let refusal = pin_of_file(text).unwrap_err();
            assert_eq!(refusal.kind(), Kind::NotFound, "{empty:?}");
            assert!(refusal.message().contains("its first line is empty"), "{}", refusal.message());
        }
    }
}
