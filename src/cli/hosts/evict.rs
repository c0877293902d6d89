//! `rekeyfs hosts evict`: taking a host out of the way that is dead.
//!
//! A host that may change the vault is in the way by the record in the vault's lock: the next mount would be beside it. It takes a
//! person's word, and a drain ([`VaultLock::drain`]).

use std::time::Duration;

use serde_json::json;

use super::super::args;
use super::super::errors;
use super::super::exit::{Exit, Failure, Outcome};
use super::super::open_keyring::{check_writable, open_again, open_to_look};
use super::super::output;
use super::super::target::Target;
use crate::events::Event;
use crate::mount::VaultLock;
use crate::printable;

/// Evicts a host.
///
/// # Errors
/// It isn't in the way; what resolving the target, the lock, or opening the keyring may say.
pub(super) fn run(args: &args::HostsEvict) -> Outcome {
    let usage =
        |cause: &str| Failure::new(Exit::Usage, format!("host {}", args.host.escape_default()), cause);
    if !args.host_is_dead {
        return Err(usage(
            "switch it off, or end its client of the cluster, and then say so with --host-is-dead; what it writes late would \
             destroy files",
        ));
    }
    let target = Target::resolve(&args.target)?;
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
    let drain = args.drain.map_or_else(|| lock.usual_drain(), Duration::from_secs);
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
