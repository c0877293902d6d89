//! Adding, changing and removing unlock slots. Each new slot is read back from the disk and unlocked before an old one is
//! removed, so that no crash and no mistake leaves a vault that nothing unlocks.

use super::store::Saves;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::error::KeyringError;
use super::format::slot_labels::SlotLabel;
use super::keys::Keys;
use crate::crypto::keys::RootKey;
use crate::crypto::password::KdfParams;
use crate::events::Event;
use crate::ids::{SlotId, VaultId};
use crate::unlock::{CostLimit, HeldKek, Secret, Slot, SlotInfo, Slots, Unlocking};

/// Proves that a secret of the vault was given. Changing slots takes one even where the vault is unlocked.
#[derive(Debug)]
pub struct Proof(SlotId);

impl Proof {
    pub(super) fn of(slot: SlotId) -> Self {
        Self(slot)
    }

    /// The slot that the secret opened.
    pub fn slot(&self) -> SlotId {
        self.0
    }
}

/// A slot that is to be made.
#[derive(Clone)]
pub struct NewSlot<'a> {
    /// What opens it.
    pub secret: &'a Secret,
    /// Argon2id's costs, if that is a passphrase.
    pub kdf: KdfParams,
    /// What it is called.
    pub label: Option<SlotLabel>,
}

impl<'a> NewSlot<'a> {
    /// One without a label.
    pub fn of(secret: &'a Secret, kdf: KdfParams) -> Self {
        Self { secret, kdf, label: None }
    }
}

/// The slot that a new one takes the place of.
#[derive(Clone, Copy)]
enum Replaced<'a> {
    /// This one, whatever it says.
    Slot(SlotId),
    /// A custodian's, as it was read.
    AsRead(&'a HeldKek),
}

impl Replaced<'_> {
    fn id(self) -> SlotId {
        match self {
            Self::Slot(slot) => slot,
            Self::AsRead(read) => read.slot(),
        }
    }

    fn is_in(self, slots: &Slots) -> bool {
        match self {
            Self::Slot(slot) => slots.kind_of(slot).is_some(),
            Self::AsRead(read) => slots.has(read),
        }
    }
}

impl Keys {
    /// What is known of each slot, as it is on disk now: in a keyring that is the one in use, or proves that it comes from that. New
    /// KEKs are wrapped by what a custodian's slot says, so a header that somebody puts there meanwhile must not say it.
    ///
    /// # Errors
    /// If the keyring can't be read, or may not replace the one in use.
    pub fn slots(&self) -> Result<Vec<SlotInfo>, KeyringError> {
        let store = self.store.lock();
        let found = store.found()?;
        let header = found.as_ref().map_or(&store.state().header, |(found, _)| &found.header);
        Ok(header.slots.list())
    }

    /// Whether this host remembers the vault's root key.
    pub fn is_known_here(&self) -> bool {
        self.store.lock().is_known_here()
    }

    /// The kind of a slot, as in the header of the keyring in use; empty if it isn't there.
    pub fn kind_of_slot(&self, slot: SlotId) -> String {
        let slots = self.store.lock().state().header.slots.list();
        slots.into_iter().find(|info| info.id == Some(slot)).map_or_else(String::new, |info| info.kind)
    }

    /// The labels of the slots, as they are on disk now.
    ///
    /// # Errors
    /// If the keyring can't be read.
    pub fn slot_labels(&self) -> Result<Vec<(SlotId, SlotLabel)>, KeyringError> {
        Ok(self.store.lock().on_disk()?.body.slot_labels())
    }

    /// Gives a slot a label, or takes it away.
    ///
    /// # Errors
    /// [`KeyringError::UnknownSlot`]; the keyring can't be saved.
    pub fn label_slot(
        &self,
        _proof: &Proof,
        slot: SlotId,
        label: Option<SlotLabel>,
    ) -> Result<(), KeyringError> {
        let labelled = self.change(Saves::Once, |draft| {
            if draft.header.slots.list().iter().all(|info| info.id != Some(slot)) {
                return Err(KeyringError::UnknownSlot(slot));
            }
            draft.body.label_slot(slot, label);
            draft.record(Event::SlotLabelled(slot));
            Ok(())
        });
        self.recording_refusal("LabelUnlockSlot", Some(slot), labelled)
    }

    /// Checks a secret against the slots on disk. Takes as long as Argon2id takes.
    ///
    /// # Errors
    /// A wrong secret, or a keyring that can't be read or has another root key.
    pub fn prove(&self, secret: &Secret) -> Result<Proof, KeyringError> {
        // Not under the lock while Argon2id runs: a rotation must not wait for it.
        let (header, root) = {
            let store = self.store.lock();
            (store.header_on_disk()?, Arc::clone(&store.state().root))
        };
        let vault = self.vault_path().to_owned();
        let (opened, slot) = header.slots.unlock(self.vault_id(), secret, self.limit).map_err(|source| {
            if source.is_wrong_secret() {
                let kind = Some(secret.kind().name().to_owned());
                let slot = header.slots.tried_with(secret);
                self.log.record(&Event::UnlockFailed { attempts: 1, kind, slot, last: None });
            }
            KeyringError::Unlock { vault: vault.clone(), source }
        })?;
        if bool::from(opened.expose().ct_eq(root.expose())) {
            Ok(Proof(slot))
        } else {
            Err(KeyringError::RootKeyReplaced(vault))
        }
    }

    /// Adds a slot and unlocks with it from the disk to be sure.
    ///
    /// # Errors
    /// [`KeyringError`]; if the new slot doesn't open it is removed again.
    pub fn add_slot(&self, _proof: &Proof, new: &NewSlot<'_>) -> Result<SlotId, KeyringError> {
        self.recording_refusal("AddUnlockSlot", None, self.add_verified(new, None))
    }

    /// `replaces` is the slot that is removed afterwards. It must still be there, doesn't count toward the limits, and leaves
    /// its label to one that brings none.
    fn add_verified(
        &self,
        new: &NewSlot<'_>,
        replaces: Option<Replaced<'_>>,
    ) -> Result<SlotId, KeyringError> {
        let NewSlot { secret, kdf, label } = new;
        let root = Arc::clone(&self.store.lock().state().root);
        let slot = Slot::seal(self.vault_id(), &root, secret, *kdf, self.clock.now())?;
        let id = slot.id();
        self.change(Saves::Once, |draft| {
            same_root(&draft.root, &root, self)?;
            let (mut others, mut label) = (draft.header.slots.clone(), label.clone());
            if let Some(replaced) = replaces {
                let old = replaced.id();
                if !replaced.is_in(&others) {
                    return Err(KeyringError::UnknownSlot(old));
                }
                others.remove(old);
                let labels = draft.body.slot_labels();
                let inherited = labels.into_iter().find(|(labelled, _)| *labelled == old);
                label = label.or(inherited.map(|(_, label)| label));
            }
            others
                .can_add(&slot, CostLimit::Usual)
                .map_err(|_| KeyringError::NoRoomForSlot(self.vault_path().to_owned()))?;
            draft.header.slots.push(slot);
            if label.is_some() {
                draft.body.label_slot(id, label);
            }
            draft.record(Event::SlotAdded(id));
            Ok(())
        })?;
        let on_disk = self.store.lock().header_on_disk()?.slots;
        if !on_disk.verify(self.vault_id(), id, secret, &root) {
            self.take_out(id)?;
            return Err(KeyringError::NotVerified(secret.kind()));
        }
        Ok(id)
    }

    /// Removes a slot, also from keyring.prev.
    ///
    /// # Errors
    /// [`KeyringError::UnknownSlot`], or [`KeyringError::LastSlot`] for the last one that can be opened.
    pub fn remove_slot(&self, _proof: &Proof, slot: SlotId) -> Result<(), KeyringError> {
        self.recording_refusal("RemoveUnlockSlot", Some(slot), self.take_out(slot))
    }

    /// Replaces a slot by a new one, which has its label unless it brings its own: the new one is added and verified before
    /// the old one is removed. One that somebody else removes in between doesn't come back in another form: the new one goes, too,
    /// unless nothing else that somebody has opens the vault. Returns the new slot's id.
    ///
    /// # Errors
    /// As [`Keys::add_slot`] and [`Keys::remove_slot`]; the old slot is still there then.
    pub fn change_slot(
        &self,
        _proof: &Proof,
        slot: SlotId,
        new: &NewSlot<'_>,
    ) -> Result<SlotId, KeyringError> {
        // Before Argon2id runs for the new one.
        if self.store.lock().header_on_disk()?.slots.kind_of(slot).is_none() {
            return Err(KeyringError::UnknownSlot(slot));
        }
        let added = self.add_verified(new, Some(Replaced::Slot(slot)));
        let new = self.recording_refusal("AddUnlockSlot", None, added)?;
        self.complete_replacement(Replaced::Slot(slot), new)
    }

    /// Replaces a custodian's slot, for which `read` was unwrapped, by one with the KEK `new`, while it is what was read: whether it
    /// is, is looked at under the lock of the change that adds the new one, and of the one that removes the old. What someone
    /// else has put in its place meanwhile stays, and what was removed doesn't come back. Returns the new slot's id.
    ///
    /// # Errors
    /// As [`Keys::change_slot`]; [`KeyringError::UnknownSlot`] if it isn't what was read.
    pub fn rewrap_slot(&self, _proof: &Proof, read: &HeldKek, new: &Secret) -> Result<SlotId, KeyringError> {
        // It has no costs.
        let new = NewSlot::of(new, KdfParams { memory_kib: 0, passes: 0, lanes: 0 });
        let added = self.add_verified(&new, Some(Replaced::AsRead(read)));
        let new = self.recording_refusal("AddUnlockSlot", None, added)?;
        self.complete_replacement(Replaced::AsRead(read), new)
    }

    /// Puts the slot under the newer version of its custodian's key by which a vault was opened. The custodian has wrapped the KEK
    /// before. A slot that can't be replaced stays as it is: the vault is open, and a warning says so.
    pub fn follow_custodian(&self, proof: &Proof, unlocking: &Unlocking) {
        let (Secret::Custodian(held), Some(new)) = (&unlocking.secret, &unlocking.replacement) else {
            return;
        };
        match self.rewrap_slot(proof, held, new) {
            Ok(new) => tracing::info!(
                "slot {} of an older version of its custodian's key is replaced by slot {new}",
                held.slot()
            ),
            Err(error) => tracing::warn!(
                "slot {} stays under an older version of its custodian's key: {error}",
                held.slot()
            ),
        }
    }

    /// Removes the old slot, or, if it isn't there any more, the new one. Whoever removed one of the two has looked whether the other
    /// opens the vault, so that stays where nothing else does, and always where it is the only one of them.
    fn complete_replacement(&self, old: Replaced<'_>, new: SlotId) -> Result<SlotId, KeyringError> {
        let slot = old.id();
        let replaced = self.change(Saves::Twice, |draft| {
            let slots = &mut draft.header.slots;
            let is_there = old.is_in(slots);
            if slots.kind_of(new).is_none() {
                return Err(KeyringError::UnknownSlot(if is_there { new } else { slot }));
            }
            if !is_there && !slots.opens_without(Some(new)) {
                return Ok(true);
            }
            let gone = if is_there { slot } else { new };
            slots.remove(gone);
            draft.record(Event::SlotRemoved(gone));
            Ok(is_there)
        });
        if self.recording_refusal("RemoveUnlockSlot", Some(slot), replaced)? {
            Ok(new)
        } else {
            Err(KeyringError::UnknownSlot(slot))
        }
    }

    /// Removes the slots `gone` and adds new ones, in one change: for someone who recovers a vault there is nothing in
    /// between. The new ones were unlocked from the bytes that will be on disk. Returns their ids.
    ///
    /// # Errors
    /// As [`Keys::add_slot`] and [`Keys::remove_slot`]; nothing is changed then.
    pub fn replace_slots(
        &self,
        _proof: &Proof,
        gone: &[SlotId],
        new: &[NewSlot<'_>],
    ) -> Result<Vec<SlotId>, KeyringError> {
        let root = Arc::clone(&self.store.lock().state().root);
        let (vault, now) = (self.vault_id(), self.clock.now());
        let mut slots = Slots::default();
        let mut ids = Vec::with_capacity(new.len());
        let mut sealed = Vec::with_capacity(new.len());
        for NewSlot { secret, kdf, .. } in new {
            let slot = Slot::seal(vault, &root, secret, *kdf, now)?;
            ids.push(slot.id());
            slots.push(slot.clone());
            sealed.push(slot);
        }
        let replaced = verified(&slots, vault, new.iter().map(|new| new.secret), &root).and_then(|_| {
            self.change(Saves::Twice, |draft| {
                same_root(&draft.root, &root, self)?;
                for slot in gone {
                    if !draft.header.slots.remove(*slot) {
                        return Err(KeyringError::UnknownSlot(*slot));
                    }
                    draft.record(Event::SlotRemoved(*slot));
                }
                for (slot, NewSlot { label, .. }) in sealed.into_iter().zip(new) {
                    draft
                        .header
                        .slots
                        .can_add(&slot, CostLimit::Usual)
                        .map_err(|_| KeyringError::NoRoomForSlot(self.vault_path().to_owned()))?;
                    draft.body.label_slot(slot.id(), label.clone());
                    draft.record(Event::SlotAdded(slot.id()));
                    draft.header.slots.push(slot);
                }
                if !draft.header.slots.opens_without(None) {
                    return Err(gone
                        .first()
                        .map_or(KeyringError::NoSecret, |slot| KeyringError::LastSlot(*slot)));
                }
                Ok(())
            })
        });
        self.recording_refusal("ReplaceUnlockSlots", gone.first().copied(), replaced)?;
        Ok(ids)
    }

    fn take_out(&self, slot: SlotId) -> Result<(), KeyringError> {
        self.change(Saves::Twice, |draft| {
            let slots = &mut draft.header.slots;
            if slots.kind_of(slot).is_some() && !slots.opens_without(Some(slot)) {
                return Err(KeyringError::LastSlot(slot));
            }
            if !slots.remove(slot) {
                return Err(KeyringError::UnknownSlot(slot));
            }
            draft.record(Event::SlotRemoved(slot));
            Ok(())
        })
    }
}

/// Encodes these slots as the header will have them, decodes them, and unlocks each with its secret: to be called before
/// the old ones are removed.
///
/// # Errors
/// [`KeyringError::NotVerified`].
pub(super) fn verified<'a>(
    slots: &Slots,
    vault: VaultId,
    secrets: impl Iterator<Item = &'a Secret>,
    root: &RootKey,
) -> Result<Slots, KeyringError> {
    let written = serde_json::to_vec(slots).and_then(|bytes| serde_json::from_slice::<Slots>(&bytes));
    for (index, secret) in secrets.enumerate() {
        let opens = |slots: &Slots| {
            let id = slots.list().get(index).and_then(|slot| slot.id);
            id.is_some_and(|id| slots.verify(vault, id, secret, root))
        };
        if !written.as_ref().is_ok_and(opens) {
            return Err(KeyringError::NotVerified(secret.kind()));
        }
    }
    written.map_err(|_| KeyringError::NoSecret)
}

/// A slot must seal the root key that the body is sealed under when it is saved.
pub(super) fn same_root(now: &RootKey, sealed: &RootKey, keys: &Keys) -> Result<(), KeyringError> {
    if bool::from(now.expose().ct_eq(sealed.expose())) {
        Ok(())
    } else {
        Err(KeyringError::RootKeyReplaced(keys.vault_path().to_owned()))
    }
}
