//! The credentials of an endpoint: a file that only its owner can read, a line for each:
//!
//! ```text
//! ACCESS_KEY_ID SECRET_ACCESS_KEY PRINCIPAL [read-only]
//! ```
//!
//! PRINCIPAL is `admin`, who manages keys, or `uid:NUMBER`, who uses them as their policies allow. Lines that begin with `#` and empty
//! ones don't count. The file is read again when it has changed, so that a line that is taken out opens nothing from then
//! on; while it can't be read or has a line that isn't understood, no credentials are good. Times on a filesystem are as coarse as
//! its clock, so a file that was just changed when it was read may change again without a trace: it is read each time until its last
//! change is older than [`SETTLED_AFTER`].
//!
//! A file that doesn't end with a line's end is being written, or was cut off: what is there of its last line may have more
//! rights than the whole (`read-only` missing, `uid:1` of `uid:1000`). It isn't understood either, nor is one over
//! [`MAX_LEN`].

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::{BASE32_NOPAD, BASE64};
use rekeyfs::console::Principal;
use rekeyfs::crypto::random;
use rekeyfs::storage::walk;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::sigv4::SecretKey;

/// The longest file that is read, in bytes.
const MAX_LEN: u64 = 1 << 20;
/// The mode of a file that is made.
const MODE: u32 = 0o600;
/// How long after a change a file's times tell a later one from it: FAT, the coarsest, counts in two seconds.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Mode bits that let others read or write.
const OPEN_TO_OTHERS: u32 = 0o077;
/// What the access key ids that are made begin with.
const ID_PREFIX: &str = "RKFS";

/// What may be done with an access key.
#[derive(Clone)]
pub(crate) struct Grant {
    pub(crate) secret: SecretKey,
    pub(crate) principal: Principal,
    /// It changes nothing.
    pub(crate) read_only: bool,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// A system call on the file.
    #[error("{path}: {1}; {remedy}", path = .0.display(), remedy = remedy(.1))]
    Io(PathBuf, io::Error),
    /// Others could read or change it.
    #[error("{path}: {1}; only its owner may have access to it (mode 600), in a directory that others can't write in", path = .0.display())]
    Exposed(PathBuf, String),
    /// A line isn't understood.
    #[error("{path}:{1}: {2}; a line is ACCESS_KEY_ID SECRET_ACCESS_KEY admin|uid:NUMBER [read-only]", path = .0.display())]
    Line(PathBuf, usize, &'static str),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "make one with `rekeyfs kms serve --new-credentials`",
        _ => "mend that, or name another file with --credentials",
    }
}

type Grants = HashMap<String, Grant>;

/// The file, as it was last read.
pub(crate) struct Credentials {
    path: PathBuf,
    read: Mutex<Option<(Stamp, Arc<Grants>)>>,
}

/// By what a changed file is known.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    ino: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Credentials {
    pub(crate) fn of(path: PathBuf) -> Self {
        Self { path, read: Mutex::new(None) }
    }

    /// Reads the file, so that what is wrong with it is seen at once.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub(crate) fn check(&self) -> Result<usize, CredentialsError> {
        self.current().map(|grants| grants.len())
    }

    /// What may be done with an access key, as the file says now.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub(crate) fn grant(&self, access_key: &str) -> Result<Option<Grant>, CredentialsError> {
        Ok(self.current()?.get(access_key).cloned())
    }

    fn current(&self) -> Result<Arc<Grants>, CredentialsError> {
        let failed = |error| CredentialsError::Io(self.path.clone(), error);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let file = open_closed(&self.path, OpenOptions::new().read(true))?;
        let stamp = Stamp::of(&file).map_err(failed)?;
        if let Some((known, grants)) = &*read
            && *known == stamp
        {
            return Ok(Arc::clone(grants));
        }
        let before = SystemTime::now();
        // What was read before counts no more, also if this fails.
        *read = None;
        let mut text = Zeroizing::new(String::new());
        read_whole(&file, &mut text).map_err(failed)?;
        let grants = check_whole(&text).and_then(|()| parse(&text));
        let grants = grants.map_err(|(line, what)| CredentialsError::Line(self.path.clone(), line, what))?;
        let grants = Arc::new(grants);
        // None, if what was read may be of before a change that the stamp doesn't show.
        *read = stamp.is_settled(before).then(|| (stamp, Arc::clone(&grants)));
        Ok(grants)
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            ino: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// Whether a change after `now` shows in it. One whose time is to come, by another machine's clock, never is.
    fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        [self.modified, self.changed].iter().all(|(seconds, nanos)| {
            let nanos = Duration::from_nanos(nanos.unsigned_abs());
            let at = Duration::from_secs(u64::try_from(*seconds).unwrap_or(0)) + nanos;
            now.checked_sub(at).is_some_and(|age| age >= SETTLED_AFTER)
        })
    }
}

/// Opens a file that nobody else can read, change or put another in the place of.
fn open_closed(path: &Path, how: &mut OpenOptions) -> Result<File, CredentialsError> {
    let failed = |error| CredentialsError::Io(path.to_owned(), error);
    let exposed = |what: &str| CredentialsError::Exposed(path.to_owned(), what.to_owned());
    let me = geteuid().as_raw();
    let walked = walk(path, me).map_err(failed)?;
    if let Some(at) = walked.exposed() {
        return Err(exposed(&format!("others can write in {}", at.display())));
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = how.custom_flags(flags).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(exposed("not a file"));
    }
    if meta.uid() != me && meta.uid() != 0 {
        return Err(exposed("another user's file"));
    }
    if meta.mode() & OPEN_TO_OTHERS != 0 {
        return Err(exposed("others can read or write it"));
    }
    Ok(file)
}

/// The text of a file of at most [`MAX_LEN`] bytes.
fn read_whole(file: &File, text: &mut String) -> io::Result<()> {
    file.take(MAX_LEN + 1).read_to_string(text)?;
    if text.len() as u64 > MAX_LEN { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
}

/// Whether the last line has its end.
fn check_whole(text: &str) -> Result<(), (usize, &'static str)> {
    if text.is_empty() || text.ends_with('\n') {
        Ok(())
    } else {
        Err((text.lines().count(), "it has no line's end, so it may not be whole"))
    }
}

/// The grants of a file's text; or the number of a line, and what is wrong with it.
fn parse(text: &str) -> Result<Grants, (usize, &'static str)> {
    let mut grants = Grants::new();
    for (at, line) in text.lines().enumerate() {
        let wrong = |what| (at + 1, what);
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (access_key, secret, principal, rest) = match words[..] {
            [access_key, secret, principal, ref rest @ ..] => (access_key, secret, principal, rest),
            _ => return Err(wrong("it has fewer than three words")),
        };
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !(16..=128).contains(&access_key.len()) || !access_key.bytes().all(is_id) {
            return Err(wrong("an access key id has 16 to 128 letters and digits"));
        }
        if secret.len() < 32 {
            return Err(wrong("a secret access key has 32 characters or more"));
        }
        let principal =
            principal.parse().map_err(|_| wrong("its principal is neither admin nor uid:NUMBER"))?;
        let read_only = match rest {
            [] => false,
            ["read-only"] => true,
            _ => return Err(wrong("what follows the principal isn't read-only")),
        };
        let grant = Grant { secret: SecretKey::new(secret.to_owned()), principal, read_only };
        if grants.insert(access_key.to_owned(), grant).is_some() {
            return Err(wrong("its access key id is there twice"));
        }
    }
    Ok(grants)
}

/// An access key that was made.
pub(crate) struct NewKey {
    pub(crate) access_key: String,
    pub(crate) secret: Zeroizing<String>,
}

/// Makes an access key and adds it to the file, which is made if need be, as is the directory that it lies in. It is
/// durable when this returns.
///
/// # Errors
/// [`CredentialsError`]; also if the file has a line that isn't understood: the endpoint would refuse it.
pub(crate) fn add(path: &Path, principal: Principal, read_only: bool) -> Result<NewKey, CredentialsError> {
    let failed = |error| CredentialsError::Io(path.to_owned(), error);
    if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
        std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
            .create(dir)
            .map_err(failed)?;
    }
    let mut file = open_closed(path, OpenOptions::new().read(true).append(true).create(true).mode(MODE))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    let mut text = Zeroizing::new(String::new());
    read_whole(&file, &mut text).map_err(failed)?;
    parse(&text).map_err(|(line, what)| CredentialsError::Line(path.to_owned(), line, what))?;
    let made = NewKey {
        access_key: format!("{ID_PREFIX}{}", BASE32_NOPAD.encode(&random::array::<10>())),
        secret: {
            let mut bytes = Zeroizing::new([0; 30]);
            random::fill(bytes.as_mut_slice());
            Zeroizing::new(BASE64.encode(bytes.as_slice()))
        },
    };
    let begin = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let end = if read_only { " read-only" } else { "" };
    let line = format!("{begin}{} {} {principal}{end}\n", made.access_key, made.secret.as_str());
    file.write_all(Zeroizing::new(line).as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(made)
}

#[cfg(test)]
mod tests;
