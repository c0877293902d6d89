//! Connections: where clients connect, and what one may cost.
//!
//! - So many are open at a time, and those that send nothing give way to new ones ([`Connections`]).
//! - A connection ends if no whole request head comes within [`IDLE_TIME`], the time between requests included, or if its
//!   client doesn't take what was sent for so long.
//! - The body's limits are the [`Service`]'s.
//!
//! All of it runs on one thread; calls wait for the daemon on others ([`CALLS_MAX`]).
//!
//! On SIGTERM and SIGINT, and when the [`Service`] is over, nothing more is accepted, requests under way are answered, for
//! [`END_TIME`] at most, and it ends with 0.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rekeyfs::console::Listen;
use rekeyfs::control;
use rekeyfs::printable;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime;
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use zeroize::Zeroizing;

use crate::body::RequestBody;
use crate::connections::{Connections, Place};
use crate::log;
use crate::vault::CALLS_MAX;

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
    /// Where clients were to connect.
    #[error("{0}: can't listen there: {1}")]
    Listen(String, io::Error),
    /// Something is at the socket's path.
    #[error("{}: something is there; remove it, or name another path", .0.display())]
    There(PathBuf),
    /// The rest.
    #[error("it can't be started: {0}")]
    Start(io::Error),
}

/// What answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// The line on standard output that says where it is.
    fn announcement(&self, place: &str) -> Zeroizing<String> {
        Zeroizing::new(printable::line(place).into_owned())
    }

    /// Answers one.
    fn respond(&self, request: Request<RequestBody>) -> impl Future<Output = Response<Full<Bytes>>> + Send;

    /// Waits until nobody can ask it anything any more.
    fn over(&self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

/// Serves until it is told to end. Says where on standard output, once it does.
///
/// # Errors
/// [`ServerError`].
pub(crate) fn run(service: impl Service, listen: &Listen) -> Result<(), ServerError> {
    let service = Arc::new(service);
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(CALLS_MAX)
        .build()
        .map_err(ServerError::Start)?;
    let served = runtime.block_on(async {
        let ending = end_by_signal().map_err(ServerError::Start)?;
        let graceful = Arc::new(GracefulShutdown::new());
        let listener = Listener::bind(listen).await?;
        announce(&service.announcement(&listener.place()));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&service), Arc::clone(&graceful)));
        select! {
            () = ending.notified() => {}
            () = service.over() => {}
        }
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

async fn accept(listener: Listener, service: Arc<impl Service>, graceful: Arc<GracefulShutdown>) {
    let connections = Arc::new(Connections::default());
    loop {
        let (service, watcher) = (Arc::clone(&service), graceful.watcher());
        let accepted = match &listener {
            Listener::Tcp(tcp) => match tcp.accept().await {
                Ok((stream, _)) => {
                    // Without these it is slower, or waits longer for a client that is gone and that all was sent to.
                    let _ = stream.set_nodelay(true);
                    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, millis(IDLE_TIME));
                    let place = Connections::admit(&connections).await;
                    tokio::spawn(converse(stream, service, watcher, place));
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Listener::Unix(unix) => match unix.listener.accept().await {
                Ok((stream, _)) => {
                    let place = Connections::admit(&connections).await;
                    tokio::spawn(converse(stream, service, watcher, place));
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        match accepted {
            // A request that came with the connection is read before the next connections can take its place.
            Ok(()) => yield_now().await,
            Err(error) => {
                log::say(&format!("accept: {error}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// Answers the requests of a connection.
fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    service: Arc<impl Service>,
    watcher: Watcher,
    place: Place,
) -> impl Future<Output = ()> {
    let place = Arc::new(place);
    let asked = Arc::clone(&place);
    let service = service_fn(move |request: Request<Incoming>| {
        let (service, place) = (Arc::clone(&service), Arc::clone(&asked));
        async move {
            let request = request.map(|body| RequestBody::of(body, Arc::clone(&place)));
            let response = service.respond(request).await;
            place.waits();
            Ok::<_, Infallible>(response)
        }
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(IDLE_TIME));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIME)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let watched = watcher.watch(connection);
    async move {
        select! {
            biased;
            () = place.gone() => {}
            // That a client broke it off, or sent no HTTP, is its own matter.
            _ = watched => {}
        }
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

    fn place(&self) -> String {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().map(|address| format!("http://{address}")).unwrap_or_default(),
            Self::Unix(unix) => unix.path.display().to_string(),
        }
    }
}

/// Nobody need read it.
fn announce(text: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
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
