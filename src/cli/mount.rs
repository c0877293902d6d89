//! `rekeyfs mount`, and the same as mount(8) calls it for fstab.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args;
use super::custodians::{Asked, open_with};
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::options::{Options, UnknownOptions};
use super::output;
use super::secrets::{self, SecretPlan};
use super::target::{self, Target};
use crate::control::Client;
use crate::custody::Environment;
use crate::ids::{PathText, VaultId};
use crate::keyring::{KeyringDir, KeyringFile};
use crate::mount::{self, FlagChanges, MountOptions, Prepared};
use crate::service::Operations;

/// How long a remount waits for the daemon to notice it, which takes milliseconds.
const NOTICE_PATIENCE: Duration = Duration::from_secs(2);
const NOTICE_POLL: Duration = Duration::from_millis(20);

/// A mount that was made, as JSON.
#[derive(Serialize)]
struct Mounted {
    vault_id: VaultId,
    vault: PathText,
    mountpoint: PathText,
    pid: i32,
}

impl Mounted {
    /// `pid` is the daemon's, which has authenticated the keyring.
    fn new(prepared: &Prepared, pid: i32) -> Outcome<Self> {
        let header = KeyringFile::read_header(prepared.vault()).map_err(|error| errors::opening(&error))?;
        let [vault, mountpoint] =
            [prepared.vault(), prepared.mountpoint()].map(|path| PathText(path.to_owned()));
        Ok(Self { vault_id: header.vault, vault, mountpoint, pid })
    }
}

/// A mount to be made.
#[derive(Debug)]
struct MountPlan {
    options: MountOptions,
    secret: SecretPlan,
    /// Whose variables the helpers of custodians get.
    environment: Environment,
}

impl MountPlan {
    fn new(
        vault: PathBuf,
        mountpoint: PathBuf,
        listed: &Options,
        open: Option<&args::Open>,
    ) -> Outcome<Self> {
        if listed.allow_other && listed.allow_root {
            return Err(Failure::line(
                Exit::Usage,
                "-o: of allow_other and allow_root only one can be given",
            ));
        }
        listed.warnings.iter().for_each(output::complain);
        let secret = SecretPlan::with_options(open, listed)?;
        let options = MountOptions {
            allow_other: listed.allow_other,
            allow_root: listed.allow_root,
            no_symlinks: listed.no_symlinks,
            contexts: listed.contexts.clone(),
            idle: listed.idle,
            read_only: listed.read_only,
            shared: listed.shared,
            lazy_rewrap: !listed.no_rewrap,
            writeback: !listed.no_writeback,
            xattrs: !listed.no_xattrs,
            suid: listed.suid,
            dev: listed.dev,
            noexec: listed.noexec,
            no_atime: listed.no_atime,
            nonempty: listed.nonempty,
            accept_rollback: listed.accept_rollback || open.is_some_and(|open| open.accept_rollback),
            next_version: open.and_then(|open| open.next.number()),
            limit: secrets::cost_limit(listed.any_cost || open.is_some_and(|open| open.any_cost)),
            fsname: listed.fsname.clone(),
            ..MountOptions::new(vault, mountpoint)
        };
        let environment = if open.is_some() { Environment::OfCaller } else { Environment::Fixed };
        Ok(Self { options, secret, environment })
    }

    fn of_command(args: &args::Mount) -> Outcome<Self> {
        let mut listed = parse(&args.options, false)?;
        if listed.remount.is_some() {
            let problem = "-o remount: mount(8) does that: `mount -o remount,ro MOUNTPOINT`";
            return Err(Failure::line(Exit::Usage, problem));
        }
        listed.allow_other |= args.allow_other;
        listed.idle = args.idle.or(listed.idle);
        listed.read_only |= args.read_only;
        listed.shared |= args.shared;
        listed.no_rewrap |= args.no_rewrap;
        listed.no_writeback |= args.no_writeback;
        listed.no_xattrs |= args.no_xattrs;
        listed.suid |= args.suid;
        listed.dev |= args.dev;
        let mut plan = Self::new(args.vault.clone(), args.mountpoint.clone(), &listed, Some(&args.open))?;
        plan.options.foreground = args.foreground;
        Ok(plan)
    }

    fn of_fstab(args: &args::Fstab) -> Outcome<Self> {
        let listed = parse(&args.options, args.sloppy)?;
        Self::new(args.vault.clone(), args.mountpoint.clone(), &listed, None)
    }

    /// Returns the mount and its daemon's process id once it can be used; none in the foreground, where it has ended.
    fn carry_out(self) -> Outcome<Option<(Prepared, i32)>> {
        let vault = self.options.vault.clone();
        let prepared = mount::prepare(self.options)
            .map_err(|error| target::no_place_for_vault(&vault).unwrap_or_else(|| errors::mount(&error)))?;
        let dir = KeyringDir::open(prepared.vault()).map_err(|error| errors::opening(&error))?;
        let closed = dir.read().map_err(|error| errors::opening(&error))?;
        let (known, header) = (closed.is_known(&dir), closed.into_header());
        let asked = Asked {
            place: prepared.vault(),
            header: &header,
            known,
            environment: self.environment,
            rewrap: !prepared.read_only(),
        };
        let refused = |slot| dir.record_refusal(&header, slot);
        let served = open_with(&self.secret, &asked, refused, |unlocking| {
            prepared
                .serve(unlocking, |error| errors::status_of_mount(error) as u8)
                .map_err(|error| errors::mount(&error))
        })?;
        Ok(served.map(|pid| (prepared, pid)))
    }
}

/// Mounts a vault. What can be refused is refused before a secret is asked for.
///
/// # Errors
/// [`Exit::Usage`] for options that don't go together, those of reading a secret, and why there is no mount.
pub(super) fn run(args: &args::Mount) -> Outcome {
    match MountPlan::of_command(args)?.carry_out()? {
        Some((prepared, pid)) if *args.json => output::print_json(&Mounted::new(&prepared, pid)?),
        _ => Ok(()),
    }
}

/// Mounts a vault for fstab.
///
/// # Errors
/// As [`run`].
pub(super) fn run_fstab(args: &args::Fstab) -> Outcome {
    if let Some(changes) = parse(&args.options, args.sloppy)?.remount {
        return if args.fake { Ok(()) } else { remount(&args.mountpoint, &changes) };
    }
    let plan = MountPlan::of_fstab(args)?;
    if args.fake { Ok(()) } else { plan.carry_out().map(drop) }
}

fn remount(mountpoint: &Path, changes: &FlagChanges) -> Outcome {
    if changes.read_only == Some(false)
        && let Target::Mounted(entry) = Target::resolve(mountpoint)?
        && let status = Client::of(&entry).status().map_err(|error| errors::operation(&error))?
        && status.mount.is_some_and(|mount| mount.always_read_only)
    {
        let cause = "its daemon was started read-only; unmount it, then mount it writable";
        return Err(Failure::new(Exit::Usage, mountpoint.display(), cause));
    }
    mount::remount(mountpoint, changes).map_err(|error| errors::mount(&error))?;
    if let Some(read_only) = changes.read_only {
        wait_for_daemon(mountpoint, read_only);
    }
    Ok(())
}

/// Waits until the daemon has noticed, so that it re-wraps nothing after the command. The kernel's part is done: a daemon that can't
/// be asked is no failure.
fn wait_for_daemon(mountpoint: &Path, read_only: bool) {
    let Ok(Target::Mounted(entry)) = Target::resolve(mountpoint) else { return };
    let deadline = Instant::now() + NOTICE_PATIENCE;
    while Instant::now() < deadline {
        match Client::of(&entry).status() {
            Ok(status) if status.mount.as_ref().is_some_and(|mount| mount.read_only != read_only) => {
                std::thread::sleep(NOTICE_POLL);
            }
            _ => return,
        }
    }
}

fn parse(lists: &[std::ffi::OsString], sloppy: bool) -> Outcome<Options> {
    let unknown = if sloppy { UnknownOptions::Ignore } else { UnknownOptions::Refuse };
    Options::parse(lists, unknown).map_err(|error| Failure::line(Exit::Usage, error))
}

#[cfg(test)]
mod tests {
    use super::super::args::{Command, Invocation, parse};
    use super::*;

    fn plan(line: &str) -> Outcome<MountPlan> {
        match parse(line.split_whitespace().map(Into::into))? {
            Invocation::Command(command) => match *command {
                Command::Mount(args) => MountPlan::of_command(&args),
                other => panic!("{other:?}"),
            },
            Invocation::Fstab(args) => MountPlan::of_fstab(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_on_by_default() {
        let options = plan("rekeyfs mount v m").unwrap().options;
        assert!(options.lazy_rewrap && options.writeback && options.xattrs);
        assert!(!(options.allow_other || options.read_only || options.suid || options.dev || options.noexec));
        assert!(!(options.foreground || options.accept_rollback || options.nonempty));
    }

    #[test]
    fn options_and_o_options_say_the_same() {
        let typed = plan(
            "rekeyfs mount v m --allow-other --read-only --shared --no-rewrap --no-writeback --no-xattrs --suid --dev \
             --accept-rollback --passfile p --idle 1h30m",
        );
        let listed = plan(
            "rekeyfs mount v m -o allow_other,ro,shared,norewrap -o nowriteback,noxattr,suid,dev,accept_rollback,passfile=p,idle=90m",
        );
        let fstab = plan(
            "mount.fuse.rekeyfs v m -o allow_other,ro,shared,norewrap,nowriteback,noxattr,suid,dev,accept_rollback,\
             passfile=p,noauto,idle=5400s",
        );
        let (typed, listed, fstab) = (typed.unwrap(), listed.unwrap(), fstab.unwrap());
        assert_eq!(format!("{typed:?}"), format!("{listed:?}"));
        // mount(8) may run for anybody: helpers get nobody's variables.
        assert_eq!((typed.environment, fstab.environment), (Environment::OfCaller, Environment::Fixed));
        let alike = MountPlan { environment: typed.environment, ..fstab };
        assert_eq!(format!("{typed:?}"), format!("{alike:?}"));
        assert!(
            !typed.options.lazy_rewrap
                && !typed.options.writeback
                && !typed.options.xattrs
                && typed.options.suid
        );
    }

    #[test]
    fn what_contradicts_is_refused() {
        for line in [
            "rekeyfs mount v m -o nonsense",
            "rekeyfs mount v m --recovery-key -o keyfile=k",
            "mount.fuse.rekeyfs v m -o passfile=a,extpass=b",
        ] {
            assert_eq!(plan(line).unwrap_err().exit, Exit::Usage, "{line}");
        }
        assert!(plan("mount.fuse.rekeyfs v m -s -o nonsense").is_ok());
    }
}
