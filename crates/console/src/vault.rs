//! The mount behind a service, asked through its control socket. This process has no key and no way to one: what it may
//! ask is what the mount's daemon does for any process of the mount's owner, and key policies and states are the daemon's to
//! judge.

use std::sync::{Arc, Mutex, PoisonError};

use rekeyfs::control::{self, Client, Entry, VaultLocation};
use rekeyfs::service::{ErrorKind, ErrorReply};
use tokio::sync::Semaphore;

/// Calls that wait for the daemon at a time. It serves 16 connections: commands of the vault's owner still get through.
pub(crate) const CALLS_MAX: usize = 8;

/// The vault's mount, wherever and whenever it is mounted.
#[derive(Clone)]
pub(crate) struct Vault(Arc<Shared>);

struct Shared {
    location: VaultLocation,
    owner: u32,
    /// The daemon that answered last. It is looked for again once it doesn't.
    known: Mutex<Option<Arc<Client>>>,
    /// Taken before a call is given to a thread. A client that hangs up while it waits for one has asked for nothing: no call
    /// lies in a queue that is done when nobody waits for it any more, and none fills the memory.
    calls: Arc<Semaphore>,
}

impl Vault {
    pub(crate) fn of(location: VaultLocation, owner: u32) -> Self {
        let (known, calls) = (Mutex::new(None), Arc::new(Semaphore::new(CALLS_MAX)));
        Self(Arc::new(Shared { location, owner, known, calls }))
    }

    /// Asks the daemon, on a thread on which waiting is allowed. It takes as long as the daemon does.
    ///
    /// A daemon that doesn't answer any more isn't asked twice: what it did before is not known. The client tries again, as
    /// SDKs do by themselves, and the daemon of a new mount is found then.
    ///
    /// # Errors
    /// The vault isn't mounted; those of the daemon.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Client) -> Result<T, ErrorReply> + Send + 'static,
    ) -> Result<T, ErrorReply> {
        let bug = || {
            ErrorReply::new(ErrorKind::Other, "rekeyfs-console met a bug and continues; its log says which")
        };
        // Never closed.
        let turn = Arc::clone(&self.0.calls).acquire_owned().await.map_err(|_| bug())?;
        let shared = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || {
            let answered = shared.ask(question);
            drop(turn);
            answered
        });
        asked.await.map_err(|_| bug())?
    }
}

impl Shared {
    fn ask<T>(&self, question: impl FnOnce(&Client) -> Result<T, ErrorReply>) -> Result<T, ErrorReply> {
        let client = self.client()?;
        let answered = question(&client);
        if answered.as_ref().is_err_and(|error| error.kind == ErrorKind::Unreachable) {
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        answered
    }

    fn client(&self) -> Result<Arc<Client>, ErrorReply> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*known {
            return Ok(Arc::clone(client));
        }
        // A daemon that was killed leaves its entry, and the next one may have another runtime directory.
        let is_ours =
            |entry: &Entry| entry.location == self.location && entry.owner == self.owner && entry.is_alive();
        let Some(entry) = control::entries().into_iter().find(is_ours) else {
            let message = "the vault isn't mounted; mount it, and try again";
            return Err(ErrorReply::new(ErrorKind::Unreachable, message));
        };
        let client = Arc::new(Client::of(&entry));
        *known = Some(Arc::clone(&client));
        Ok(client)
    }
}
