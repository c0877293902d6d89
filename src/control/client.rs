//! The command's side of the control socket.
//!
//! A request goes to a process of the user whose mount it is for, which the kernel vouches for (SO_PEERCRED), or it
//! isn't sent. Between processes of that user nothing is told apart: what one of them can open, the others can. A
//! daemon has nothing to prove more with to a client that has no secret of the vault, and a client that has one gives
//! it to the keyring and not to the daemon. So what passes is at most a secret of the user whose mount was named:
//! imported key material, wrapped for that daemon alone.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::protocol::{Reply, Request};
use super::wire::{self, LineReader, WireError};
use crate::service::{ErrorReply, Progress};

/// How long a reply may take; a rotation waits for the disk.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long that of a KMS operation may: a key that goes waits until the data of its open files is on disk.
const KMS_TIMEOUT: Duration = Duration::from_secs(60 * 60);
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
    /// The connection broke, or the other side doesn't speak this protocol.
    #[error("{path}: {1}; see whether the daemon still runs", path = .0.display())]
    Broken(PathBuf, String),
    /// The caller wanted no more.
    #[error("stopped")]
    Stopped,
}

/// A connection to a daemon, for one request.
pub struct Client {
    stream: UnixStream,
    socket: PathBuf,
    peer: Pid,
}

impl Client {
    /// Connects to the socket at `path`, at which a process of the user `owner` is to listen.
    ///
    /// # Errors
    /// [`ClientError::Gone`] if nobody listens there, [`ClientError::Imposter`] if someone else does,
    /// [`ClientError::Connect`] otherwise.
    pub fn connect(path: &Path, owner: u32) -> Result<Self, ClientError> {
        let connect = |error| ClientError::Connect(path.to_owned(), error);
        let stream = super::registry::connect_at(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                ClientError::Gone(path.to_owned())
            }
            _ => connect(error),
        })?;
        stream.set_read_timeout(Some(POLL)).map_err(connect)?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT)).map_err(connect)?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(|errno| connect(errno.into()))?;
        let found = peer.uid.as_raw();
        if found != owner {
            return Err(ClientError::Imposter { path: path.to_owned(), found, owner });
        }
        Ok(Self { stream, socket: path.to_owned(), peer: peer.pid })
    }

    /// The daemon's process id, from the kernel.
    pub fn peer(&self) -> Pid {
        self.peer
    }

    /// Sends the one request of this connection and waits for its answer.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with what the daemon said; [`ClientError::Broken`].
    pub fn call(self, request: &Request) -> Result<Reply, ClientError> {
        let patience = if matches!(request, Request::Kms { .. }) { KMS_TIMEOUT } else { REPLY_TIMEOUT };
        let deadline = Instant::now() + patience;
        self.converse(request, &mut |_| {}, &mut || Instant::now() < deadline).map_err(|error| match error {
            ClientError::Stopped => {
                let waited = format!("no answer in {} s", patience.as_secs());
                ClientError::Broken(PathBuf::from("control socket"), waited)
            }
            other => other,
        })
    }

    /// As [`Client::call`], for a request with progress lines before its answer. While it waits, `go_on` is
    /// asked every 200 ms; false hangs up, which ends the work.
    ///
    /// # Errors
    /// As [`Client::call`], and [`ClientError::Stopped`] when `go_on` said so.
    pub fn converse(
        self,
        request: &Request,
        progress: &mut dyn FnMut(&Progress),
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Reply, ClientError> {
        let mut take = |reply| match reply {
            Reply::Progress(p) => {
                progress(&p);
                None
            }
            reply => Some(reply),
        };
        self.follow(request, &mut take, go_on)
    }

    /// As [`Client::converse`], for any replies before the answer: `take` gets each, and returns the one that is
    /// the answer.
    ///
    /// # Errors
    /// As [`Client::converse`].
    pub fn follow(
        mut self,
        request: &Request,
        take: &mut dyn FnMut(Reply) -> Option<Reply>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Reply, ClientError> {
        let socket = self.socket.clone();
        let broken = |error: WireError| ClientError::Broken(socket.clone(), error.to_string());
        // The daemon may have refused before it read the request; its reason is then waiting to be read.
        let sent = wire::send(&mut self.stream, request);
        let mut lines = LineReader::new(&self.stream);
        loop {
            let line = match lines.next_line() {
                Err(WireError::TimedOut) if go_on() => continue,
                Err(WireError::TimedOut) => return Err(ClientError::Stopped),
                Err(error) => return Err(broken(sent.err().unwrap_or(error))),
                Ok(line) => line,
            };
            match wire::decode(&line).map_err(&broken)? {
                Reply::Refused(error) => return Err(ClientError::Refused(error)),
                reply => {
                    if let Some(answer) = take(reply) {
                        return Ok(answer);
                    }
                    if !go_on() {
                        return Err(ClientError::Stopped);
                    }
                }
            }
        }
    }
}
