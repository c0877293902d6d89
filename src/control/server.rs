//! The daemon's side: accepts, checks who asks, runs the request, answers. One thread a connection, few
//! connections at a time.

use std::collections::HashMap;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::endpoint::Endpoint;
use super::keeper::Keeper;
use super::protocol::{MAX_REPLY, MAX_REQUEST, Reply, Request};
use super::wire::{self, LineReader, WireError};
use crate::events::Actor;
use crate::fsck::{self, CheckObserver, Finding};
use crate::ids::{BackingKeyId, Ino};
use crate::kms;
use crate::monitor::{Cancellation, Monitor};
use crate::service::{ErrorKind, ErrorReply, INSPECTED_TOGETHER, KmsReply, Operations};

/// Connections served at a time; one more gets the answer that the daemon is busy.
const MAX_CONNECTIONS: usize = 16;
/// How long a client may take to send its request, or to read an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Progress lines are sent no more often than this.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// How long nothing is accepted after accept(2) failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Cancels all long work on the vault, also what no client asked for.
pub type Stop = Box<dyn Fn() + Send + Sync>;

/// Serves `operations` at `endpoint` on threads of its own, until the [`Server`] is dropped, which calls `stop` first.
///
/// # Errors
/// If the first thread can't be started.
pub fn serve(endpoint: Endpoint, operations: Arc<dyn Operations>, stop: Stop) -> std::io::Result<Server> {
    let (stopping, live) = (Cancellation::default(), Mutex::default());
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let socket = Mutex::new(endpoint.socket().to_owned());
    let shared = Arc::new(Shared { socket, wake, operations, stop, stopping, live });
    let acceptor = std::thread::Builder::new().name("control".into()).spawn({
        let shared = Arc::clone(&shared);
        move || accept_loop(&shared, endpoint)
    })?;
    Ok(Server { shared, acceptor: Some(acceptor) })
}

/// A control server that runs. Dropping it stops sweeps that clients asked for, waits for requests under
/// way, and removes socket and registry file.
pub struct Server {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<Endpoint>>,
}

impl Server {
    /// Where its socket is now.
    pub fn socket(&self) -> PathBuf {
        self.shared.socket.lock().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
        (self.shared.stop)();
        let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
        let endpoint = self.acceptor.take().and_then(|acceptor| acceptor.join().ok());
        let connections: Vec<Connection> = self.shared.live.lock().drain().map(|(_, c)| c).collect();
        for connection in connections {
            // Replies still go out; a request that hasn't come by now doesn't come.
            let _ = connection.stream.shutdown(Shutdown::Read);
            if let Some(thread) = connection.thread {
                let _ = thread.join();
            }
        }
        if let Some(endpoint) = endpoint {
            endpoint.remove();
        }
    }
}

struct Shared {
    /// Where the socket is; it may have to be made again elsewhere.
    socket: Mutex<PathBuf>,
    /// Readable once the server is to end.
    wake: OwnedFd,
    operations: Arc<dyn Operations>,
    stop: Stop,
    /// Of all requests under way.
    stopping: Cancellation,
    live: Mutex<HashMap<u64, Connection>>,
}

struct Connection {
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// Serves clients and keeps the endpoint reachable, until the server is to end.
fn accept_loop(shared: &Arc<Shared>, mut endpoint: Endpoint) -> Endpoint {
    let mut number = 0;
    let mut keeper = Keeper::of(&endpoint);
    loop {
        let (client, event) = wait(shared, &endpoint, &keeper);
        if shared.stopping.is_cancelled() {
            return endpoint;
        }
        if client {
            accept(shared, &endpoint, &mut number);
        }
        if event {
            keeper.noticed();
        }
        if keeper.look(&mut endpoint) {
            endpoint.socket().clone_into(&mut shared.socket.lock());
        }
    }
}

/// Waits for a client or for the keeper; whether either is there.
fn wait(shared: &Shared, endpoint: &Endpoint, keeper: &Keeper) -> (bool, bool) {
    let mut fds =
        vec![PollFd::new(&shared.wake, PollFlags::IN), PollFd::new(endpoint.listener(), PollFlags::IN)];
    fds.extend(keeper.events());
    let patience = Timespec::try_from(keeper.patience()).ok();
    if let Err(error) = poll(&mut fds, patience.as_ref())
        && error != Errno::INTR
    {
        tracing::warn!("control socket: poll: {error}");
        std::thread::sleep(ACCEPT_PAUSE);
    }
    let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
    (fds.get(1).is_some_and(ready), fds.iter().skip(2).any(ready))
}

fn accept(shared: &Arc<Shared>, endpoint: &Endpoint, number: &mut u64) {
    match endpoint.listener().accept() {
        Ok((stream, _)) => {
            *number += 1;
            if let Err(error) = start(shared, *number, stream) {
                tracing::warn!("control socket: a client could not be served: {error}");
            }
        }
        // The client is gone again.
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        Err(error) => {
            tracing::warn!("control socket: accept: {error}");
            // Out of descriptors, say: that passes, and must not spin.
            std::thread::sleep(ACCEPT_PAUSE);
        }
    }
}

fn start(shared: &Arc<Shared>, number: u64, mut stream: UnixStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    if !peer_may_ask(&stream) {
        let message = "control socket: only the owner of the mount and root are served; ask as one of them";
        let _ =
            wire::send(&mut stream, &Reply::Refused(ErrorReply::new(ErrorKind::Denied, message)), MAX_REPLY);
        return Ok(());
    }
    let mut live = shared.live.lock();
    if live.len() >= MAX_CONNECTIONS {
        drop(live);
        let message = "control socket: too many requests at a time; try again later";
        let _ =
            wire::send(&mut stream, &Reply::Refused(ErrorReply::new(ErrorKind::Busy, message)), MAX_REPLY);
        return Ok(());
    }
    live.insert(number, Connection { stream: stream.try_clone()?, thread: None });
    // The lock is held over the start, so that the thread can't take its entry out before it is complete.
    let started = std::thread::Builder::new().name("control-client".into()).spawn({
        let shared = Arc::clone(shared);
        move || {
            answer(&shared, stream);
            shared.live.lock().remove(&number);
        }
    });
    match started {
        Ok(thread) => {
            if let Some(connection) = live.get_mut(&number) {
                connection.thread = Some(thread);
            }
            Ok(())
        }
        Err(error) => {
            live.remove(&number);
            Err(error)
        }
    }
}

fn peer_may_ask(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

fn answer(shared: &Shared, mut stream: UnixStream) {
    let _acting = rustix::net::sockopt::socket_peercred(&stream).ok().map(|peer| {
        let pid = peer.pid.as_raw_nonzero().get().unsigned_abs();
        Actor::of(peer.uid.as_raw(), pid).act()
    });
    let request = match stream.try_clone() {
        Ok(clone) => LineReader::new(clone, MAX_REQUEST).next_line().and_then(|line| wire::decode(&line)),
        Err(error) => Err(WireError::Io(error)),
    };
    let reply = match request {
        Ok(request) => catch_unwind(AssertUnwindSafe(|| perform(shared, &request, &mut stream)))
            .unwrap_or_else(|_| {
                let message = "control socket: the daemon met a bug and continues; its log says which";
                Reply::Refused(ErrorReply::new(ErrorKind::Other, message))
            }),
        Err(WireError::Closed) => return,
        Err(error @ WireError::Protocol(_)) => Reply::Refused(ErrorReply::new(
            ErrorKind::Protocol,
            format!(
                "control socket: {error}; use the version of rekeyfs that made the mount, or mount again"
            ),
        )),
        Err(error) => {
            Reply::Refused(ErrorReply::new(ErrorKind::BadRequest, format!("control socket: {error}")))
        }
    };
    if let Err(error) = send_answer(&mut stream, &reply, MAX_REPLY) {
        tracing::debug!("control socket: the client is gone: {error}");
    }
    if let Reply::Kms(KmsReply::Done { mut answer }) = reply {
        kms::wipe(&mut answer);
    }
}

/// Sends the answer. In the place of one that is too long the client is told that it is: to hang up would say that the daemon
/// ended.
pub(super) fn send_answer(to: &mut impl Write, reply: &Reply, longest: usize) -> Result<(), WireError> {
    match wire::send(to, reply, longest) {
        Err(error @ WireError::TooLong(_)) => {
            let message = format!("control socket: the answer is {error}; unmount the vault, and ask again");
            wire::send(to, &Reply::Refused(ErrorReply::new(ErrorKind::Other, message)), longest)
        }
        sent => sent,
    }
}

/// Sends the client of long work its progress, and the findings of a check. A client that hangs up cancels it.
struct Reporter<'a> {
    stream: &'a mut UnixStream,
    sent: Option<Instant>,
    cancellation: Cancellation,
}

impl Reporter<'_> {
    fn send(&mut self, reply: &Reply) {
        if wire::send(self.stream, reply, MAX_REPLY).is_err() {
            self.cancellation.cancel();
        }
    }

    /// Sends it unless something was sent a moment ago.
    fn send_progress(&mut self, reply: &Reply) {
        if !self.cancellation.is_cancelled() && self.sent.is_none_or(|at| at.elapsed() >= PROGRESS_INTERVAL) {
            self.sent = Some(Instant::now());
            self.send(reply);
        }
    }
}

impl CheckObserver for Reporter<'_> {
    fn found(&mut self, finding: &Finding) {
        self.send(&Reply::Found(Box::new(finding.clone())));
    }

    fn progress(&mut self, progress: fsck::CheckProgress) {
        self.send_progress(&Reply::Checking(progress));
    }
}

fn perform(shared: &Shared, request: &Request, stream: &mut UnixStream) -> Reply {
    let operations = &shared.operations;
    let cancellation = Cancellation::linked_to(&[&shared.stopping]);
    let mut reporter = Reporter { stream, sent: None, cancellation: cancellation.clone() };
    let mut receiver = |progress| reporter.send_progress(&Reply::Progress(progress));
    let monitor = &mut Monitor::new(&cancellation, &mut receiver);
    let done = match request {
        Request::Status => operations.status().map(|status| Reply::Status(Box::new(status))),
        Request::Metrics => operations.metrics().map(Reply::Metrics),
        Request::KeyBackup => operations.key_backup().map(Reply::KeyBackup),
        Request::Rotate { target } => operations.rotate(target).map(Reply::Rotated),
        Request::RotateNewKey { alias } => operations.replace_key(alias).map(Reply::KeyReplaced),
        Request::RotateDue => operations.rotate_due().map(|rotated| Reply::RotatedDue { rotated }),
        Request::Kms { call, principal } => operations.kms(call, *principal, monitor).map(Reply::Kms),
        Request::PlainNames { paths } => {
            operations.plain_names(paths).map(|names| Reply::PlainNames { names })
        }
        Request::VerifyEvents => operations.verify_events().map(Reply::EventsVerified),
        Request::EvictReader { host } => {
            operations.evict_reader(host).map(|slots| Reply::ReaderEvicted { slots })
        }
        Request::SlotLabels => operations.slot_labels().map(|labels| Reply::SlotLabels { labels }),
        Request::Slots => operations.slots().map(|slots| Reply::Slots { slots }),
        Request::Events { query } => operations.events(query).map(|page| Reply::Events(Box::new(page))),
        Request::RotateEvents => operations.rotate_events().map(|closed| Reply::EventsRotated { closed }),
        Request::PruneEvents { keep } => {
            operations.prune_events(*keep).map(|removed| Reply::EventsPruned { removed })
        }
        Request::Count => operations.count_files(monitor).map(|status| Reply::Status(Box::new(status))),
        Request::Reencrypt { ino, before } => {
            operations.reencrypt(Ino(*ino), *before, monitor).map(|outcome| Reply::Reencrypted { outcome })
        }
        Request::NoteReencryption { ended } => operations.note_reencryption(*ended).map(|()| Reply::Noted),
        Request::RewrapTo { ino, key_id } => operations.rewrap_to(Ino(*ino), key_id).map(Reply::Kms),
        Request::Inspect { ino } => operations.inspect(Ino(*ino)).map(Reply::Inspected),
        Request::InspectFiles { inos } => {
            let inos: Vec<Ino> = inos.iter().take(INSPECTED_TOGETHER).copied().map(Ino).collect();
            operations.inspect_files(&inos).map(|files| Reply::InspectedFiles { files })
        }
        Request::VersionState { key_id, version } => {
            let backing = BackingKeyId { key: *key_id, version: *version };
            operations.version_state(backing).map(Reply::VersionState)
        }
        Request::Retire { asked } => operations.retire(asked, monitor).map(Reply::Retired),
        Request::Rewrap(asked) => operations.rewrap(asked, monitor).map(Reply::Rewrapped),
        Request::Fsck { path } => {
            let checked = operations.fsck(path.as_ref(), &cancellation, &mut reporter);
            checked.map(|summary| Reply::Checked(Box::new(summary)))
        }
    };
    done.unwrap_or_else(Reply::Refused)
}
