//! Keys of a vault that several hosts share (hosts/): becoming a member, renewing its lease, and taking into use what another
//! host has changed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::error::KeyringError;
use super::hosts::{
    self, Announced, Eviction, Gone, HostsDir, Identity, Membership, NotRenewed, Registration, Steps,
};
use super::keys::Keys;
use super::store::{Saves, Store};
use crate::crypto::keys::HostRecordKey;
use crate::events::Event;
use crate::hosts::SlotNumber;
use crate::ids::Generation;
use crate::monitor::Cancellation;
use crate::storage::Errno;
use crate::sys::boottime::BootTime;

/// How long a keyring is read again that is older than the epoch says: a cluster's client may show an old one for a moment.
const STALE_PATIENCE: Duration = Duration::from_secs(3);
const STALE_POLL: Duration = Duration::from_millis(50);
/// How many epochs in a row a renewal takes into force before it leaves the rest to the next one.
const EPOCHS_AT_ONCE: usize = 4;

impl Keys {
    /// Whether several hosts share the vault, or did.
    pub fn is_shared(&self) -> bool {
        self.store.lock().state().header.is_shared()
    }

    /// Marks the vault as shared, durably, before it is: programs that know nothing of other hosts no longer open it. The caller
    /// has the vault's lock, so none of them has.
    ///
    /// # Errors
    /// If the keyring can't be saved.
    pub fn share(&self) -> Result<(), KeyringError> {
        if self.is_shared() {
            return Ok(());
        }
        self.change(Saves::Once, |draft| {
            draft.header.set_shared(true);
            draft.record(Event::VaultShared);
            Ok(())
        })
    }

    /// Becomes a member of those that share the vault, and takes the keyring into use that is there then. Where all places are taken it
    /// watches for half a minute which members are gone, and holds nothing meanwhile.
    ///
    /// # Errors
    /// The records can't be written, all slots are taken, or the keyring may not replace the one in use.
    pub fn join(&self, who: &Identity) -> Result<Membership, KeyringError> {
        if let Some(joined) = self.join_beside(who, &[])? {
            return Ok(joined);
        }
        tracing::warn!(
            "{}: all {} places for mounts are taken: waits {} s to see whose member is gone",
            self.vault_path().display(),
            SlotNumber::COUNT,
            hosts::stillness().as_secs()
        );
        let (dir, key) = self.hosts().map_err(|error| self.cannot_register(error.into()))?;
        let gone = hosts::gone(&dir, &key).map_err(|error| self.cannot_register(error.into()))?;
        self.join_beside(who, &gone)?.ok_or_else(|| {
            let full = format!(
                "all {} places are taken: unmount one, or have the cluster end the session of a host that is gone",
                SlotNumber::COUNT
            );
            self.cannot_register(io::Error::other(full))
        })
    }

    /// As [`Self::join`], in a place that is free or one of those that are `gone`.
    fn join_beside(&self, who: &Identity, gone: &[Gone]) -> Result<Option<Membership>, KeyringError> {
        let mut store = self.store.lock();
        let failed = |error: Errno| self.cannot_register(error.into());
        let leave = store.may_register()?;
        let key = Arc::new(store.state().root.host_record_key(self.vault_id()));
        let lock = store.dir().lock(leave)?;
        let dir = HostsDir::make(store.dir().fd(), leave).map_err(failed)?;
        let generation = store.state().body.generation;
        let registered = Registration::take(dir, key, who, generation, gone).map_err(failed)?;
        let Some(registered) = registered else { return Ok(None) };
        *self.member.lock() = Some(registered.id());
        load_newest(&mut store, &registered)?;
        let generation = store.state().body.generation;
        let epoch = registered.epoch_of(generation).map_err(failed)?;
        let membership = registered.begin(epoch).map_err(|error| match error {
            NotRenewed::Keyring(error) => error,
            error => self.cannot_register(io::Error::other(error)),
        })?;
        drop(lock);
        self.take_into_use(store);
        Ok(Some(membership))
    }

    /// Takes the readers of a host that renew no lease out of those that changes wait for. Takes some twenty seconds, and holds
    /// nothing meanwhile. Returns their slots.
    ///
    /// # Errors
    /// The host has no reader, or they live; it is cancelled; the records can't be written.
    pub fn evict_readers(
        &self,
        host: &str,
        cancellation: &Cancellation,
    ) -> Result<Vec<SlotNumber>, KeyringError> {
        let failed = |source: io::Error| KeyringError::Io {
            path: self.vault_path().join(hosts::DIR_NAME),
            what: "evict a reader",
            source,
        };
        self.writable()?;
        let evicted = Event::HostEvicted { host: host.to_owned() };
        let first = || self.events().record_durably(&evicted);
        let alone = || {
            let store = self.store.lock();
            let lock =
                store.writable().and_then(|leave| store.dir().lock(leave)).map_err(io::Error::other)?;
            Ok((lock, store))
        };
        let done = match self.hosts() {
            Err(Errno::NOENT) => Eviction::NoReader,
            hosts => {
                let (dir, key) = hosts.map_err(|error| failed(error.into()))?;
                hosts::evict_readers(&dir, &key, host, Steps { first, alone }, cancellation)
                    .map_err(failed)?
            }
        };
        let (vault, host) = (self.vault_path().to_owned(), host.escape_default().to_string());
        match done {
            Eviction::Done(slots) => Ok(slots),
            Eviction::NoReader => Err(KeyringError::NoReader { vault, host }),
            Eviction::Lives => Err(KeyringError::ReaderLives { vault, host }),
            Eviction::Replaced => Err(KeyringError::ReaderReplaced { vault, host }),
            Eviction::Stopped => Err(KeyringError::EvictionStopped { vault, host }),
        }
    }

    /// The members' records, and the key that they are under.
    fn hosts(&self) -> Result<(HostsDir, Arc<HostRecordKey>), Errno> {
        let store = self.store.lock();
        let key = Arc::new(store.state().root.host_record_key(self.vault_id()));
        Ok((HostsDir::open(store.dir().fd())?.ok_or(Errno::NOENT)?, key))
    }

    fn cannot_register(&self, source: io::Error) -> KeyringError {
        KeyringError::Io {
            path: self.vault_path().join(hosts::DIR_NAME),
            what: "register this mount, which other hosts have to know of",
            source,
        }
    }

    /// Renews a lease; takes another host's change of the keyring into use before that, and acknowledges it. Returns the lease's end.
    ///
    /// # Errors
    /// [`NotRenewed`]: the lease ends when it would have.
    pub fn renew(&self, membership: &mut Membership) -> Result<BootTime, NotRenewed> {
        for _ in 0..EPOCHS_AT_ONCE {
            let Some(epoch) = membership.renew()? else { break };
            self.catch_up(epoch.generation)?;
            self.settle();
            membership.acknowledge(epoch, self.generation());
        }
        if membership.generation() < self.generation() {
            self.announce_again();
        }
        Ok(membership.lease_end())
    }

    /// Takes the keyring on disk into use, if the one in use is older than this generation.
    ///
    /// # Errors
    /// It can't be read, is older still, or may not replace the one in use.
    pub fn catch_up(&self, wanted: Generation) -> Result<(), KeyringError> {
        if self.generation() >= wanted {
            return Ok(());
        }
        let found = self.store.lock().found()?;
        if let Some((found, _)) = found {
            self.announce_unusable(&self.keys_that_go(&found.body));
        }
        let mut store = self.store.lock();
        store.catch_up()?;
        let found = store.state().body.generation;
        self.take_into_use(store);
        if found >= wanted {
            return Ok(());
        }
        Err(KeyringError::RolledBack {
            vault: self.vault_path().to_owned(),
            found,
            seen: wanted,
            elsewhere: None,
        })
    }

    /// Makes up for an epoch that a process which saved the keyring didn't live to make. The next renewal has it in force.
    fn announce_again(&self) {
        // A change under way makes one itself.
        let Some(mut store) = self.store.try_lock() else { return };
        let Ok(leave) = store.writable() else { return };
        let announced = store.dir().lock(leave).and_then(|lock| store.announce(&lock));
        let announced = announced.and_then(|()| store.take_announced().transpose().map(drop));
        if let Err(error) = announced {
            tracing::warn!("{error}");
        }
    }

    /// Waits until other hosts have a change in force; the caller holds nothing.
    ///
    /// # Errors
    /// They couldn't be told of it.
    pub(super) fn await_other_hosts(
        &self,
        announced: Option<Result<Announced, KeyringError>>,
    ) -> Result<(), KeyringError> {
        let Some(announced) = announced.transpose()? else { return Ok(()) };
        let us = *self.member.lock();
        let unconfirmed = announced.wait(us);
        if !unconfirmed.is_empty() {
            let hosts: Vec<_> = unconfirmed.iter().map(ToString::to_string).collect();
            tracing::warn!(
                "{}: {} didn't confirm the change in time: a mount there shows nothing more under a key until it has it in force",
                self.vault_path().display(),
                hosts.join(", ")
            );
            self.events().record(&Event::ChangeUnconfirmed { hosts });
        }
        Ok(())
    }
}

/// Loads the keyring that is on disk, durably, until it is no older than the epoch.
fn load_newest(store: &mut Store, registered: &Registration) -> Result<(), KeyringError> {
    let began = BootTime::now();
    loop {
        match store.catch_up() {
            // A moment of a rename.
            Err(KeyringError::Missing { .. }) if began.elapsed() < STALE_PATIENCE => {}
            Err(error) => return Err(error),
            Ok(())
                if registered.is_behind(store.state().body.generation)
                    && began.elapsed() < STALE_PATIENCE => {}
            // It stays older: an older keyring was put back and accepted.
            Ok(()) => return Ok(()),
        }
        std::thread::sleep(STALE_POLL);
    }
}
