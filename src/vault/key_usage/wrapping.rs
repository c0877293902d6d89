//! Which key wraps a file, and which alias it follows: a new file takes both from its directory's alias, whatever has a
//! header from that (see [`keyring::follow`](crate::keyring::follow)), and an empty file from the header that it had. A new
//! file's directory is the one where it was made, or found, as long as it is open: before its first write arrives here others
//! may have moved it.

use std::sync::atomic::Ordering;

use crate::events::{Class, Event};
use crate::header::{AliasTag, SlotKeys};
use crate::ids::{AliasId, AliasName, BackingKeyId, Ino, KeyId};
use crate::keyring::{Belonging, Followed, Keys, Staying, WrapGuard};
use crate::vault::file::OpenFile;
use crate::vault::key_usage::census::TagGeneration;
use crate::vault::tree::inode::Inode;
use crate::vault::{Error, HeaderInfo, Result, Sharing, Vault};

/// Where files are re-wrapped to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Destination {
    /// Where the alias that each follows points.
    #[default]
    Followed,
    /// The same; but a file that has no tag, and could be of several aliases, is of that of the directory it lies in, if
    /// that points at the file's key. Not so one with several names: these can lie in anybody's directories.
    Adopted,
    /// Where this alias points, which they follow from then on.
    Alias(AliasName),
    /// The current version of this key, whatever becomes of aliases.
    Key(KeyId),
}

/// What both slots of a file should say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::vault) struct Target {
    /// The backing key.
    pub(in crate::vault) backing: BackingKeyId,
    /// What the tag is to say; `None`: it stays as it is.
    pub(in crate::vault) follows: Option<Option<AliasId>>,
}

impl Target {
    fn of(followed: &Followed) -> Self {
        Self { backing: followed.target, follows: followed.follows() }
    }

    /// Whether the tag says so already.
    pub(in crate::vault) fn is_tagged(&self, tag: Option<AliasTag>) -> bool {
        self.follows.is_none_or(|follows| tag.is_some_and(|tag| tag.follows == follows))
    }

    /// Whether the slots do.
    fn is_reached(&self, slots: &SlotKeys) -> bool {
        slots.only(self.backing) && self.is_tagged(slots.tag)
    }
}

/// The tag of a header that takes the place of one that said `last`.
pub(super) fn next_tag(last: &SlotKeys, followed: &Followed, guard: &WrapGuard<'_>) -> Option<AliasTag> {
    let follows = followed.follows().or(last.tag.map(|tag| tag.follows))?;
    let now = guard.tag_following(follows);
    // Of a newer keyring: that stays known.
    let generation = last.tag.map_or(now.generation, |tag| tag.generation.max(now.generation));
    Some(AliasTag { generation, ..now })
}

impl Vault {
    /// What the slots of a file should say by its own tag, if they don't: zeros in the other slot are as good. `None`
    /// also where the key that opens it isn't usable now.
    pub(in crate::vault) fn rewrap_target(&self, slots: &SlotKeys) -> Option<Target> {
        self.target_of(slots, &self.keys.follow(slots))
    }

    /// Queues a file that was opened, if it is stale.
    pub(in crate::vault) fn queue_if_stale(&self, ino: Ino, slots: &SlotKeys) {
        if self.lazy_rewrap && self.rewrap_target(slots).is_some() {
            self.stale.push(ino);
        }
    }

    fn target_of(&self, slots: &SlotKeys, followed: &Followed) -> Option<Target> {
        let target = Target::of(followed);
        let stale = !target.is_reached(slots) && self.keys.usable(slots.backing).is_ok();
        stale.then_some(target)
    }

    /// Of the files seen so far: how many are stale, whether they can be re-wrapped now or not, and how many stay under
    /// their key whatever becomes of aliases.
    pub fn census_of_belonging(&self) -> (u64, Staying) {
        belonging_of(&self.keys, &self.census.slots())
    }

    /// Whether a file whose header says this isn't at a destination yet.
    ///
    /// # Errors
    /// As [`Vault::rewrap_to`] of that file; ESTALE.
    pub fn is_elsewhere(&self, ino: Ino, info: &HeaderInfo, to: &Destination) -> Result<bool> {
        match to {
            Destination::Followed => Ok(info.stale),
            to => Ok(self.target_at(to, &*self.inode(ino)?, &info.slots())?.is_some()),
        }
    }

    /// As [`Vault::rewrap_target`], for another destination.
    ///
    /// # Errors
    /// ENOKEY if there is no such alias or key, or it can't be used.
    pub(in crate::vault) fn target_at(
        &self,
        destination: &Destination,
        inode: &Inode,
        slots: &SlotKeys,
    ) -> Result<Option<Target>> {
        let target = match destination {
            Destination::Followed => return Ok(self.rewrap_target(slots)),
            Destination::Adopted => {
                let followed = self.keys.follow(slots);
                match self.adoptive_alias(inode, slots, &followed)? {
                    Some(alias) => Target { backing: followed.target, follows: Some(Some(alias)) },
                    None => return Ok(self.target_of(slots, &followed)),
                }
            }
            Destination::Alias(name) => {
                let (alias, key) = self.keys.alias_id(name).map_err(crate::vault::file::key_error)?;
                Target { backing: self.usable_current(key)?, follows: Some(Some(alias)) }
            }
            Destination::Key(key) => Target { backing: self.usable_current(*key)?, follows: Some(None) },
        };
        Ok((!target.is_reached(slots)).then_some(target))
    }

    fn usable_current(&self, key: KeyId) -> Result<BackingKeyId> {
        let current =
            self.keys.current_of(key).and_then(|current| self.keys.usable(current).map(|()| current));
        current.map_err(crate::vault::file::key_error)
    }

    /// The alias of the directory that a file without a tag lies in, if it points at the file's key.
    fn adoptive_alias(
        &self,
        inode: &Inode,
        slots: &SlotKeys,
        followed: &Followed,
    ) -> Result<Option<AliasId>> {
        if !matches!(followed.belonging, Belonging::Undecided) {
            return Ok(None);
        }
        if inode.parent().is_none() || self.tree.stat(inode)?.nlink > 1 {
            return Ok(None);
        }
        let alias = self.keys.alias_id(&self.tree.alias_of(inode)?).ok();
        Ok(alias.filter(|(_, key)| *key == slots.backing.key).map(|(alias, _)| alias))
    }

    /// The right to wrap the first header of an empty file, and the tag that goes into it.
    pub(in crate::vault) fn begin_first_wrap(
        &self,
        inode: &Inode,
        file: &OpenFile,
    ) -> Result<(WrapGuard<'_>, Option<AliasTag>)> {
        let Some(last) = self.emptied.last(inode.ino) else {
            let alias = self.alias_of_new(inode, Some(file))?;
            let guard = self.keys.begin_wrap(&alias).map_err(crate::vault::file::key_error)?;
            let tag = guard.tag();
            return Ok((guard, Some(tag)));
        };
        self.begin_next_wrap(&last)
    }

    /// The right to wrap a header in the place of one that said `last`, where that belongs, and the tag.
    pub(in crate::vault) fn begin_next_wrap(
        &self,
        last: &SlotKeys,
    ) -> Result<(WrapGuard<'_>, Option<AliasTag>)> {
        let (guard, followed) =
            self.keys.begin_wrap_following(last).map_err(crate::vault::file::key_error)?;
        let tag = next_tag(last, &followed, &guard);
        Ok((guard, tag))
    }

    /// The key that the first write of an empty file takes; `None` if there is no such alias.
    pub(in crate::vault) fn key_of_empty(&self, inode: &Inode, file: &OpenFile) -> Result<Option<KeyId>> {
        if let Some(last) = self.emptied.last(inode.ino) {
            return Ok(Some(self.keys.follow(&last).target.key));
        }
        let alias = self.alias_of_new(inode, Some(file))?;
        Ok(self.keys.current(&alias).ok().map(|current| current.key))
    }

    /// The alias that an empty file's first header comes under, if this mount has seen none before: while it is open, that
    /// of where it was made or found; else that of a directory it lies in.
    fn alias_of_new(&self, inode: &Inode, file: Option<&OpenFile>) -> Result<AliasName> {
        match file.and_then(OpenFile::found_under) {
            Some(alias) => Ok(alias.clone()),
            None => self.tree.alias_of(inode),
        }
    }

    /// The name of the alias that a file follows, or that an empty one will.
    ///
    /// # Errors
    /// ENODATA if it follows none; those of reading its header.
    pub(in crate::vault) fn alias_of_file(&self, inode: &Inode) -> Result<AliasName> {
        let last = match self.file_header_info(inode.ino)? {
            Some(info) => Some(info.slots()),
            None => self.emptied.last(inode.ino),
        };
        let Some(slots) = last else {
            let open = inode.file.lock().upgrade();
            return self.alias_of_new(inode, open.as_deref());
        };
        match self.keys.follow(&slots).belonging {
            Belonging::To(alias) | Belonging::Adopted(alias) => {
                self.keys.alias_name(alias).ok_or(Error::NoData)
            }
            Belonging::AliasGone | Belonging::Pinned | Belonging::Undecided | Belonging::NewerThanKeyring => {
                Err(Error::NoData)
            }
        }
    }

    /// Whether a slot's tag is of a generation that the keyring never had.
    pub(in crate::vault) fn tag_generation(&self, slots: &SlotKeys) -> TagGeneration {
        match self.keys.follow(slots).belonging {
            Belonging::NewerThanKeyring => TagGeneration::NewerThanKeyring,
            _ => TagGeneration::NotNewer,
        }
    }

    /// Reports a header, which was verified, that a newer keyring's owner wrote than the keyring in use: an older one was
    /// put back. Once for each such generation that is newer than those that were reported. Not by a reader, whose keyring may be
    /// behind the one of the host that writes until it renews its lease.
    pub(in crate::vault) fn report_if_newer(&self, ino: Ino, slots: &SlotKeys) {
        if self.sharing == Sharing::Reader {
            return;
        }
        let Some(tag) = slots.tag else { return };
        if tag.generation.0 <= self.newest_reported.load(Ordering::Relaxed) {
            return;
        }
        let keyring = self.keys.generation();
        if tag.generation <= keyring {
            return;
        }
        self.newest_reported.fetch_max(tag.generation.0, Ordering::Relaxed);
        tracing::error!(
            ino = ino.0,
            lower = self.lower_path(ino),
            written = tag.generation.0,
            keyring = keyring.0,
            "a file was wrapped with a newer keyring than this one: an older keyring was put back; files stay \
             under their keys"
        );
        self.keys.events().record_limited(Class::Damage, || Event::FileNewerThanKeyring {
            file: self.file_ref(ino),
            backing: slots.backing,
            written: tag.generation,
            keyring,
        });
    }
}

/// As [`Vault::census_of_belonging`], of any census.
pub(super) fn belonging_of(keys: &Keys, census: &[(SlotKeys, u64)]) -> (u64, Staying) {
    let (mut stale, mut staying) = (0, Staying::default());
    for (slots, files) in census {
        let followed = keys.follow(slots);
        staying.note(followed.belonging, *files);
        if !Target::of(&followed).is_reached(slots) {
            stale += files;
        }
    }
    (stale, staying)
}

#[cfg(test)]
mod tests;
