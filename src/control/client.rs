//! The operations on a vault as its mount's daemon does them. Each takes a connection of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::connection::{ClientError, Connection, Step};
use super::protocol::{Reply, Request};
use super::registry::Entry;
use crate::events::{EventPage, EventQuery, Principal, Verification};
use crate::fsck::{CheckObserver, CheckProgress, Summary};
use crate::ids::{AliasName, BackingKeyId, Ino, PathText, SlotId, Timestamp};
use crate::keyring::{KeyRef, ManualRotation, Rotation, SlotLabel, Staying, VersionState};
use crate::kms::Call;
use crate::metrics::MetricsReport;
use crate::monitor::{Cancellation, Monitor};
use crate::service::{
    ErrorKind, ErrorReply, FileReencrypted, Inspected, KeyBackupStatus, KmsReply, Operations,
    ReencryptionEnded, Result, Retire, RetireReport, Rewrap, RewrapReport, SlotStatus, Status,
};

/// How long a reply may take; a rotation waits for the disk.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a report for a monitoring system may: what asks for it does so every minute or so.
const METRICS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long that of a KMS operation may: a key that becomes unusable waits until the data of its open files is on disk.
const KMS_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How long a daemon that is busy is asked again, and how often.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// The client of a mount's daemon.
#[derive(Clone, Debug)]
pub struct Client {
    entry: Entry,
}

/// The value of the reply that answers a request; another reply is an error.
macro_rules! answer {
    ($client:ident, $reply:expr, $pattern:pat => $value:expr) => {
        match $reply {
            $pattern => Ok($value),
            _ => Err($client.unexpected()),
        }
    };
}

impl Client {
    /// The client of the daemon that wrote this entry.
    pub fn of(entry: &Entry) -> Self {
        Self { entry: entry.clone() }
    }

    /// The daemon's process id, from the kernel.
    ///
    /// # Errors
    /// It can't be reached.
    pub fn peer(&self) -> std::result::Result<Pid, ClientError> {
        self.connect().map(|connection| connection.peer())
    }

    fn connect(&self) -> std::result::Result<Connection, ClientError> {
        Connection::open(&self.entry)
    }

    /// Asks for what doesn't take long. A daemon that is busy is asked again for a while: it refuses before it has begun
    /// anything.
    fn ask(&self, request: &Request, patience: Duration) -> Result<Reply> {
        let busy_until = Instant::now() + BUSY_PATIENCE;
        loop {
            let deadline = Instant::now() + patience;
            let answered = self.connect()?.converse(request, &mut |reply| match reply {
                Some(reply) => Step::Answer(reply),
                None if Instant::now() < deadline => Step::Wait,
                None => Step::HangUp,
            });
            match answered {
                Err(ClientError::Refused(error))
                    if error.kind == ErrorKind::Busy && Instant::now() < busy_until =>
                {
                    std::thread::sleep(BUSY_PAUSE);
                }
                Err(ClientError::Stopped) => {
                    let waited = format!("no answer in {} s", patience.as_secs());
                    return Err(ClientError::Broken(PathBuf::from("control socket"), waited).into());
                }
                answered => return Ok(answered?),
            }
        }
    }

    /// Asks for long work. Its progress is reported, and while there is none the same again. Cancels it by hanging up.
    fn ask_long(
        &self,
        request: &Request,
        monitor: &mut Monitor<'_>,
    ) -> std::result::Result<Reply, ClientError> {
        self.connect()?.converse(request, &mut |reply| {
            match reply {
                Some(Reply::Progress(progress)) => monitor.report(progress),
                Some(reply) => return Step::Answer(reply),
                None => monitor.keep_alive(),
            }
            Step::of(monitor.cancellation())
        })
    }

    /// The error for a reply that answers another question.
    fn unexpected(&self) -> ErrorReply {
        let at = self.entry.mountpoint.as_path().display();
        let cause = "the daemon answered something else than was asked; is it another version of rekeyfs?";
        ErrorReply::new(ErrorKind::Unreachable, format!("{at}: {cause}"))
    }
}

impl From<ClientError> for ErrorReply {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(error) => error,
            ClientError::Stopped => Self::new(ErrorKind::Stopped, error.to_string()),
            ClientError::Gone(_)
            | ClientError::Connect(..)
            | ClientError::Imposter { .. }
            | ClientError::Ended(_)
            | ClientError::Broken(..) => Self::new(ErrorKind::Unreachable, error.to_string()),
        }
    }
}

impl Operations for Client {
    fn status(&self) -> Result<Status> {
        answer!(self, self.ask(&Request::Status, REPLY_TIMEOUT)?, Reply::Status(status) => *status)
    }

    fn metrics(&self) -> Result<MetricsReport> {
        answer!(self, self.ask(&Request::Metrics, METRICS_TIMEOUT)?, Reply::Metrics(report) => report)
    }

    fn count_files(&self, monitor: &mut Monitor<'_>) -> Result<Status> {
        answer!(self, self.ask_long(&Request::Count, monitor)?, Reply::Status(status) => *status)
    }

    fn key_backup(&self) -> Result<KeyBackupStatus> {
        answer!(self, self.ask(&Request::KeyBackup, REPLY_TIMEOUT)?, Reply::KeyBackup(known) => known)
    }

    fn rotate(&self, target: &KeyRef) -> Result<Rotation> {
        let request = Request::Rotate { target: target.clone() };
        answer!(self, self.ask(&request, REPLY_TIMEOUT)?, Reply::Rotated(rotation) => rotation)
    }

    fn replace_key(&self, alias: &AliasName) -> Result<ManualRotation> {
        let request = Request::RotateNewKey { alias: alias.clone() };
        answer!(self, self.ask(&request, REPLY_TIMEOUT)?, Reply::KeyReplaced(renewal) => renewal)
    }

    fn rotate_due(&self) -> Result<Vec<Rotation>> {
        let reply = self.ask(&Request::RotateDue, REPLY_TIMEOUT)?;
        answer!(self, reply, Reply::RotatedDue { rotated } => rotated)
    }

    fn kms(&self, call: &Call, principal: Option<Principal>, monitor: &mut Monitor<'_>) -> Result<KmsReply> {
        let request = Request::Kms { call: call.clone(), principal };
        let reply = match call {
            Call::ScheduleKeyDeletion { .. } => self.ask_long(&request, monitor)?,
            _ => self.ask(&request, KMS_TIMEOUT)?,
        };
        answer!(self, reply, Reply::Kms(reply) => reply)
    }

    fn retire(&self, order: &Retire, monitor: &mut Monitor<'_>) -> Result<RetireReport> {
        let request = Request::Retire { asked: order.clone() };
        answer!(self, self.ask_long(&request, monitor)?, Reply::Retired(report) => report)
    }

    fn rewrap(&self, order: &Rewrap, monitor: &mut Monitor<'_>) -> Result<RewrapReport> {
        match self.ask_long(&Request::Rewrap(order.clone()), monitor) {
            Err(ClientError::Stopped) => {
                let (versions, staying) = (Vec::new(), Staying::default());
                Ok(RewrapReport { progress: monitor.last(), complete: false, versions, staying })
            }
            reply => answer!(self, reply?, Reply::Rewrapped(report) => report),
        }
    }

    fn rewrap_to(&self, ino: Ino, key_id: &str) -> Result<KmsReply> {
        let request = Request::RewrapTo { ino: ino.0, key_id: key_id.to_owned() };
        answer!(self, self.ask(&request, REPLY_TIMEOUT)?, Reply::Kms(reply) => reply)
    }

    fn reencrypt(
        &self,
        ino: Ino,
        before: Option<Timestamp>,
        monitor: &mut Monitor<'_>,
    ) -> Result<FileReencrypted> {
        match self.ask_long(&Request::Reencrypt { ino: ino.0, before }, monitor) {
            Err(ClientError::Stopped) => Ok(FileReencrypted::Stopped),
            reply => answer!(self, reply?, Reply::Reencrypted { outcome } => outcome),
        }
    }

    fn note_reencryption(&self, ended: Option<ReencryptionEnded>) -> Result<()> {
        let request = Request::NoteReencryption { ended };
        answer!(self, self.ask(&request, REPLY_TIMEOUT)?, Reply::Noted => ())
    }

    fn inspect(&self, ino: Ino) -> Result<Inspected> {
        let request = Request::Inspect { ino: ino.0 };
        answer!(self, self.ask(&request, REPLY_TIMEOUT)?, Reply::Inspected(inspected) => inspected)
    }

    fn inspect_files(&self, inos: &[Ino]) -> Result<Vec<Option<Inspected>>> {
        let request = Request::InspectFiles { inos: inos.iter().map(|ino| ino.0).collect() };
        answer!(self, self.ask(&request, REPLY_TIMEOUT)?, Reply::InspectedFiles { files } => files)
    }

    fn version_state(&self, backing: BackingKeyId) -> Result<VersionState> {
        let request = Request::VersionState { key_id: backing.key, version: backing.version };
        answer!(self, self.ask(&request, REPLY_TIMEOUT)?, Reply::VersionState(state) => state)
    }

    fn fsck(
        &self,
        path: Option<&PathText>,
        cancellation: &Cancellation,
        watch: &mut dyn CheckObserver,
    ) -> Result<Summary> {
        let (mut seen, mut last) = (Summary::default(), CheckProgress::default());
        let request = Request::Fsck { path: path.cloned() };
        let reply = self.connect()?.converse(&request, &mut |reply| {
            match reply {
                Some(Reply::Found(finding)) => {
                    seen.count(&finding);
                    watch.found(&finding);
                }
                Some(Reply::Checking(progress)) => {
                    (seen.files, seen.bytes) = (progress.files, progress.bytes);
                    last = progress;
                }
                Some(reply) => return Step::Answer(reply),
                None => {}
            }
            watch.progress(last);
            Step::of(cancellation)
        });
        match reply {
            Err(ClientError::Stopped) => Ok(Summary { complete: false, ..seen }),
            reply => answer!(self, reply?, Reply::Checked(summary) => *summary),
        }
    }

    fn plain_names(&self, paths: &[String]) -> Result<Vec<Option<PathText>>> {
        let request = Request::PlainNames { paths: paths.to_vec() };
        answer!(self, self.ask(&request, REPLY_TIMEOUT)?, Reply::PlainNames { names } => names)
    }

    fn evict_reader(&self, host: &str) -> Result<Vec<u8>> {
        let reply = self.ask(&Request::EvictReader { host: host.to_owned() }, REPLY_TIMEOUT)?;
        answer!(self, reply, Reply::ReaderEvicted { slots } => slots)
    }

    fn slot_labels(&self) -> Result<Vec<(SlotId, SlotLabel)>> {
        answer!(self, self.ask(&Request::SlotLabels, REPLY_TIMEOUT)?, Reply::SlotLabels { labels } => labels)
    }

    fn slots(&self) -> Result<Vec<SlotStatus>> {
        answer!(self, self.ask(&Request::Slots, REPLY_TIMEOUT)?, Reply::Slots { slots } => slots)
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage> {
        let request = Request::Events { query: query.clone() };
        answer!(self, self.ask(&request, REPLY_TIMEOUT)?, Reply::Events(page) => *page)
    }

    fn rotate_events(&self) -> Result<String> {
        let reply = self.ask(&Request::RotateEvents, REPLY_TIMEOUT)?;
        answer!(self, reply, Reply::EventsRotated { closed } => closed)
    }

    fn prune_events(&self, keep: usize) -> Result<Vec<String>> {
        let reply = self.ask(&Request::PruneEvents { keep }, REPLY_TIMEOUT)?;
        answer!(self, reply, Reply::EventsPruned { removed } => removed)
    }

    fn verify_events(&self) -> Result<Verification> {
        let reply = self.ask(&Request::VerifyEvents, REPLY_TIMEOUT)?;
        answer!(self, reply, Reply::EventsVerified(found) => found)
    }
}
