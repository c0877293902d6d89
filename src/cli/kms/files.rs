//! `file://PATH` and `fileb://PATH` in the place of a value: the content of a file, as the AWS CLI takes it. What begins
//! otherwise, `https://` too, is the value itself.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cli::exit::{Exit, Failure, Outcome};

/// The largest file that is taken, in bytes: no parameter of the KMS interface is as large.
const SIZE_MAX: u64 = 1 << 20;

/// A value, or the text in the file that it names.
///
/// # Errors
/// [`Exit::Usage`] if the file can't be read, is large, or isn't UTF-8.
pub(super) fn text(value: &str) -> Outcome<Cow<'_, str>> {
    let Some(path) = value.strip_prefix("file://").or_else(|| value.strip_prefix("fileb://")) else {
        return Ok(Cow::Borrowed(value));
    };
    let path = at_home(path);
    String::from_utf8(content(&path)?).map(Cow::Owned).map_err(|_| {
        let cause = "it isn't UTF-8; a parameter that is bytes takes fileb://PATH";
        Failure::new(Exit::Usage, path.display(), cause)
    })
}

/// The bytes of the file, if the value names one as bytes.
///
/// # Errors
/// [`Exit::Usage`] if it can't be read or is large.
pub(super) fn bytes(value: &str) -> Outcome<Option<Vec<u8>>> {
    value.strip_prefix("fileb://").map(|path| content(&at_home(path))).transpose()
}

fn content(path: &Path) -> Outcome<Vec<u8>> {
    let failed = |error: std::io::Error| Failure::new(Exit::Usage, path.display(), error);
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(SIZE_MAX + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > SIZE_MAX {
        return Err(Failure::new(
            Exit::Usage,
            path.display(),
            "it is larger than 1 MiB, which no parameter is",
        ));
    }
    Ok(content)
}

/// A path, with the user's home for `~/`, which no shell sees after `file://`.
fn at_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}
