//! An opened keyring, and the one way of changing it ([`Store::change`]): lock, read again, change, record, seal, replace.
//!
//! Order of writes: the change's events become durable in the audit log; the new keyring becomes durable under a
//! temporary name; the old one becomes `keyring.prev`; the new one is renamed over it and the directory is synced. A crash
//! before the last rename leaves the old keyring, and a log with a generation that never was: the next change records
//! that. A crash after it leaves the new one.

use std::sync::Arc;

use self::seen_generations::SeenGenerations;
use self::vault_dir::{Fingerprint, KeyringLock, VaultDir};
use crate::crypto::keys::{EventKey, RootKey};
use crate::crypto::sha256;
use crate::events::{self, Anchor, Event, EventLog, FormerKey};
use crate::ids::Generation;
use crate::keyring::error::KeyringError;
use crate::keyring::format::body::{self, BodyError};
use crate::keyring::format::header::{self, Header, HeaderError, Kind};
use crate::keyring::format::line::{Descent, Head};
use crate::keyring::format::model::KeyringBody;
use crate::keyring::hosts::Announced;
use crate::keyring::rules::loss::Loss;
use crate::storage::Writable;

mod reader;
mod reserve;
mod rollback;
pub(in crate::keyring) mod seen_generations;
mod telling;
pub(in crate::keyring) mod vault_dir;

pub use reserve::RESERVE_NAMES;

type Result<T> = std::result::Result<T, KeyringError>;

/// A keyring file that was read and opened.
#[derive(Clone)]
pub(in crate::keyring) struct OpenedKeyring {
    pub(in crate::keyring) header: Header,
    pub(in crate::keyring) body: KeyringBody,
    pub(in crate::keyring) root: Arc<RootKey>,
    hash: [u8; 32],
    fingerprint: Fingerprint,
    /// Bytes of the file.
    len: u64,
}

impl OpenedKeyring {
    fn head(&self) -> Head {
        Head { generation: self.body.generation, hash: self.hash }
    }
}

/// The keyring as a change edits it.
pub(in crate::keyring) struct Draft {
    pub(in crate::keyring) header: Header,
    pub(in crate::keyring) body: KeyringBody,
    pub(in crate::keyring) root: Arc<RootKey>,
    events: Vec<Event>,
    /// The event key from the lines of this change on, if it is another one.
    new_event_key: Option<Arc<EventKey>>,
}

impl Draft {
    /// The first keyring of a vault.
    pub(in crate::keyring) fn first(header: Header, body: KeyringBody, root: Arc<RootKey>) -> Self {
        Self { header, body, root, events: Vec::new(), new_event_key: None }
    }

    /// Records what the change does, for the audit log. The event is durable before the keyring is saved, so that no change
    /// is without its event.
    pub(in crate::keyring) fn record(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Continues the log with another key, after the events that the change records; the last of them says so.
    pub(in crate::keyring) fn replace_event_key(&mut self, key: Arc<EventKey>) {
        self.record(Event::EventKeyReplaced);
        self.new_event_key = Some(key);
    }

    /// Takes the new event key, if there is one, into use after this line of the log, and keeps the former one for what it made.
    fn close_log_at(&mut self, last: Anchor) {
        self.body.event_anchor = last;
        if let Some(new) = self.new_event_key.take() {
            let key = std::mem::replace(&mut self.body.event_key, new);
            self.body.extensions.keep_event_key(FormerKey { key, until: last });
        }
    }

    /// The keyring file, and what it will be once it is on disk.
    fn seal(self, dir: &VaultDir) -> Result<(Vec<u8>, OpenedKeyring)> {
        let Self { mut header, mut body, root, .. } = self;
        body.write_gaps();
        body.keep_labels_of(&header.slots);
        header.incompat = features_of(&header, &body);
        let encoded = body::encode(&body).map_err(|e| match e {
            BodyError::TooLarge => KeyringError::Full(e.to_string()),
            BodyError::Malformed(what) => dir.damaged(what),
        })?;
        let bytes = sealed(&header, Kind::Keyring, &root, &encoded)?;
        let aad = parse(dir, &bytes)?.aad.len();
        let (hash, fingerprint, len) = (sha256(&bytes), Fingerprint::of(&bytes, aad), bytes.len() as u64);
        Ok((bytes, OpenedKeyring { header, body, root, hash, fingerprint, len }))
    }
}

/// What a program must know to read this body, and to use the vault whose keyring had this header.
pub(in crate::keyring) fn features_of(header: &Header, body: &KeyringBody) -> u32 {
    let gaps = if body.has_gaps() { header::HAS_GAPS } else { 0 };
    gaps | header.incompat & header::SHARED
}

/// A whole file: frame, header, sealed body.
pub(in crate::keyring) fn sealed(
    header: &Header,
    kind: Kind,
    root: &RootKey,
    body: &[u8],
) -> Result<Vec<u8>> {
    let full = || KeyringError::Full("the vault has too many slots".to_owned());
    let mut bytes = header.encode(kind).ok_or_else(full)?;
    let sealed = root.seal_keyring(header.vault, &bytes, body);
    bytes.extend_from_slice(&sealed);
    Ok(bytes)
}

/// Splits a keyring file into its parts. Nothing of it is authenticated yet.
pub(in crate::keyring) fn parse<'a>(dir: &VaultDir, bytes: &'a [u8]) -> Result<header::Parts<'a>> {
    parse_as(dir, bytes, Kind::Keyring)
}

/// As [`parse`], for a file of either kind.
pub(in crate::keyring) fn parse_as<'a>(
    dir: &VaultDir,
    bytes: &'a [u8],
    kind: Kind,
) -> Result<header::Parts<'a>> {
    header::parse(bytes, kind).map_err(|e| match e {
        HeaderError::Damaged(what) => dir.damaged(what),
        HeaderError::Newer(what) => KeyringError::NewerFormat { vault: dir.path().to_owned(), what },
    })
}

/// Opens a keyring file's body.
pub(in crate::keyring) fn open(dir: &VaultDir, bytes: &[u8], root: Arc<RootKey>) -> Result<OpenedKeyring> {
    open_as(dir, bytes, Kind::Keyring, root)
}

/// As [`open`], for a file of either kind. The state of a backup is only read, never saved.
pub(in crate::keyring) fn open_as(
    dir: &VaultDir,
    bytes: &[u8],
    kind: Kind,
    root: Arc<RootKey>,
) -> Result<OpenedKeyring> {
    open_parts(dir, bytes, parse_as(dir, bytes, kind)?, root)
}

/// As [`open_as`], for a file that was taken apart.
pub(in crate::keyring) fn open_parts(
    dir: &VaultDir,
    bytes: &[u8],
    parts: header::Parts<'_>,
    root: Arc<RootKey>,
) -> Result<OpenedKeyring> {
    open_parts_or(dir, bytes, parts, root, |_| body_damaged(dir))
}

/// As [`open_parts`]; `refused` says what it means if the root key doesn't open the body.
fn open_parts_or(
    dir: &VaultDir,
    bytes: &[u8],
    parts: header::Parts<'_>,
    root: Arc<RootKey>,
    refused: impl FnOnce(&Header) -> KeyringError,
) -> Result<OpenedKeyring> {
    let opened = root.open_keyring(parts.header.vault, parts.aad, parts.sealed);
    let opened = opened.map_err(|_| refused(&parts.header))?;
    let body = body::decode(&opened).map_err(|e| dir.damaged(format!("its body: {e}")))?;
    let fingerprint = Fingerprint::of(bytes, parts.aad.len());
    Ok(OpenedKeyring {
        header: parts.header,
        body,
        root,
        hash: sha256(bytes),
        fingerprint,
        len: bytes.len() as u64,
    })
}

fn body_damaged(dir: &VaultDir) -> KeyringError {
    dir.damaged("the root key doesn't open its body, so bytes of it have changed".to_owned())
}

/// Writes the first keyring of a vault.
pub(in crate::keyring) fn create(dir: &VaultDir, lock: &KeyringLock, draft: Draft) -> Result<OpenedKeyring> {
    let (bytes, state) = draft.seal(dir)?;
    dir.create(lock, &bytes)?;
    dir.replenish_reserve(lock, state.len);
    Ok(state)
}

/// How often a change is saved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Saves {
    /// Once: what the change took out is in keyring.prev still.
    Once,
    /// Twice: it is in neither file.
    Twice,
}

/// A step of a change that can fail.
enum Step {
    Record,
    Save,
}

/// An opened keyring and where it lies.
pub(in crate::keyring) struct Store {
    dir: VaultDir,
    state: OpenedKeyring,
    host: SeenGenerations,
    /// The loss that `state` marks and the file doesn't yet, and how many versions it is of one key.
    loss: Option<(Loss, u32)>,
    /// Whether the user accepted this keyring at this path: what is saved next is remembered for the path.
    accepted: bool,
    /// What other hosts were told of the last change, or why they couldn't be told.
    announced: Option<Result<Announced>>,
    /// Whether another host has the vault mounted to write it, so that nothing of it is written here.
    written_elsewhere: bool,
}

impl Store {
    /// What this host remembers.
    pub(in crate::keyring) fn host(&self) -> &SeenGenerations {
        &self.host
    }

    pub(in crate::keyring) fn new(dir: VaultDir, state: OpenedKeyring, host: SeenGenerations) -> Self {
        Self { dir, state, host, loss: None, accepted: false, announced: None, written_elsewhere: false }
    }

    pub(in crate::keyring) fn state(&self) -> &OpenedKeyring {
        &self.state
    }

    pub(in crate::keyring) fn dir(&self) -> &VaultDir {
        &self.dir
    }

    /// The permission to write the vault.
    ///
    /// # Errors
    /// [`KeyringError::MayOnlyRead`], [`KeyringError::WrittenElsewhere`].
    pub(in crate::keyring) fn writable(&self) -> Result<Writable> {
        if self.written_elsewhere {
            return Err(KeyringError::WrittenElsewhere(self.dir.path().to_owned()));
        }
        self.dir.writable(&self.state.header)
    }

    /// The newest generation that is known of: the next save gets a higher one.
    pub(in crate::keyring) fn newest(&self) -> Generation {
        let found = self.state.body.generation;
        self.loss.map_or(found, |(loss, _)| loss.newest(found))
    }

    /// Changes the keyring. Returns what `change` returns, once the new keyring is durable.
    ///
    /// The events that the change records carry the generation that it is saved as. A save that fails is recorded at once;
    /// after a crash, the next change records that the generation never was.
    ///
    /// # Errors
    /// Those of `change`, or that its events can't be made durable: nothing was changed then. Or why the keyring can't be
    /// saved: the one on disk is the old one or the new one then.
    pub(in crate::keyring) fn change<T>(
        &mut self,
        log: &EventLog,
        saves: Saves,
        change: impl FnOnce(&mut Draft) -> Result<T>,
    ) -> Result<T> {
        let lock = self.dir.lock(self.writable()?)?;
        let unproven = self.refresh()?;
        // A newer program may have set a feature bit since. Only the lock file was written so far.
        self.writable()?;
        if !self.accepted
            && let Some(original) = self.original()
        {
            return Err(KeyringError::Copy { vault: self.dir.path().to_owned(), original });
        }
        let (mut draft, found) = (self.draft(), self.state.body.generation);
        if let Some(seen) = unproven {
            draft.record(Event::DescentUnproven { found, seen });
        }
        if let Some((loss, versions)) = self.loss {
            draft.record(Event::VersionsLost { found, known: loss.known, versions });
        }
        let out = change(&mut draft)?;
        self.check_hosts_can_be_told()?;
        let new_event_key = draft.new_event_key.clone();
        if new_event_key.is_some() {
            log.hold().map_err(|source| self.unrecorded(source))?;
        }
        let (generation, before) = (draft.body.generation, self.state.fingerprint.clone());
        let saved = self.record_and_save(&lock, log, saves, draft);
        let in_use = new_event_key.as_ref().map(|new| Arc::ptr_eq(new, &self.state.body.event_key));
        if in_use == Some(true) {
            log.replace_key(self.state.body.log_keys());
        }
        if let Err((error, Step::Save)) = &saved {
            // Only if the old keyring is still in its place was the new one never in use: others may have read it.
            let replaced = !self.dir.is_current(&before).unwrap_or(false);
            if in_use == Some(false) && replaced {
                tracing::warn!(
                    "the change of the event key may have been made, so nothing is recorded: {error}"
                );
            } else {
                log.record_durably(&Event::ChangeFailed { generation, replaced });
            }
        }
        if in_use == Some(false) {
            log.keep_key();
        }
        saved.map_err(|(error, _)| error)?;
        self.announce(&lock)?;
        self.dir.replenish_reserve(&lock, self.state.len);
        Ok(out)
    }

    /// Loads what another process has saved, and makes sure that it is durable: its saver may have died before it was.
    pub(in crate::keyring) fn catch_up(&mut self) -> Result<()> {
        self.refresh()?;
        self.dir.sync_keyring()
    }

    /// Makes the change's events durable, and then the change.
    fn record_and_save(
        &mut self,
        lock: &KeyringLock,
        log: &EventLog,
        saves: Saves,
        mut draft: Draft,
    ) -> std::result::Result<(), (KeyringError, Step)> {
        let (events, generation) = (std::mem::take(&mut draft.events), draft.body.generation);
        let found = self.state.body.generation;
        let recorded = log.record_change(&events, found, generation, &mut || self.dir.release_reserve());
        let last = recorded.map_err(|source| (self.unrecorded(source), Step::Record))?;
        draft.close_log_at(last);
        self.dir.discard_temporary_files(lock);
        let mut saved = self.replace(lock, draft);
        if saves == Saves::Twice && saved.is_ok() {
            saved = self.replace(lock, self.draft());
        }
        if saved.is_ok() {
            events.iter().for_each(events::log_change);
        }
        saved.map_err(|error| (error, Step::Save))
    }

    /// Continues the event log in a new file, while no process saves the keyring.
    pub(in crate::keyring) fn rotate_log(&mut self, log: &EventLog) -> Result<String> {
        let _lock = self.dir.lock(self.writable()?)?;
        self.refresh()?;
        self.writable()?;
        log.rotate(self.state.body.generation).map_err(|source| KeyringError::Io {
            path: self.dir.path().join(events::FILE_NAME),
            what: "continue it in a new file",
            source: source.into(),
        })
    }

    /// The error for a change whose events can't be made durable.
    fn unrecorded(&self, source: crate::storage::Errno) -> KeyringError {
        KeyringError::Io {
            path: self.dir.path().join(events::FILE_NAME),
            what: "record the change, which was not made",
            source: source.into(),
        }
    }

    /// Creates the reserve for saving on a full disk where it is missing: an older program made none, or a save used it.
    pub(in crate::keyring) fn replenish_reserve(&self) {
        if let Ok(writable) = self.writable()
            && let Ok(lock) = self.dir.lock(writable)
        {
            self.dir.replenish_reserve(&lock, self.state.len);
        }
    }

    fn replace(&mut self, lock: &KeyringLock, draft: Draft) -> Result<()> {
        let (bytes, state) = draft.seal(&self.dir)?;
        self.dir.replace(lock, &bytes)?;
        self.state = state;
        self.loss = None;
        self.remember();
        Ok(())
    }

    fn draft(&self) -> Draft {
        let OpenedKeyring { header, mut body, root, .. } = self.state.clone();
        body.continue_line(self.state.head());
        body.generation = Generation(self.newest().0.saturating_add(1));
        Draft { header, body, root, events: Vec::new(), new_event_key: None }
    }

    /// Loads what other processes saved since, or what a failed save of this one left. Returns the generation that was in
    /// use before if the keyring on disk doesn't prove that it comes from that.
    fn refresh(&mut self) -> Result<Option<Generation>> {
        if self.dir.is_current(&self.state.fingerprint)? {
            return Ok(None);
        }
        let Some((found, descent)) = self.found()? else { return Ok(None) };
        let (found_at, seen) = (found.body.generation, self.state.body.generation);
        self.state = found;
        // The process that saved it had the same evidence, unless it is an older program. Where the log was ahead, it may have
        // been of this save.
        if let Some((loss, _)) = self.loss.take().filter(|(loss, _)| loss.known > Some(found_at)) {
            let versions = self.state.body.lose(&loss);
            self.loss = Some((loss, versions));
        }
        Ok((descent == Descent::Unknown).then_some(seen))
    }

    /// The keyring on disk, if it isn't the one in use, and whether it comes from that.
    ///
    /// # Errors
    /// [`KeyringError`], if it may not replace the one in use.
    pub(in crate::keyring) fn found(&self) -> Result<Option<(OpenedKeyring, Descent)>> {
        let bytes = self.dir.read()?;
        if sha256(&bytes) == self.state.hash {
            return Ok(None);
        }
        let vault = self.dir.path().to_owned();
        let parts = parse(&self.dir, &bytes)?;
        let refused = |header: &Header| {
            if header.slots.share_one_with(&self.state.header.slots) {
                body_damaged(&self.dir)
            } else {
                KeyringError::RootKeyReplaced(vault.clone())
            }
        };
        let found = open_parts_or(&self.dir, &bytes, parts, Arc::clone(&self.state.root), refused)?;
        let (found_at, seen) = (found.body.generation, self.state.body.generation);
        if found_at < seen {
            return Err(KeyringError::RolledBack { vault, found: found_at, seen, elsewhere: None });
        }
        let descent = found.body.comes_from(self.state.head());
        if found_at == seen || descent == Descent::Other {
            return Err(KeyringError::Forked { vault, found: found_at, elsewhere: None });
        }
        Ok(Some((found, descent)))
    }

    /// Whether the keyring on disk is this one.
    pub(in crate::keyring) fn still_is(&self, state: &OpenedKeyring) -> bool {
        self.dir.is_current(&state.fingerprint).unwrap_or(false)
    }

    /// The keyring as it is on disk now, if its root key is the one in use.
    pub(in crate::keyring) fn on_disk(&self) -> Result<OpenedKeyring> {
        open(&self.dir, &self.dir.read()?, Arc::clone(&self.state.root))
    }

    /// The audit log's anchor as it is on disk now.
    pub(in crate::keyring) fn anchor_on_disk(&self) -> Result<Anchor> {
        Ok(self.on_disk()?.body.event_anchor)
    }

    /// The keyring's header as it is on disk now.
    pub(in crate::keyring) fn header_on_disk(&self) -> Result<Header> {
        Ok(parse(&self.dir, &self.dir.read()?)?.header)
    }
}
