//! Finding a token, and logging in to it.
//!
//! **A PIN is tried once.** Tokens lock after a few wrong ones. So one from a file is tried only on the token that the file is named
//! like, whatever a vault's header says, and never when it is the last try: that one is a person's. Helpers that have such a PIN try
//! it one after the other, each by what the token says then. One that was wrong isn't tried again: a person at a terminal is asked then.
//!
//! **Nothing of a library is ended**, neither a session nor the library itself: what fails there, or never ends, would take a key with it
//! that is open already. The process ends with its answer, and the token sees that.

use std::mem::{self, ManuallyDrop};
use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use rekeyfs_custodians::{Kind, Pkcs11Uri, Prompt, Refusal, Request, alone_with, pin_of_file};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::said::refusal;

/// A token that is there.
pub(super) struct Token {
    module: Pkcs11,
    slot: Slot,
    info: TokenInfo,
}

impl Token {
    /// The one that a URI names, in the modules that the host's list has.
    pub(super) fn find(request: &Request, uri: &Pkcs11Uri) -> Result<Self, Refusal> {
        let (mut found, mut failed) = (Vec::new(), None);
        for path in modules(request)? {
            match Self::of_module(path, uri) {
                Ok(of_module) => found.extend(of_module),
                // The token may be another library's.
                Err(refusal) => failed = failed.or(Some(refusal)),
            }
        }
        let name = uri.token_name();
        match (found.pop(), found.len()) {
            (Some(token), 0) => Ok(token),
            (Some(_), more) => {
                let cause = format!("{} tokens are {name}; say which by serial= in the uri", more + 1);
                Err(Refusal::new(Kind::NotFound, cause))
            }
            // It may be plugged in again, and a network HSM may come up.
            (None, _) => Err(failed.unwrap_or_else(|| {
                Refusal::new(Kind::Offline, format!("the token {name} isn't there; plug it in"))
            })),
        }
    }

    /// Those in a module that a URI names.
    fn of_module(path: &str, uri: &Pkcs11Uri) -> Result<Vec<Self>, Refusal> {
        let module = load(path)?;
        let slots = module.get_slots_with_token().map_err(|error| refusal(path, &error))?;
        // One that is pulled out meanwhile isn't there.
        let found = slots.into_iter().filter_map(|slot| Some((slot, module.get_token_info(slot).ok()?)));
        let meant = found.filter(|(_, info)| info.token_initialized() && is_meant(uri, info));
        Ok(meant.map(|(slot, info)| Self { module: module.clone(), slot, info }).collect())
    }

    /// Its label.
    pub(super) fn name(&self) -> &str {
        self.info.label()
    }

    pub(super) fn module(&self) -> (&Pkcs11, Slot) {
        (&self.module, self.slot)
    }

    /// A session that may use its private objects.
    pub(super) fn log_in(&self, request: &Request) -> Result<ManuallyDrop<Session>, Refusal> {
        let failed = |error: &Error| refusal(&format!("token {}", self.name()), error);
        let session = self.module.open_ro_session(self.slot).map(ManuallyDrop::new);
        let session = session.map_err(|error| failed(&error))?;
        if !self.info.login_required() {
            return Ok(session);
        }
        let file = if request.ask_pin { None } else { self.pin_file(request)? };
        // A file that can't be used is told of where its PIN is wanted.
        let alone = file.and_then(|path| alone_with(path).ok());
        let info = self.module.get_token_info(self.slot).map_err(|error| failed(&error))?;
        // Nobody waits for a person.
        let _alone = alone.filter(|_| !info.user_pin_final_try());
        let denied = |cause: &str| Err(Refusal::new(Kind::Denied, format!("token {}: {cause}", self.name())));
        if info.user_pin_locked() {
            return denied(
                "its PIN is locked after too many wrong ones; its security officer sets a new one",
            );
        }
        if !info.user_pin_initialized() {
            return denied("it has no user's PIN yet");
        }
        let pin = self.pin(request, file, &info)?;
        let pin = pin.as_ref().map(|pin| AuthPin::new(pin.as_str().into()));
        match session.login(UserType::User, pin.as_ref()) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid, _)) => {
                let now = self.module.get_token_info(self.slot).ok();
                if now.as_ref().is_some_and(TokenInfo::user_pin_locked) {
                    return denied(
                        "the PIN was wrong, and is locked now; its security officer sets a new one",
                    );
                }
                let left = now.filter(TokenInfo::user_pin_final_try).map(|_| 1);
                // That of the last try is a person's.
                let stored = file.filter(|_| !info.user_pin_final_try());
                let cause = match stored {
                    Some(path) => format!("token {}: that in {path} is wrong; correct it there", self.name()),
                    None => format!("token {}: it is wrong", self.name()),
                };
                Err(Refusal::new(Kind::Pin, cause).tries_left(left).stored(stored.is_some()))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// The PIN, of a file or a person; none if it is entered at the token.
    fn pin(
        &self,
        request: &Request,
        file: Option<&str>,
        info: &TokenInfo,
    ) -> Result<Option<Zeroizing<String>>, Refusal> {
        let name = self.name();
        if info.protected_authentication_path() {
            request.ask(Prompt::Touch, &format!("enter the PIN at the token {name}"))?;
            return Ok(None);
        }
        let last = info.user_pin_final_try();
        if let Some(path) = file.filter(|_| !last) {
            return pin_of_file(path).map(Some);
        }
        let warning = match (last, file) {
            (true, Some(_)) => " (one more wrong PIN locks it; so that of its file wasn't tried)",
            (true, None) => " (one more wrong PIN locks it)",
            (false, _) if info.user_pin_count_low() => " (the last one was wrong)",
            (false, _) => "",
        };
        request.ask(Prompt::Pin, &format!("PIN of the token {name}{warning}")).map(Some)
    }

    /// The file that is for this token. One that this user can't read is another user's: the host's list names root's for all.
    fn pin_file<'a>(&self, request: &'a Request) -> Result<Option<&'a str>, Refusal> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let name: String = self.name().chars().map(plain).collect();
        let is_its = |path: &&String| {
            let file =
                Path::new(path.as_str()).file_name().and_then(|file| file.to_str()).unwrap_or_default();
            file.strip_suffix(".pin").unwrap_or(file) == name
        };
        let is_for_us = |path: &&String| {
            accessat(CWD, path.as_str(), Access::READ_OK, AtFlags::EACCESS) != Err(Errno::ACCESS)
        };
        let mut its = request.allowed.all("file").iter().filter(is_its).filter(is_for_us);
        match (its.next(), its.next()) {
            (file, None) => Ok(file.map(String::as_str)),
            (_, Some(_)) => {
                let cause = format!("custodians.conf has two files with a PIN of the token {}", self.name());
                Err(Refusal::new(Kind::NotAllowed, cause))
            }
        }
    }
}

/// The libraries to look in.
fn modules(request: &Request) -> Result<Vec<&str>, Refusal> {
    let mut all: Vec<&str> = request.allowed.all("module").iter().map(String::as_str).collect();
    if request.params.contains_key("module") {
        let one = request.text("module")?;
        request.allowed.require("module", one)?;
        all.retain(|path| *path == one);
    }
    all.sort_unstable();
    all.dedup();
    let Some(relative) = all.iter().find(|path| !Path::new(path).is_absolute()) else {
        if all.is_empty() {
            let cause = "custodians.conf names no library: pkcs11 module=/usr/lib/…/library.so";
            return Err(Refusal::new(Kind::NotAllowed, cause));
        }
        return Ok(all);
    };
    let cause = format!("custodians.conf has module={relative}, which isn't absolute");
    Err(Refusal::new(Kind::NotAllowed, cause))
}

fn load(path: &str) -> Result<Pkcs11, Refusal> {
    let module = Pkcs11::new(path).map_err(|error| {
        Refusal::new(Kind::Missing, format!("the library {path} can't be loaded: {error}"))
    })?;
    mem::forget(module.clone());
    module
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .map_err(|error| refusal(path, &error))?;
    Ok(module)
}

fn is_meant(uri: &Pkcs11Uri, info: &TokenInfo) -> bool {
    let matches =
        |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    matches(&uri.token, info.label())
        && matches(&uri.manufacturer, info.manufacturer_id())
        && matches(&uri.model, info.model())
        && matches(&uri.serial, info.serial_number())
}
