//! `file://PATH` and `fileb://PATH` in the place of a value: the content of a file, as the AWS CLI takes it. What begins
//! otherwise, `https://` too, is the value itself. A path's `~`, `$NAME` and `${NAME}` are expanded, which no shell sees behind
//! `file://`; those that aren't known stay as they are.

use std::borrow::Cow;
use std::ffi::OsString;
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
    let path = expanded(path);
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
    value.strip_prefix("fileb://").map(|path| content(&expanded(path))).transpose()
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

/// A path, expanded as Python's `expanduser` and `expandvars` do; of homes only the user's own, in which a `$` is no variable.
fn expanded(path: &str) -> PathBuf {
    expanded_with(path, |name| std::env::var_os(name))
}

fn expanded_with(path: &str, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let home = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let (mut out, mut rest) = match (home, variable("HOME")) {
        (Some(rest), Some(home)) => (home, rest),
        _ => (OsString::new(), path),
    };
    while let Some(at) = rest.find('$') {
        let (before, name) = rest.split_at(at);
        out.push(before);
        let (name, whole) = match name[1..].strip_prefix('{').and_then(|name| name.split_once('}')) {
            Some((name, _)) => (name, name.len() + 3),
            None => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = name[1..].find(|c| !is_name(c)).unwrap_or(name.len() - 1);
                (&name[1..=end], end + 1)
            }
        };
        match variable(name).filter(|_| !name.is_empty()) {
            Some(value) => out.push(value),
            None => out.push(&rest[at..at + whole]),
        }
        rest = &rest[at + whole..];
    }
    out.push(rest);
    PathBuf::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `os.path.expandvars(os.path.expanduser(path))` of Python 3.11 has them, but for the home.
    #[test]
    fn paths_are_expanded_as_the_aws_command_does() {
        let variable = |name: &str| match name {
            "HOME" => Some("/home/$A".into()),
            "A" => Some("a b".into()),
            "odd name" => Some("odd".into()),
            _ => None,
        };
        for (path, expected) in [
            ("~/x", "/home/$A/x"),
            ("~", "/home/$A"),
            ("~nobody-else/x", "~nobody-else/x"),
            ("x/~/y", "x/~/y"),
            ("$A/${A}.json", "a b/a b.json"),
            ("$AB/$B/${B}", "$AB/$B/${B}"),
            ("${odd name}", "odd"),
            ("$$A $ ${ ${} $-", "$a b $ ${ ${} $-"),
            ("ü$A$ü", "üa b$ü"),
        ] {
            assert_eq!(expanded_with(path, variable), PathBuf::from(expected), "{path}");
        }
    }
}
