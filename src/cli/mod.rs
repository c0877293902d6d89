//! The command line: what was typed (`args`) becomes a plan that is checked, the plan is carried out by one
//! file a command, and how it ended becomes one line and an exit status.

mod age;
mod args;
mod backup;
mod backup_opener;
mod console;
mod credentials;
mod custodian_choice;
mod custodians;
mod errors;
mod events;
mod exit;
mod fit;
mod fsck;
mod generate;
mod hosts;
mod info;
mod init;
mod inspect;
mod interrupt;
mod key;
mod key_backup;
mod kms;
mod metrics;
mod mount;
mod open_keyring;
mod open_target;
mod options;
mod output;
mod progress;
mod prompt;
mod reencrypt;
mod rewrap;
mod rotate;
mod secrets;
mod short_ids;
mod speed;
mod status;
mod strength;
mod target;
mod terminal;
mod umount;
mod unlock;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

pub use exit::Exit;

use args::{Command, Invocation, Statuses};

use exit::Outcome;

use crate::mount::{inherited, log, protect_memory, report_failure};

/// Runs the command that this process's arguments name.
pub fn main() -> ExitCode {
    inherited::reset_for_command();
    log::start();
    protect_memory();
    match args::parse(std::env::args_os()).and_then(run) {
        Ok(status) => status.into(),
        Err(failure) => {
            if is_foreground_mount(std::env::args_os()) {
                report_failure(&failure.to_string());
            }
            match failure.exit {
                Exit::Pipe => {}
                // The line is AWS's, whole.
                Exit::Kms => output::complain_bare(&failure),
                _ => output::complain(&failure),
            }
            failure.notes().iter().for_each(output::complain_bare);
            match Statuses::of(std::env::args_os()) {
                Statuses::Own => failure.exit.into(),
                Statuses::Fsck => fsck::status(failure.exit).into(),
                Statuses::Aws => kms::status(failure.exit).into(),
            }
        }
    }
}

/// Whether a mount in the foreground was asked for, by a command line that may be no good otherwise.
fn is_foreground_mount(line: impl Iterator<Item = OsString>) -> bool {
    let mut words = line.skip(1);
    let asks = |word: &OsString| word == "--foreground" || word.as_bytes().starts_with(b"-f");
    words.next().is_some_and(|command| command == "mount")
        && words.take_while(|word| word != "--").any(|word| asks(&word))
}

/// Returns the status.
fn run(invocation: Invocation) -> Outcome<u8> {
    let done = match invocation {
        Invocation::Show(text) => output::print(&text),
        Invocation::Fstab(args) => mount::run_fstab(&args),
        Invocation::UmountHelper(args) => umount::run_helper(&args),
        Invocation::Generate(what) => generate::run(&what),
        Invocation::Command(command) => match *command {
            Command::Init(args) => init::run(&args),
            Command::Mount(args) => mount::run(&args),
            Command::Umount(args) => umount::run(&args),
            Command::Rotate(args) => rotate::run(&args),
            Command::Rewrap(args) => rewrap::run(&args),
            Command::Reencrypt(args) => reencrypt::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Info(args) => info::run(&args),
            Command::Speed(args) => speed::run(&args),
            Command::Hosts(args) => hosts::run(&args),
            Command::Fsck(args) => return fsck::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Key(args) => key::run(&args.command),
            Command::KeyBackup(args) => backup::run(&args.command),
            Command::Events(args) => events::run(&args),
            Command::Kms(args) => kms::run(&args),
            Command::Console(args) => console::run(&args),
            Command::Unlock(args) => unlock::run(&args.command),
            Command::Recover(args) => unlock::recover(&args),
        },
    };
    done.map(|()| Exit::Ok as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_in_the_foreground_is_seen_in_a_line_that_is_no_good_too() {
        let is = |line: &str| is_foreground_mount(line.split(' ').map(OsString::from));
        assert!(
            is("rekeyfs mount -f v m")
                && is("rekeyfs mount v m --foreground --nonsense")
                && is("rekeyfs mount -fo ro")
        );
        assert!(
            !is("rekeyfs mount v m")
                && !is("rekeyfs umount -f m")
                && !is("rekeyfs mount -- -f m")
                && !is("rekeyfs")
        );
    }
}
