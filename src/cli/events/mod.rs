//! `rekeyfs events`: the audit log, its lower paths as plain ones. The log itself is read here; the names and
//! the check are the daemon's where the vault is mounted, for they take keys.

mod files;
mod held_back;
mod line;
mod tail;
mod verified;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::args::{Events, EventsCommand};
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::open_keyring::open_keyring;
use super::open_target::{Access, OpenTarget};
use super::output;
use super::target::Target;
use crate::control::Client;
use crate::events::{self, Doubtful, EventFilter};
use crate::ids::PathText;
use crate::keyring::Keys;
use crate::service::Operations;
use crate::storage;
use crate::vault::PlainNames;

use held_back::HeldBack;
use line::Style;
use tail::{Read, Tail, UnendedLine};
use verified::Verified;

/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(250);
/// Bytes of paths asked of a daemon at a time: its answer must fit one message, too.
const ASK_MAX: usize = 64 << 10;

/// Shows or checks the log.
///
/// # Errors
/// [`Exit::Tampered`]; what resolving the target, opening the vault or
/// reading the log may say.
pub(super) fn run(args: &Events) -> Outcome {
    match &args.command {
        Some(EventsCommand::Rotate(args)) => files::rotate(args),
        Some(EventsCommand::Prune(args)) => files::prune(args),
        None => show_log(args),
    }
}

fn show_log(args: &Events) -> Outcome {
    let filter = args.filter();
    let target = Target::resolve(&args.target)?;
    if args.verify {
        return verify(args, &target);
    }
    let mut translator = match &target {
        _ if *args.json => Translator::None,
        Target::Mounted(_) => Translator::Daemon,
        Target::Vault(vault) => {
            let keys = open_keyring(vault, &args.open)?.opened.keys;
            Translator::own(vault, &keys)?
        }
    };
    let vault = target.vault().to_owned();
    let path = vault.join(events::FILE_NAME);
    let (mut tail, mut verified) = (Tail::new(translator.open_vault(&vault)?), Verified::default());
    let unended = if args.follow { UnendedLine::AwaitEnd } else { UnendedLine::Take };
    let (mut shown, mut held_back) = (0, HeldBack::default());
    let style = Style::of(args);
    loop {
        let unread = |error| Failure::new(Exit::Other, path.display(), error);
        let lines = tail.next_lines(unended).map_err(unread)?;
        if tail.began_again() {
            shown = 0;
        }
        if !lines.is_empty() {
            let doubtful = verified.doubtful(&tail, || translator.doubtful(&vault));
            let numbered: Vec<(u64, &Read)> = (shown + 1..).zip(&lines).collect();
            let of_lines =
                Showing { doubtful, json: *args.json, filter: &filter, vault: &vault, style: &style };
            show(&numbered, &of_lines, &mut translator, &mut held_back)?;
            shown += lines.len() as u64;
            continue;
        }
        // Once there is a pause.
        let hint = style.hint();
        if args.follow {
            hint.iter().for_each(output::complain);
            std::thread::sleep(POLL);
        } else if *args.json {
            return Ok(());
        } else {
            output::print(&held_back.summary())?;
            hint.iter().for_each(output::complain);
            return Ok(());
        }
    }
}

fn verify(args: &Events, target: &Target) -> Outcome {
    let open = OpenTarget::open(target, &args.open, Access::Beside)?;
    let found = open.operations().verify_events().map_err(|error| errors::operation(&error))?;
    if *args.json {
        output::print_json(&found)?;
    } else {
        output::print(&found.summary())?;
    }
    let log = target.vault().join(events::FILE_NAME);
    match found.tampering() {
        None => Ok(()),
        Some(cause) => Err(Failure::new(Exit::Tampered, log.display(), cause)),
    }
}

/// How lines are shown.
struct Showing<'a> {
    doubtful: &'a Doubtful,
    json: bool,
    filter: &'a EventFilter,
    vault: &'a Path,
    style: &'a Style,
}

/// Shows lines, each with its number in the log. An event in a doubtful one is anybody's, and is shown as such.
fn show<'a>(
    lines: &[(u64, &'a Read)],
    showing: &Showing<'_>,
    translator: &mut Translator,
    held_back: &mut HeldBack,
) -> Outcome {
    let Showing { doubtful, json, filter, vault, style } = *showing;
    let parse = |(number, line): &(u64, &'a Read)| match line {
        Read::Whole(text) => (*number, &text[..], text.len() as u64, serde_json::from_slice(text).ok()),
        Read::TooLong(len) => (*number, &[][..], *len, None),
    };
    let mut parsed: Vec<(u64, &[u8], u64, Option<Value>)> = lines.iter().map(parse).collect();
    parsed.retain(|(_, _, _, event)| event.as_ref().is_none_or(|event| filter.takes(event)));
    let paths: HashSet<&str> =
        parsed.iter().filter_map(|(_, _, _, event)| lower_path(event.as_ref()?)).collect();
    let names = translator.names(vault, paths);
    let mut out = String::new();
    for (number, line, len, event) in &parsed {
        match event {
            Some(_) if json => {
                out.push_str(&String::from_utf8_lossy(line));
                out.push('\n');
            }
            Some(event) => {
                let name = lower_path(event).and_then(|path| names.get(path));
                let forged = doubtful.has(*number).then_some(*number);
                if forged.is_none() {
                    held_back.add(event);
                }
                out.push_str(&line::human(event, name.map(PathBuf::as_path), forged, style));
                out.push('\n');
            }
            None => output::complain(&format!(
                "{}: a line of {len} bytes that isn't an event: torn by a crash, or put there; --verify tells",
                vault.join(events::FILE_NAME).display(),
            )),
        }
    }
    if json { output::print_json_text(&out) } else { output::print(&out) }
}

fn lower_path(event: &Value) -> Option<&str> {
    event["detail"]["lower-path"].as_str()
}

/// What knows plain names.
enum Translator {
    /// Nobody.
    None,
    /// The mount's daemon, as long as there is one.
    Daemon,
    /// This process.
    Own { names: Box<PlainNames>, keys: Arc<Keys> },
}

impl Translator {
    fn own(vault: &Path, keys: &Arc<Keys>) -> Outcome<Self> {
        let root = keys.open_tree().map_err(|errno| {
            Failure::new(Exit::Vault, vault.join("tree").display(), std::io::Error::from(errno))
        })?;
        let names = Box::new(PlainNames::new(root, keys.tree_key()));
        Ok(Self::Own { names, keys: Arc::clone(keys) })
    }

    /// The vault's directory: the one whose keyring is open, or else what the path leads to.
    fn open_vault(&self, vault: &Path) -> Outcome<OwnedFd> {
        let opened = match self {
            Self::Own { keys, .. } => keys.open_vault().map_err(std::io::Error::from),
            Self::None | Self::Daemon => storage::open_walked(vault).map(|(dir, _)| dir),
        };
        opened.map_err(|error| Failure::new(Exit::Vault, vault.display(), error))
    }

    /// The lines that aren't known to be the vault's, as far as someone with the event key can be asked.
    fn doubtful(&self, vault: &Path) -> Doubtful {
        let found = match self {
            Self::None => None,
            Self::Own { keys, .. } => keys.verify_events().ok(),
            Self::Daemon => match Target::resolve(vault) {
                Ok(Target::Mounted(entry)) => Client::of(&entry).verify_events().ok(),
                _ => None,
            },
        };
        found.as_ref().map(Doubtful::of).unwrap_or_default()
    }

    /// The plain names that can be known of these paths.
    fn names(&mut self, vault: &Path, paths: HashSet<&str>) -> HashMap<String, PathBuf> {
        let mut known = HashMap::new();
        match self {
            Self::None => {}
            Self::Own { names, .. } => {
                let plain = |path: &str| Some((path.to_owned(), OsString::from_vec(names.of(path)?).into()));
                known.extend(paths.into_iter().filter_map(plain));
            }
            Self::Daemon => {
                let mut batch = Vec::new();
                for path in paths {
                    if batch.iter().map(String::len).sum::<usize>() + path.len() > ASK_MAX {
                        ask(vault, std::mem::take(&mut batch), &mut known);
                    }
                    batch.push(path.to_owned());
                }
                ask(vault, batch, &mut known);
            }
        }
        known
    }
}

/// Without a daemon (it ended, or another mount has another one) the lower paths stay as they are.
fn ask(vault: &Path, paths: Vec<String>, known: &mut HashMap<String, PathBuf>) {
    if paths.is_empty() {
        return;
    }
    let Ok(Target::Mounted(entry)) = Target::resolve(vault) else { return };
    if let Ok(names) = Client::of(&entry).plain_names(&paths) {
        let both = paths.into_iter().zip(names);
        known.extend(both.filter_map(|(path, name)| Some((path, name.map(|PathText(name)| name)?))));
    }
}
