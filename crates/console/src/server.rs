//! Connections: where clients connect, and what one may cost.
//!
//! - At most [`CONNECTIONS_MAX`] are served at a time. Others wait in the kernel's queue, and a program of this host that
//!   holds all of them holds them for [`IDLE_TIME`].
//! - A connection ends if no whole request head comes within [`IDLE_TIME`], the time between requests included, or if its
//!   client doesn't take what was sent for so long.
//! - The body's limits are the endpoint's.
//!
//! All of it runs on one thread; calls wait for the daemon on [`CALLS_MAX`] others, fewer than the daemon serves, so that
//! commands of the vault's owner still get through.
//!
//! On SIGTERM and SIGINT nothing more is accepted, requests under way are answered, for [`END_TIME`] at most, and it ends with 0.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rekeyfs::console::{Listen, ServeKms};
use rekeyfs::control;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::credentials::CredentialsError;
use crate::endpoint::{CALLS_MAX, Endpoint};
use crate::log;

/// Connections served at a time.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send the head of a request, and to take what is sent to it.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes.
const HEAD_MAX: usize = 32 << 10;
/// How long requests under way are waited for at the end.
const END_TIME: Duration = Duration::from_secs(30);
/// How long nothing is accepted after accept(2) failed: out of descriptors, say, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// The credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Where clients were to connect.
    #[error("{0}: can't listen there: {1}")]
    Listen(String, io::Error),
    /// Something is at the socket's path.
    #[error("{}: something is there; remove it, or name another path", .0.display())]
    There(PathBuf),
    /// The rest.
    #[error("the endpoint can't be started: {0}")]
    Start(io::Error),
}

/// Serves until it is told to end. Says where on standard output, once it does.
///
/// # Errors
/// [`ServerError`].
pub(crate) fn run(serve: &ServeKms) -> Result<(), ServerError> {
    let endpoint = Arc::new(Endpoint::of(serve)?);
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(CALLS_MAX)
        .build()
        .map_err(ServerError::Start)?;
    let served = runtime.block_on(async {
        let ending = end_by_signal().map_err(ServerError::Start)?;
        let graceful = Arc::new(GracefulShutdown::new());
        let listener = Listener::bind(&serve.listen).await?;
        listener.announce();
        let accepting = tokio::spawn(accept(listener, endpoint, Arc::clone(&graceful)));
        ending.notified().await;
        accepting.abort();
        // Its listener and what lies in the filesystem go with it.
        let _ = accepting.await;
        if let Some(graceful) = Arc::into_inner(graceful) {
            let _ = timeout(END_TIME, graceful.shutdown()).await;
        }
        Ok(())
    });
    // A call to a mount that hangs is left: to drop the runtime would wait for its thread.
    runtime.shutdown_background();
    served
}

/// Notified on SIGTERM or SIGINT.
fn end_by_signal() -> io::Result<Arc<Notify>> {
    let ending = Arc::new(Notify::new());
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut arrived, ending) = (signal(kind)?, Arc::clone(&ending));
        tokio::spawn(async move {
            arrived.recv().await;
            ending.notify_one();
        });
    }
    Ok(ending)
}

async fn accept(listener: Listener, endpoint: Arc<Endpoint>, graceful: Arc<GracefulShutdown>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Never closed.
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        let (endpoint, watcher) = (Arc::clone(&endpoint), graceful.watcher());
        let accepted = match &listener {
            Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| {
                // Without these it is slower, or waits longer for a client that is gone.
                let _ = stream.set_nodelay(true);
                let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, millis(IDLE_TIME));
                tokio::spawn(converse(stream, endpoint, watcher, permit));
            }),
            Listener::Unix(unix) => unix.listener.accept().await.map(|(stream, _)| {
                tokio::spawn(converse(stream, endpoint, watcher, permit));
            }),
        };
        if let Err(error) = accepted {
            log::say(&format!("accept: {error}"));
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// Answers the requests of a connection.
fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    endpoint: Arc<Endpoint>,
    watcher: Watcher,
    permit: OwnedSemaphorePermit,
) -> impl Future<Output = ()> {
    let service = service_fn(move |request| {
        let endpoint = Arc::clone(&endpoint);
        async move { Ok::<_, Infallible>(endpoint.respond(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIME)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let watched = watcher.watch(connection);
    async move {
        // That a client broke it off, or sent no HTTP, is its own matter.
        let _ = watched.await;
        drop(permit);
    }
}

/// Where clients connect.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// A socket in the filesystem, which goes with this.
struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listener {
    async fn bind(listen: &Listen) -> Result<Self, ServerError> {
        match listen {
            Listen::Loopback(loopback) => {
                let failed = |error| ServerError::Listen(loopback.to_string(), error);
                Ok(Self::Tcp(TcpListener::bind(loopback.address()).await.map_err(failed)?))
            }
            Listen::Unix(path) => {
                let path = path.as_path();
                clear_dead(path)?;
                let failed = |error| ServerError::Listen(path.display().to_string(), error);
                // Nobody else connects between bind and chmod.
                let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
                let bound = UnixListener::bind(path);
                rustix::process::umask(before);
                let listener = bound.map_err(failed)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
                Ok(Self::Unix(UnixSocket { listener, path: path.to_owned() }))
            }
        }
    }

    fn announce(&self) {
        let place = match self {
            Self::Tcp(tcp) => tcp.local_addr().map(|address| format!("http://{address}")).unwrap_or_default(),
            Self::Unix(unix) => unix.path.display().to_string(),
        };
        let mut out = io::stdout();
        // Nobody need read it.
        let _ = writeln!(out, "{}", rekeyfs::printable::line(&place)).and_then(|()| out.flush());
    }
}

/// Removes the socket of an endpoint that is gone.
fn clear_dead(path: &Path) -> Result<(), ServerError> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !(meta.file_type().is_socket() && control::is_dead(path)) {
        return Err(ServerError::There(path.to_owned()));
    }
    std::fs::remove_file(path).map_err(|error| ServerError::Listen(path.display().to_string(), error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn only_the_socket_of_an_endpoint_that_is_gone_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kms.sock");
        let listener = UnixListener::bind(&path).unwrap();
        // Its queue is full: another connection would have to wait.
        rustix::net::listen(&listener, 0).unwrap();
        let _queued = UnixStream::connect(&path).unwrap();
        assert!(matches!(clear_dead(&path), Err(ServerError::There(_))) && path.exists());
        drop(listener);
        clear_dead(&path).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        assert!(matches!(clear_dead(&path), Err(ServerError::There(_))) && path.exists(), "no socket");
    }
}
