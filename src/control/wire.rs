//! Lines on the socket: framing, the size limit, the protocol's number.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::protocol::PROTOCOL;

/// Why a line could not be had or understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The other side hung up before the end of a line.
    #[error("the connection was closed")]
    Closed,
    /// Nothing came within the socket's timeout; what did come is kept for the next try.
    #[error("no answer in time")]
    TimedOut,
    /// A line over the limit.
    #[error("a message of over {0} bytes")]
    TooLong(usize),
    /// Another protocol.
    #[error("the other side speaks protocol {0}, this program {PROTOCOL}")]
    Protocol(u32),
    /// Not a message.
    #[error("not a message of this protocol: {0}")]
    Malformed(serde_json::Error),
    /// The socket.
    #[error("{0}")]
    Io(io::Error),
}

impl WireError {
    /// Whether the other side is gone.
    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::NotConnected
            ),
            _ => false,
        }
    }
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    protocol: u32,
    message: &'a T,
}

#[derive(Deserialize)]
struct Number {
    protocol: u32,
}

#[derive(Deserialize)]
struct Incoming<T> {
    message: T,
}

/// Room for a line with data to encrypt or decrypt: a buffer that grows would leave a copy of them behind.
const SECRET_LINE: usize = 32 << 10;

/// A message as a line of at most so many bytes. It is wiped: it may have data that a key decrypted.
///
/// # Errors
/// [`WireError::TooLong`] over the limit; [`WireError::Malformed`] if it has no JSON form.
pub(super) fn encode<T: Serialize>(message: &T, longest: usize) -> Result<Zeroizing<Vec<u8>>, WireError> {
    let mut line = Zeroizing::new(Vec::with_capacity(SECRET_LINE));
    serde_json::to_writer(&mut *line, &Outgoing { protocol: PROTOCOL, message })
        .map_err(WireError::Malformed)?;
    line.push(b'\n');
    if line.len() > longest { Err(WireError::TooLong(longest)) } else { Ok(line) }
}

/// The message of a line.
///
/// # Errors
/// [`WireError::Protocol`] before anything else of the line is looked at; [`WireError::Malformed`].
pub(super) fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, WireError> {
    let number: Number = serde_json::from_slice(line).map_err(WireError::Malformed)?;
    if number.protocol != PROTOCOL {
        return Err(WireError::Protocol(number.protocol));
    }
    let incoming: Incoming<T> = serde_json::from_slice(line).map_err(WireError::Malformed)?;
    Ok(incoming.message)
}

/// Sends a message of at most so many bytes.
///
/// # Errors
/// As [`encode`], and what the socket says. Nothing was sent if it is too long.
pub(super) fn send<T: Serialize>(to: &mut impl Write, message: &T, longest: usize) -> Result<(), WireError> {
    to.write_all(&encode(message, longest)?).map_err(WireError::Io)
}

/// Takes lines off a socket, none longer than is said. They are wiped: they may have data to encrypt.
pub(super) struct LineReader<R> {
    from: R,
    longest: usize,
    pending: Zeroizing<Vec<u8>>,
}

impl<R: Read> LineReader<R> {
    /// Reads from `from`.
    pub(super) fn new(from: R, longest: usize) -> Self {
        Self { from, longest, pending: Zeroizing::new(Vec::with_capacity(SECRET_LINE)) }
    }

    /// The next line, without its line feed.
    ///
    /// # Errors
    /// After [`WireError::TimedOut`] it can be called again and continues; every other error
    /// is the end.
    pub(super) fn next_line(&mut self) -> Result<Zeroizing<Vec<u8>>, WireError> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.pending[searched..].iter().position(|&b| b == b'\n') {
                let line = Zeroizing::new(self.pending[..searched + at].to_vec());
                self.pending.drain(..=searched + at);
                return Ok(line);
            }
            searched = self.pending.len();
            if searched >= self.longest {
                return Err(WireError::TooLong(self.longest));
            }
            let mut chunk = Zeroizing::new([0; 4096]);
            let room = chunk.len().min(self.longest - searched);
            match self.from.read(&mut chunk[..room]) {
                Ok(0) => return Err(WireError::Closed),
                Ok(n) => self.pending.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(WireError::TimedOut);
                }
                Err(e) => return Err(WireError::Io(e)),
            }
        }
    }
}
