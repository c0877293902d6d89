//! `rekeyfs hosts evict`: taking a host out of the way that is dead.
//!
//! A host that may change the vault is in the way by the record in the vault's lock: the next mount would be beside it. It takes a
//! person's word, and a drain ([`VaultLock::drain`]). A reader is in nobody's way, but changes of keys wait for it as long as its record
//! stands: whoever may change the vault takes that away, the daemon of a mount too.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::super::args;
use super::super::errors;
use super::super::exit::{Exit, Failure, Outcome};
use super::super::open_keyring::{check_writable, open_again, open_to_look};
use super::super::open_target::{Access, OpenTarget};
use super::super::output;
use super::super::target::Target;
use super::members;
use crate::events::Event;
use crate::hosts::{HostName, Mode};
use crate::mount::{VaultLock, lock_holder};
use crate::printable;

/// Evicts a host.
///
/// # Errors
/// It isn't in the way; what resolving the target, the lock, or opening the keyring may say.
pub(super) fn run(args: &args::HostsEvict) -> Outcome {
    let target = Target::resolve(&args.target)?;
    match reader(target.vault(), &args.host)? {
        Some(host) => reads(args, &target, &host),
        None => changes(args, &target),
    }
}

/// The name, if it is of a host that reads, and isn't in the way of mounts too.
fn reader(vault: &Path, host: &str) -> Outcome<Option<HostName>> {
    let (holder, _) = lock_holder(vault).map_err(|error| errors::mount(&error))?;
    if holder.is_some_and(|holder| !holder.holds && holder.host.as_deref() == Some(host)) {
        return Ok(None);
    }
    let members = members::of(vault)?.into_iter().map(|listed| listed.member);
    let mut readers = members.filter(|member| member.mode == Mode::Reader && member.host.as_str() == host);
    Ok(readers.next().map(|member| member.host))
}

fn reads(args: &args::HostsEvict, target: &Target, host: &HostName) -> Outcome {
    let open = OpenTarget::open(target, &args.open, Access::Change)?;
    let vault = printable::path(target.vault());
    let slots = open.operations().evict_reader(host.as_str()).map_err(|error| errors::operation(&error))?;
    if *args.json {
        return output::print_json(&json!({ "evicted": host.as_str(), "slots": slots }));
    }
    let host = host.as_str().escape_default();
    output::print(&format!("host {host} is evicted; changes of the keys of {vault} no longer wait for it\n"))
}

fn changes(args: &args::HostsEvict, target: &Target) -> Outcome {
    let usage =
        |cause: &str| Failure::new(Exit::Usage, format!("host {}", args.host.escape_default()), cause);
    if !args.host_is_dead {
        return Err(usage(
            "switch it off, or end its client of the cluster, and then say so with --host-is-dead; what it writes late would \
             destroy files",
        ));
    }
    check_writable(target.vault())?;
    let vault = target.unmounted("a host is evicted")?;
    let (lock, lost) = VaultLock::take_over(vault).map_err(|error| errors::mount(&error))?;
    let Some(lost) = lost else {
        return Err(usage("it isn't in the way: no other host ended without unmounting this vault"));
    };
    if lost.name != args.host {
        return Err(usage(&format!("it isn't in the way: that is host {}", lost.name.escape_default())));
    }
    // Opening it as ever may write something, and what the other host has still to send is to come first.
    let secret = open_to_look(vault, &args.open)?.secret;
    let drain = lock.drain_time(&lost, args.drain.map(Duration::from_secs));
    let drain = drain.map_err(|error| errors::mount(&error))?;
    if !drain.is_zero() {
        output::complain(&format!(
            "host {}: waits {} s for what its client of the cluster has still to send (--drain)",
            args.host.escape_default(),
            drain.as_secs()
        ));
    }
    lock.drain(&lost, drain).map_err(|error| errors::mount(&error))?;
    let opened = open_again(vault, &secret, &args.open)?;
    // Before the record goes: a crash in between leaves the host in the way.
    opened.keys.events().record_durably(&Event::HostEvicted { host: lost.name.clone() });
    lock.forget_lost_host(&lost).map_err(|error| errors::mount(&error))?;
    if *args.json {
        return output::print_json(&json!({ "evicted": lost.name }));
    }
    output::print(&format!(
        "host {} is evicted; {} can be mounted\n",
        lost.name.escape_default(),
        printable::path(vault)
    ))
}
