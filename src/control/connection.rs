//! A connection to a daemon: one request, the replies to it.
//!
//! A request goes to a process of the user whose mount it is for, which the kernel vouches for (SO_PEERCRED), or it
//! isn't sent. Between processes of that user nothing is told apart: what one of them can open, the others can. A
//! daemon has nothing to prove more with to a client that has no secret of the vault, and a client that has one gives
//! it to the keyring and not to the daemon. So what passes is at most a secret of the user whose mount was named:
//! imported key material, wrapped for that daemon alone.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

use super::protocol::{MAX_REPLY, MAX_REQUEST, Reply, Request};
use super::registry::Entry;
use super::wire::{self, LineReader, WireError};
use crate::ids::PathText;
use crate::monitor::Cancellation;
use crate::service::ErrorReply;

/// How long a daemon may take to read a request.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a waiting client looks whether it is to stop.
const POLL: Duration = Duration::from_millis(200);

/// Why a request had no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: the daemon is gone.
    #[error("{}: no daemon listens here; its mount was ended or it died", .0.display())]
    Gone(PathBuf),
    /// The socket couldn't be reached.
    #[error("{path}: {1}", path = .0.display())]
    Connect(PathBuf, std::io::Error),
    /// Someone else listens there.
    #[error("{path}: a process of uid {found} listens there, and the mount is uid {owner}'s: nothing was sent",
        path = .path.display())]
    Imposter {
        /// The socket.
        path: PathBuf,
        /// Whose process it is.
        found: u32,
        /// Whose it should be.
        owner: u32,
    },
    /// The daemon said no.
    #[error("{0}")]
    Refused(ErrorReply),
    /// The daemon was reached, and hung up without an answer: it is ending, or died.
    #[error("{}: the daemon ended before it answered: its mount was ended or it died; what was asked may have been done or not: \
             see `rekeyfs status`, and mount the vault again if it isn't", .0.as_path().display())]
    Ended(PathText),
    /// The connection broke, or the other side doesn't speak this protocol.
    #[error("{path}: {1}; see whether the daemon still runs", path = .0.display())]
    Broken(PathBuf, String),
    /// The caller wanted no more.
    #[error("stopped")]
    Stopped,
}

/// What a client does about a reply, or about none within 200 ms.
pub(super) enum Step {
    /// Waits for the next reply.
    Wait,
    /// Takes this one for the answer.
    Answer(Reply),
    /// Hangs up, which cancels the daemon's work.
    HangUp,
}

impl Step {
    /// Waits until it is cancelled.
    pub(super) fn of(cancellation: &Cancellation) -> Self {
        if cancellation.is_cancelled() { Self::HangUp } else { Self::Wait }
    }
}

/// A connection to a daemon, for one request.
pub(super) struct Connection {
    stream: UnixStream,
    entry: Entry,
    peer: Pid,
}

impl Connection {
    /// Connects to the socket that an entry names, at which a process of its owner is to listen.
    ///
    /// # Errors
    /// [`ClientError::Gone`] if nobody listens there, [`ClientError::Imposter`] if someone else does,
    /// [`ClientError::Connect`] otherwise.
    pub(super) fn open(entry: &Entry) -> Result<Self, ClientError> {
        let (path, owner) = (&entry.socket, entry.owner);
        let connect = |error| ClientError::Connect(path.to_owned(), error);
        let stream = super::registry::connect_at(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                ClientError::Gone(path.to_owned())
            }
            _ => connect(error),
        })?;
        stream.set_read_timeout(Some(POLL)).map_err(connect)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT)).map_err(connect)?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(|errno| connect(errno.into()))?;
        let found = peer.uid.as_raw();
        if found != owner {
            return Err(ClientError::Imposter { path: path.to_owned(), found, owner });
        }
        Ok(Self { stream, entry: entry.clone(), peer: peer.pid })
    }

    /// The daemon's process id, from the kernel.
    pub(super) fn peer(&self) -> Pid {
        self.peer
    }

    /// Sends the one request of this connection and waits for its answer. `next` gets each reply, and none every
    /// 200 ms in which there was no reply.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with what the daemon said; [`ClientError::Broken`]; [`ClientError::Stopped`] when
    /// `next` hung up.
    pub(super) fn converse(
        mut self,
        request: &Request,
        next: &mut dyn FnMut(Option<Reply>) -> Step,
    ) -> Result<Reply, ClientError> {
        let Entry { socket, mountpoint, .. } = self.entry.clone();
        let broken = |error: WireError| {
            if error.is_end() {
                ClientError::Ended(mountpoint.clone())
            } else {
                ClientError::Broken(socket.clone(), error.to_string())
            }
        };
        // The daemon may have refused before it read the request; its reason is then waiting to be read.
        let sent = wire::send(&mut self.stream, request, MAX_REQUEST);
        let mut lines = LineReader::new(&self.stream, MAX_REPLY);
        loop {
            let reply = match lines.next_line() {
                Err(WireError::TimedOut) => None,
                Err(error) => return Err(broken(sent.err().unwrap_or(error))),
                Ok(line) => Some(wire::decode(&line).map_err(&broken)?),
            };
            if let Some(Reply::Refused(error)) = reply {
                return Err(ClientError::Refused(error));
            }
            match next(reply) {
                Step::Wait => {}
                Step::Answer(answer) => return Ok(answer),
                Step::HangUp => return Err(ClientError::Stopped),
            }
        }
    }
}
