//! `rekeyfs rewrap`.

use super::args;
use super::exit::{Exit, Failure, Outcome};
use super::interrupt::Interrupt;
use super::offline;
use super::output;
use super::progress::{self, Display};
use super::target::{self, Target};
use crate::control::{ClientError, Progress, Reply, Request, RewrapReport};

/// Re-wraps all stale files, in the mount if there is one. What is done stays done, however it ends.
///
/// # Errors
/// [`Exit::Interrupted`] when a signal stopped it; [`Exit::Other`] if files were left stale; what resolving
/// the target, asking the daemon or opening the vault may say.
pub(super) fn run(args: &args::Rewrap) -> Outcome {
    let target = Target::resolve(&args.target)?;
    let report = match &target {
        Target::Mounted(entry) => {
            let client = target::connect(entry)?;
            let interrupt = Interrupt::watch(Exit::Interrupted as u8)?;
            let mut display = Display::new();
            let reply = client.converse(
                &Request::Rewrap { max_rate: args.max_rate },
                &mut |p| display.update(p),
                &mut || !interrupt.came(),
            );
            match reply {
                Ok(Reply::Rewrapped(report)) => report,
                Ok(_) => return Err(target::unexpected(entry)),
                Err(ClientError::Stopped) => {
                    RewrapReport { progress: display.seen(), complete: false, versions: vec![] }
                }
                Err(error) => return Err(target::failure(error)),
            }
        }
        Target::Vault(vault) => offline::rewrap(vault, &args.open, args.max_rate)?,
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&format!("{}\n", progress::summary(&report.progress)))?;
    }
    verdict(&target, &report)
}

fn verdict(target: &Target, report: &RewrapReport) -> Outcome {
    let vault = target.vault().display();
    let Progress { failed, .. } = report.progress;
    if !report.complete {
        let cause = "stopped before the end; what is done stays done, run the same command to go on";
        return Err(Failure::new(Exit::Interrupted, vault, cause));
    }
    if failed > 0 {
        let cause = format!(
            "{failed} files or directories were left as they were: damaged, without a usable key, not \
             writable, or on another filesystem"
        );
        return Err(Failure::new(Exit::Other, vault, cause));
    }
    Ok(())
}
