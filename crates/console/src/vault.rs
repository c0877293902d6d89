//! The mount behind the endpoint, asked through its control socket. This process has no key and no way to one: what it may
//! ask is what the mount's daemon does for any process of the mount's owner, and key policies and states are the daemon's to
//! judge.

use std::sync::{Arc, Mutex, PoisonError};

use rekeyfs::console::{Principal, ServeKms};
use rekeyfs::control::{self, Client, Entry, VaultLocation};
use rekeyfs::kms::Call;
use rekeyfs::monitor::Monitor;
use rekeyfs::service::{ErrorKind, ErrorReply, KmsReply, Operations};

/// The vault's mount, wherever and whenever it is mounted.
pub(crate) struct Vault {
    location: VaultLocation,
    owner: u32,
    /// The daemon that answered last. It is looked for again once it doesn't.
    known: Mutex<Option<Arc<Client>>>,
}

impl Vault {
    pub(crate) fn of(serve: &ServeKms) -> Self {
        Self { location: serve.location, owner: serve.owner, known: Mutex::new(None) }
    }

    /// Does one call on behalf of a principal. It takes as long as the daemon does.
    ///
    /// A daemon that doesn't answer any more isn't asked twice: what it did before is not known. The client tries again, as
    /// SDKs do by themselves, and the daemon of a new mount is found then.
    ///
    /// # Errors
    /// The vault isn't mounted; those of the daemon.
    pub(crate) fn call(&self, call: &Call, principal: Principal) -> Result<KmsReply, ErrorReply> {
        let client = self.client()?;
        let answered = client.kms(call, Some(principal), &mut Monitor::unattended());
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
