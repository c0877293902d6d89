//! Opening a vault by its custodians' slots, before a passphrase is asked for.
//!
//! **Order.** All custodians are asked at once, under one deadline, and nobody for a PIN. If none opens the vault and there is a
//! terminal, those that want a PIN or a touch are asked again, one after the other, there; so are those that have a PIN stored which is
//! wrong, and these don't try that one again. Then comes the passphrase. An
//! option that gives a secret, or `--no-custodian`, leaves the custodians alone; `--custodian` leaves out the passphrase.
//!
//! **None is asked about a vault that this host doesn't know** (keyring/open.rs): its header may be anybody's. Nor about one whose
//! header has more slots than rekeyfs makes.
//!
//! All of this comes before the fork of a mount: a person can be asked, and the process has one thread.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::custodian_choice::Choice;
use super::exit::{Exit, Failure, Outcome};
use super::secrets::SecretPlan;
use super::{errors, output, prompt};
use crate::custody::{Environment, Host, NobodyAnswers, Prompt, PromptKind, Refusal, RefusalKind};
use crate::ids::{self, SlotId};
use crate::keyring::{Header, KeyringError};
use crate::unlock::custodian::{CustodySlot, HeldOpen, ask_all, ask_one, hold};
use crate::unlock::{CostLimit, CustodianName, Secret, Unlocking};

/// How often a PIN is asked for while it is wrong: each time a person types it.
const PIN_TRIES: u32 = 3;

/// A vault that custodians are asked about.
pub(super) struct Asked<'a> {
    /// Its directory, or file, for messages.
    pub(super) place: &'a Path,
    /// What it says without a secret.
    pub(super) header: &'a Header,
    /// Whether this host knows it, or is to learn of it now.
    pub(super) known: bool,
    /// Whose variables helpers get.
    pub(super) environment: Environment,
    /// Whether a slot is to be replaced whose custodian has a newer version of its key.
    pub(super) rewrap: bool,
}

/// What became of asking the custodians.
pub(super) enum Answer {
    /// One opens the vault.
    Opens(Box<Unlocking>),
    /// There are none, or none is to be asked.
    NotAsked,
    /// None opens it.
    Refused(Failure),
}

impl Answer {
    /// What is reported where a secret was wanted instead and that ended as `done`: if nobody was there to give one, it is why
    /// the custodians didn't open the vault.
    pub(super) fn or<T>(self, plan: &SecretPlan, done: Outcome<T>) -> Outcome<T> {
        match (self, done) {
            (Self::Refused(failure), Err(unread)) if plan.has_no_line(&unread) => Err(failure),
            (_, done) => done,
        }
    }
}

/// Opens a vault by what the plan says. `refused` receives each slot whose custodian was asked and refused.
///
/// # Errors
/// As [`ask_custodians`]; [`Exit::CustodianOffline`] and others of [`exit_of`] if nobody can be asked for a secret; those of
/// reading one and of `open`.
pub(super) fn open_with<T>(
    plan: &SecretPlan,
    asked: &Asked<'_>,
    refused: impl Fn(SlotId),
    mut open: impl FnMut(Unlocking) -> Outcome<T>,
) -> Outcome<T> {
    match ask_custodians(plan, asked, refused)? {
        Answer::Opens(unlocking) => open(*unlocking),
        answer => answer.or(plan, plan.try_with(asked.place, |secret| open(secret.into()))),
    }
}

/// Asks the custodians that the plan says.
///
/// # Errors
/// If nothing else is to open the vault: as [`Answer::Refused`] has it, or [`Exit::Usage`] if there is no such custodian.
pub(super) fn ask_custodians(
    plan: &SecretPlan,
    asked: &Asked<'_>,
    refused: impl Fn(SlotId),
) -> Outcome<Answer> {
    let slots = slots_of(&plan.custodians().choice, asked)?;
    if slots.is_empty() {
        return Ok(Answer::NotAsked);
    }
    let only = matches!(plan.custodians().choice, Choice::Only(_));
    let host = match ready(asked, plan.custodians().limit) {
        Ok(host) => host,
        Err(failure) if only => return Err(failure),
        Err(failure) => {
            // Told now, before somebody is asked for a passphrase; and once.
            output::complain(&failure);
            let cause = "no custodian was asked; give a passphrase, key file or recovery key";
            return Ok(Answer::Refused(Failure::new(failure.exit, asked.place.display(), cause)));
        }
    };
    match ask(asked, &host, &slots, &refused) {
        Ok(unlocking) => Ok(Answer::Opens(Box::new(unlocking))),
        Err(failure) if only => Err(failure),
        Err(failure) => Ok(Answer::Refused(failure)),
    }
}

/// The slots whose custodians are asked.
fn slots_of(choice: &Choice, asked: &Asked<'_>) -> Outcome<Vec<CustodySlot>> {
    let all = asked.header.slots.list().into_iter().filter_map(|info| Some((info.id?, info.custody?)));
    let all: Vec<CustodySlot> = all.map(|(id, custody)| CustodySlot { id, custody }).collect();
    let name = match choice {
        Choice::All => return Ok(all),
        Choice::None => return Ok(Vec::new()),
        Choice::Only(name) => name,
    };
    let by_id = ids::named(name, all.iter().map(|slot| slot.id)).ok().and_then(Result::ok);
    let named = |slot: &CustodySlot| slot.custody.custodian().as_str() == name || Some(slot.id) == by_id;
    let named: Vec<CustodySlot> = all.into_iter().filter(named).collect();
    if named.is_empty() {
        let cause = format!("no slot has the custodian {name:?}; `rekeyfs unlock list` shows what there is");
        return Err(Failure::new(Exit::Usage, asked.place.display(), cause));
    }
    Ok(named)
}

/// What this host lets run for the vault.
///
/// # Errors
/// Its custodians aren't asked: it has too many slots, or isn't known here; or the host's list can't be used.
fn ready(asked: &Asked<'_>, limit: Duration) -> Outcome<Host> {
    asked
        .header
        .slots
        .check_number(CostLimit::Usual)
        .map_err(|source| errors::opening(&KeyringError::Unlock { vault: asked.place.to_owned(), source }))?;
    if !asked.known {
        let cause = format!(
            "its custodians aren't asked, since this host doesn't know this vault yet and they don't tell whose it is; open it \
             once with a passphrase, key file or recovery key, or with `rekeyfs unlock trust {}`",
            crate::printable::shell(asked.place)
        );
        return Err(Failure::new(Exit::RolledBack, asked.place.display(), cause));
    }
    host(asked.environment, limit)
}

fn ask(asked: &Asked<'_>, host: &Host, of: &[CustodySlot], refused: &dyn Fn(SlotId)) -> Outcome<Unlocking> {
    let (vault, slots) = (asked.header.vault, &asked.header.slots);
    let tried = ask_all(host, vault, slots, of);
    if let Some(opened) = tried.opened {
        tried.refused.iter().filter(|(_, refusal)| counts(refusal)).for_each(|(at, _)| refused(of[*at].id));
        return Ok(unlocking(asked, host, opened));
    }
    let mut kinds = Vec::with_capacity(tried.refused.len());
    for (at, first) in tried.refused {
        let slot = &of[at];
        let stored = is_stored_pin(&first);
        let wants_someone = stored || matches!(first.kind, RefusalKind::NeedsUser);
        let last = if wants_someone && io::stdin().is_terminal() {
            if stored {
                output::complain(&line(slot, &first));
            }
            match ask_person(asked, host, slot, stored) {
                Ok(opened) => return Ok(unlocking(asked, host, opened)),
                Err(refusal) => refusal,
            }
        } else {
            first
        };
        if counts(&last) {
            refused(slot.id);
        }
        output::complain(&line(slot, &last));
        kinds.push(last.kind);
    }
    let exit = exit_of(&kinds);
    let remedy = match exit {
        Exit::CustodianOffline => "try again, or give a passphrase, key file or recovery key",
        _ => "give a passphrase, key file or recovery key",
    };
    Err(Failure::new(exit, asked.place.display(), format!("no custodian opened it; {remedy}")))
}

/// What this host lets run.
///
/// # Errors
/// [`Exit::ReadSecret`]: its list can't be used.
pub(super) fn host(environment: Environment, limit: Duration) -> Outcome<Host> {
    Host::configured(environment, limit).map_err(|error| Failure::line(Exit::ReadSecret, error))
}

/// At a terminal. A PIN that is wrong is typed again, and is never tried twice; nor is one that is stored, if `types_pin`.
fn ask_person(
    asked: &Asked<'_>,
    host: &Host,
    slot: &CustodySlot,
    types_pin: bool,
) -> Result<HeldOpen, Refusal> {
    let mut tries = 1;
    let mut terminal = Terminal { custodian: slot.custody.custodian(), types_pin };
    loop {
        match ask_one(host, asked.header.vault, &asked.header.slots, slot, &mut terminal) {
            Err(refusal) if matches!(refusal.kind, RefusalKind::Pin { .. }) && tries < PIN_TRIES => {
                tries += 1;
                terminal.types_pin |= is_stored_pin(&refusal);
                output::complain(&line(slot, &refusal));
            }
            // To replace the slot its custodian would be asked once more, with nobody to type: by the PIN that is wrong.
            done => {
                return done
                    .map(|opened| HeldOpen { rewrap: opened.rewrap && !terminal.types_pin, ..opened });
            }
        }
    }
}

fn unlocking(asked: &Asked<'_>, host: &Host, opened: HeldOpen) -> Unlocking {
    let HeldOpen { held, rewrap } = opened;
    let replacement = if rewrap && asked.rewrap {
        let (name, params) = (held.custody().custodian(), held.custody().params());
        match hold(host, asked.header.vault, name, params, &mut NobodyAnswers) {
            Ok(new) => Some(Secret::Custodian(new)),
            Err(refusal) => {
                let line = line(&CustodySlot { id: held.slot(), custody: held.custody().clone() }, &refusal);
                output::complain(&format!("{line}; the slot stays under the old version of its key"));
                None
            }
        }
    } else {
        None
    };
    Unlocking { secret: Secret::Custodian(held), replacement }
}

/// The line for a refusal: which slot, which custodian, what it said, what can be done.
pub(super) fn line(slot: &CustodySlot, refusal: &Refusal) -> String {
    let (id, custodian) = (slot.id, slot.custody.custodian());
    let remedy = match refusal.kind {
        RefusalKind::Disabled => "; have it enabled there",
        RefusalKind::WrongState => {
            "; if the change is right, unlock with another slot, then `rekeyfs unlock rebind`"
        }
        RefusalKind::Pin { .. } | RefusalKind::NeedsUser => "; give it at a terminal",
        RefusalKind::Damaged => {
            "; if it isn't the keyring that was changed, `rekeyfs unlock rebind` makes it anew"
        }
        _ => "",
    };
    format!("slot {id} ({custodian}): its custodian {refusal}{remedy}")
}

/// Whether it was a wrong PIN that nobody typed.
pub(super) fn is_stored_pin(refusal: &Refusal) -> bool {
    matches!(refusal.kind, RefusalKind::Pin { stored: true, .. })
}

/// The failure of one custodian that had to be asked, for a slot that is to be made.
pub(super) fn failure(object: &str, refusal: &Refusal) -> Failure {
    let exit = exit_of(std::slice::from_ref(&refusal.kind));
    Failure::new(exit, object, format!("it {refusal}"))
}

/// Whether a custodian was asked and refused: that is a failed unlock. One that can't be asked is none.
fn counts(refusal: &Refusal) -> bool {
    use RefusalKind::{Damaged, Denied, Disabled, NotFound, Pin, WrongState};
    matches!(refusal.kind, Denied | Disabled | NotFound | WrongState | Pin { .. } | Damaged)
}

/// The status where custodians were asked in vain: that of the refusal that most likely goes away by itself. A wrong PIN comes first:
/// a unit that started again because another custodian can't be reached would spend a try of the PIN each time.
fn exit_of(kinds: &[RefusalKind]) -> Exit {
    use RefusalKind::{Busy, Damaged, Denied, Disabled, NotFound, Offline, Pin, WrongState};
    if kinds.iter().any(|kind| matches!(kind, Pin { .. })) {
        return Exit::WrongSecret;
    }
    if kinds.iter().any(|kind| matches!(kind, Offline | Busy { .. })) {
        return Exit::CustodianOffline;
    }
    let refused =
        |kind: &RefusalKind| matches!(kind, Denied | Disabled | NotFound | WrongState | Pin { .. } | Damaged);
    if kinds.iter().any(refused) { Exit::WrongSecret } else { Exit::ReadSecret }
}

/// The person at the terminal, who is told which custodian asks: its helper has the words, and they may be those in which this
/// program asks for a passphrase.
pub(super) struct Terminal<'a> {
    pub(super) custodian: &'a CustodianName,
    /// Whether the PIN that the custodian's helper has stored was wrong.
    pub(super) types_pin: bool,
}

impl Terminal<'_> {
    fn question(&self, kind: PromptKind, text: &str) -> String {
        let end = match kind {
            PromptKind::Pin => ": ",
            PromptKind::Confirm => " (yes or no): ",
            PromptKind::Touch => "",
        };
        format!("The custodian {} asks: {text}{end}", self.custodian)
    }
}

impl Prompt for Terminal<'_> {
    fn ask(&mut self, kind: PromptKind, text: &str) -> Option<Zeroizing<String>> {
        let question = self.question(kind, text);
        if kind == PromptKind::Touch {
            output::complain(&question);
            return Some(Zeroizing::new(String::new()));
        }
        let typed = prompt::ask(&question).ok()?;
        let text = std::str::from_utf8(&typed).ok().filter(|text| !text.is_empty())?;
        Some(Zeroizing::new(if kind == PromptKind::Confirm { confirmed(text) } else { text }.to_owned()))
    }

    fn interactive(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn types_pin(&self) -> bool {
        self.types_pin
    }
}

/// What the protocol calls what a person has typed.
fn confirmed(typed: &str) -> &'static str {
    if ["y", "yes"].iter().any(|yes| typed.trim().eq_ignore_ascii_case(yes)) { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_the_custodian_and_its_answer_is_yes_or_no() {
        let name: CustodianName = "acme".parse().unwrap();
        let question =
            |kind| Terminal { custodian: &name, types_pin: false }.question(kind, "Passphrase of /srv/vault");
        assert_eq!(question(PromptKind::Pin), "The custodian acme asks: Passphrase of /srv/vault: ");
        assert!(question(PromptKind::Confirm).ends_with("vault (yes or no): "));
        assert_eq!(["y", "YES ", "no", "yesterday", "n"].map(confirmed), ["yes", "yes", "no", "no", "no"]);
    }

    #[test]
    fn a_wrong_pin_is_not_tried_again_because_another_custodian_is_out_of_reach() {
        use RefusalKind::{Busy, Offline, Pin};
        let pin = Pin { tries: Some(1), stored: true };
        assert_eq!(exit_of(&[Offline, pin]), Exit::WrongSecret);
        assert_eq!(exit_of(&[pin, Busy { retry_after: None }]), Exit::WrongSecret);
    }

    #[test]
    fn the_status_is_that_of_what_may_go_away_by_itself() {
        use RefusalKind::{Busy, Denied, Missing, NotAllowed, Offline};
        assert_eq!(exit_of(&[Denied, Offline, Missing]), Exit::CustodianOffline);
        assert_eq!(exit_of(&[Busy { retry_after: None }]), Exit::CustodianOffline);
        assert_eq!(exit_of(&[Missing, Denied]), Exit::WrongSecret);
        assert_eq!(exit_of(&[Missing, NotAllowed]), Exit::ReadSecret);
    }
}
