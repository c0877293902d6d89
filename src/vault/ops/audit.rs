//! What goes into the audit log and the program's log: damage that was met, and what users were refused: by a key's
//! state, by its policy, by a header that failed authentication. Costs nothing where nothing is refused.

use std::os::fd::AsFd;

use crate::events::{Class, Event, RefusalReason};
use crate::header::{SLOTS, UnverifiedSlot};
use crate::ids::{BackingKeyId, FileId, Ino, LowerOffset};
use crate::storage::{self, Access};
use crate::vault::tree::inode::Inode;
use crate::vault::{Damage, Error, FileKind, Result, Vault};

impl Vault {
    /// Reports the damage that an operation met.
    pub(in crate::vault) fn reporting_damage<T>(&self, ino: Ino, done: Result<T>) -> Result<T> {
        if let Err(Error::Corrupt(damage)) = &done {
            self.report_damage(ino, *damage);
        }
        done
    }

    /// Reports damage of an inode.
    pub(in crate::vault) fn report_damage(&self, ino: Ino, damage: Damage) {
        tracing::error!(ino = ino.0, lower = self.lower_path(ino), "{damage} is damaged");
        self.counters.damaged(damage);
        let (part, page) = damage.place();
        self.keys.events().record_limited(Class::Damage, || Event::Damage {
            file: self.file_ref(ino),
            part,
            page,
            backing: None,
        });
    }

    /// Notes an operation that was refused. `ino` is the file, or the directory of one that wasn't made.
    pub(in crate::vault) fn reporting_refusal<T>(
        &self,
        operation: &'static str,
        ino: Ino,
        done: Result<T>,
    ) -> Result<T> {
        let reason = match &done {
            Err(Error::KeyNotUsable(_)) => RefusalReason::KeyState,
            Err(Error::Denied) => RefusalReason::Policy,
            Err(Error::Corrupt(Damage::Header | Damage::Size)) => RefusalReason::Authentication,
            _ => return done,
        };
        self.counters.refused(reason);
        self.keys.events().record_limited(Class::Refusals, || {
            let (mut file, mut backing) = (self.file_ref(ino), None);
            match self.inode(ino) {
                Ok(inode) if inode.kind == FileKind::Regular => {
                    if let Some((found, id)) = self.stated(&inode) {
                        (file.file, backing) = (Some(id), Some(found));
                    }
                }
                Ok(_) => {
                    let alias = self.tree.dir(ino).and_then(|dir| self.tree.alias_in(&dir));
                    backing = alias.ok().and_then(|alias| self.keys.current(&alias).ok());
                }
                Err(_) => {}
            }
            Event::AccessRefused { operation, file, reason, backing }
        });
        done
    }

    /// What the header on disk states, whether it is genuine or not.
    fn stated(&self, inode: &Inode) -> Option<(BackingKeyId, FileId)> {
        let (fd, _) = self.open_lower(inode, Access::ReadOnly).ok()?;
        let mut slots = [0; SLOTS];
        storage::pread(fd.as_fd(), &mut slots, LowerOffset(0)).ok()?;
        let [first, _] = UnverifiedSlot::parse_both(&slots);
        first.map(|slot| (slot.backing(), slot.file()))
    }
}

#[cfg(test)]
mod tests;
