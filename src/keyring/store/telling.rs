//! Telling the other hosts that share a vault of what was saved (hosts/).

use super::vault_dir::KeyringLock;
use super::{Result, Store};
use crate::keyring::error::KeyringError;
use crate::keyring::hosts::{self, Announced, HostsDir};

impl Store {
    /// Refuses a change of which other hosts couldn't be told.
    pub(super) fn check_hosts_can_be_told(&self) -> Result<()> {
        if !self.state.header.is_shared() {
            return Ok(());
        }
        let hosts = HostsDir::make(self.dir.fd(), self.writable()?);
        hosts.and_then(|hosts| hosts.check_writable()).map_err(|error| KeyringError::Io {
            path: self.dir.path().join(hosts::DIR_NAME),
            what: "tell other hosts of the change, which was not made",
            source: error.into(),
        })
    }

    /// Tells other hosts of a keyring that was saved, where there are any.
    ///
    /// # Errors
    /// [`KeyringError::MayOnlyRead`].
    pub(in crate::keyring) fn announce(&mut self, _lock: &KeyringLock) -> Result<()> {
        if self.state.header.is_shared() {
            let key = self.state.root.host_record_key(self.state.header.vault);
            let told = hosts::announce(self.dir.fd(), self.writable()?, key, self.state.body.generation);
            self.announced = Some(told.map_err(|error| KeyringError::Io {
                path: self.dir.path().join(hosts::DIR_NAME),
                what: "tell other hosts of the change, which was made here",
                source: error.into(),
            }));
        }
        Ok(())
    }

    /// What is to be waited for, once no lock is held: that other hosts have the last change in force.
    pub(in crate::keyring) fn take_announced(&mut self) -> Option<Result<Announced>> {
        self.announced.take()
    }
}
