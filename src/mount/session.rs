//! The life of a mount in the process that serves it.

use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use fuser::{Config, Session, SessionACL};

use super::backups::BackupKeeper;
use super::daemon::Starting;
use super::due::Scheduler;
use super::error::MountError;
use super::membership::WriterMembership;
use super::mountinfo::{self, Mount};
use super::mountpoint::is_dead;
use super::options::MountOptions;
use super::prepare::Prepared;
use super::reader::ReaderMembership;
use super::service_manager::ServiceManager;
use super::signals::{self, PendingSignals};
use super::unmount::{UnmountMode, unmount_exactly};
use super::upkeep::{IdleTimer, Upkeep};
use super::{attach, inherited, limits, log};
use crate::control::{self, RegistryError, RuntimeDir, VaultLocation};
use crate::events::{Event, UnmountReason};
use crate::fuse::{Adapter, BusyPoller, KernelCache, Permissions, Pool};
use crate::ids::{PathText, SlotId};
use crate::keyring::{KeyringFile, Keys, OpenOptions};
use crate::service::{CountToKeep, MountStatus, OpenVault, open_tree, take_up_count};
use crate::unlock::Unlocking;
use crate::vault::{Sharing, Vault};
use crate::{rewrap, storage};

/// Threads that read requests. A second one pays off when the first waits for a disk; more hardly do.
const SESSION_THREADS: std::ops::RangeInclusive<usize> = 2..=4;

/// Threads for syncs: an application may sync many files at once.
const SYNC_THREADS: usize = 16;

/// Unlocks, mounts, serves until the mount is gone, and syncs everything to disk.
pub(super) fn run(prepared: Prepared, unlocking: Unlocking, starting: &Starting) -> Result<(), MountError> {
    inherited::reset_for_mount(&prepared.vault, prepared.options.foreground);
    log::name_mount(&prepared.vault, prepared.mountpoint.path());
    limits::raise_descriptors();
    prepared.lock.sign()?;
    let manager = ServiceManager::of(&prepared.options);
    manager.status(&format!("opening {}", prepared.vault.display()));
    let failed = |action| {
        let path = prepared.vault.clone();
        move |error| MountError::Vault { path, action, error }
    };
    let lower = prepared.lock.dir();
    let (accept_rollback, next_version) = (prepared.options.accept_rollback, prepared.options.next_version);
    let (limit, written_elsewhere) = (prepared.options.limit, prepared.options.reads_beside_a_writer());
    let keyring =
        OpenOptions { accept_rollback, next_version, limit, written_elsewhere, ..OpenOptions::default() };
    let opened = KeyringFile::open(&prepared.vault, &unlocking.secret, &keyring)?;
    // Before another one takes its place.
    let slot = opened.proof.slot();
    let slot = (slot, opened.keys.kind_of_slot(slot));
    if !prepared.options.read_only {
        // Asked before the secret too, by the unverified header; now the keyring is authenticated.
        opened.keys.writable()?;
        opened.keys.follow_custodian(&opened.proof, &unlocking);
    }
    drop(unlocking);
    let keys = opened.keys;
    // Before the vault is used, and left when all of it is durable.
    let mut membership = Member::join(&prepared, &keys)?;
    let vault = open_tree(&keys, prepared.options.vault_options(membership.sharing()))?;
    membership.guard(&vault)?;
    // What another host changes isn't counted.
    let counts = vault.sharing() != Sharing::Reader;
    if counts {
        take_up_count(&vault);
    }
    warn_of(&vault, &prepared);
    let writable = !vault.read_only();
    if writable {
        keys.replenish_reserve();
    }
    let served = serve(&prepared, &vault, slot, starting, &manager);
    // After an end that was none nobody knows what was changed.
    let count = if served.is_ok() && counts { CountToKeep::of(&vault) } else { None };
    membership.unguard();
    drop(vault);
    if writable {
        storage::syncfs(lower.as_fd())
            .map_err(|error| failed("cannot sync its filesystem after unmounting")(error.into()))?;
    }
    count.into_iter().for_each(CountToKeep::write);
    // Only now may another process use the vault.
    drop(membership);
    drop(prepared.lock);
    served
}

/// What a mount is among those that share its vault.
enum Member {
    /// It has the vault to itself.
    Alone,
    Writer {
        _membership: WriterMembership,
    },
    Reader(ReaderMembership),
}

impl Member {
    fn join(prepared: &Prepared, keys: &Arc<Keys>) -> Result<Self, MountError> {
        let Prepared { options, vault, .. } = prepared;
        if options.reads_beside_a_writer() {
            return ReaderMembership::join(keys, vault).map(Self::Reader);
        }
        if options.read_only || !(options.shared || keys.is_shared()) {
            return Ok(Self::Alone);
        }
        Ok(Self::Writer { _membership: WriterMembership::join(keys, vault)? })
    }

    fn sharing(&self) -> Sharing {
        match self {
            Self::Alone => Sharing::Alone,
            Self::Writer { .. } => Sharing::Writer,
            Self::Reader(_) => Sharing::Reader,
        }
    }

    fn guard(&mut self, vault: &Arc<Vault>) -> Result<(), MountError> {
        match self {
            Self::Reader(reader) => reader.guard(vault),
            Self::Alone | Self::Writer { .. } => Ok(()),
        }
    }

    fn unguard(&mut self) {
        if let Self::Reader(reader) = self {
            reader.unguard();
        }
    }
}

fn warn_of(vault: &Vault, prepared: &Prepared) {
    let (path, lower) = (prepared.vault.display(), vault.lower());
    if vault.read_only() && !prepared.options.read_only {
        tracing::warn!("{path}: its filesystem is mounted read-only, and so is the vault");
    }
    if let Some(risk) = lower.power_cut_risk() {
        tracing::warn!("{path}: {risk}");
    }
    if vault.files_lie_elsewhere().unwrap_or(false) {
        tracing::warn!(
            "{path}: its files lie on another filesystem than its directories (an overlayfs with layers on several \
             filesystems): they can't be opened, and none can be made; mount the overlayfs with -o xino=on, or move \
             the vault to a filesystem of its own"
        );
    }
    let tree = prepared.vault.join("tree");
    let below = |mount: &mountinfo::Mount| mount.mountpoint != tree && mount.mountpoint.starts_with(&tree);
    if let Some(over) = mountinfo::mounts().into_iter().find(below) {
        tracing::warn!(
            "{path}: {} is mounted over its tree: what lies there is no part of the vault, and what it hides can't be \
             seen; unmount it",
            over.mountpoint.display()
        );
    }
    if let Some(warning) = limits::warn_of_unlocked_memory() {
        tracing::warn!("{path}: {warning}");
    }
}

/// Mounts the open vault and serves it until it is unmounted.
fn serve(
    prepared: &Prepared,
    vault: &Arc<Vault>,
    slot: (SlotId, String),
    starting: &Starting,
    manager: &ServiceManager,
) -> Result<(), MountError> {
    let Prepared { options, vault: path, mountpoint, .. } = prepared;
    let permissions = permissions(options);
    let signals = PendingSignals::collect().map_err(MountError::Daemon)?;
    let kernel = KernelCache::new();
    let pool = Pool::new(Arc::clone(vault), kernel.clone(), SYNC_THREADS, session_threads());

    let device = attach::attach(options, path, mountpoint, permissions)?;
    // From here on the kernel may send requests, which wait until the session runs. So nothing in this thread may access the
    // mount: the list of mounts has what is needed.
    let Some(attached) = mountpoint.mounted().map(Attached) else {
        drop(device);
        return Err(remove_misplaced(prepared));
    };
    mountpoint.let_go();
    prepared.lock.serves(attached.0.device)?;
    let _watch = prepared.lock.watch().map_err(MountError::Daemon)?;
    let poller = BusyPoller::new(device.try_clone().map_err(MountError::Session)?);
    let adapter = Adapter::new(
        Arc::clone(vault),
        pool,
        permissions,
        options.writeback,
        options.xattrs,
        kernel.clone(),
        poller,
    );
    let activity = adapter.activity();
    let session = Session::from_fd(adapter, device, who_may_enter(options), session_config())
        .map_err(MountError::Session)?;
    kernel.connect(session.notifier());
    vault.set_page_cache(Arc::new(kernel));
    let events = vault.keys().events();
    let mountpoint_text = attached.0.mountpoint.to_string_lossy().into_owned();
    let mounted = Event::Mounted { mountpoint: mountpoint_text, read_only: vault.read_only(), slot };
    let reason = Arc::new(OnceLock::new());
    let idle =
        options.idle.map(|after| IdleTimer::new(after, Arc::clone(vault), activity, Arc::clone(&reason)));
    let workers = Workers::start(prepared, vault, &attached.0, idle)?;
    let watch = signals
        .watch(attached.0.clone(), Arc::clone(&reason), manager.clone())
        .map_err(MountError::Daemon)?;
    starting.ready(|| events.record(&mounted))?;
    manager.watch(attached.0.clone()).map_err(MountError::Daemon)?;
    let ended = session.run().map_err(MountError::Session);
    manager.stopping(&format!("unmounted; writing everything of {} to disk", path.display()));
    drop(watch);
    workers.stop(vault);
    events.record_durably(&Event::Unmounted(match (&ended, reason.get()) {
        (Ok(()), Some(reason)) => *reason,
        (Ok(()), None) => UnmountReason::Umount,
        (Err(_), _) => UnmountReason::Failed,
    }));
    events.drain();
    log::finish();
    ended
}

/// The threads beside the session.
struct Workers {
    control: Option<control::Server>,
    rewrap: Option<rewrap::Worker>,
    due: Option<Scheduler>,
    backups: Option<BackupKeeper>,
    upkeep: Upkeep,
    /// Threads that work for the vault until its queues are closed.
    helpers: Vec<JoinHandle<()>>,
}

impl Workers {
    fn start(
        prepared: &Prepared,
        vault: &Arc<Vault>,
        mount: &Mount,
        idle: Option<IdleTimer>,
    ) -> Result<Self, MountError> {
        let rewrap = if prepared.options.lazy_rewrap && !vault.read_only() {
            Some(rewrap::Worker::start(Arc::clone(vault)).map_err(MountError::Daemon)?)
        } else {
            None
        };
        let status = MountStatus {
            mountpoint: PathText(mount.mountpoint.clone()),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            read_only: vault.read_only(),
            always_read_only: vault.read_only(),
            detached: false,
            lazy_rewrap: prepared.options.lazy_rewrap,
            shared: vault.sharing() != Sharing::Alone,
            lease: None,
        };
        let open = Arc::new(OpenVault::mounted(Arc::clone(vault), status));
        // Rotation changes only the keyring, but a read-only mount is to change nothing.
        let due = if vault.read_only() {
            None
        } else {
            Some(Scheduler::start(Arc::clone(vault.keys()), Arc::clone(&open)).map_err(MountError::Daemon)?)
        };
        let backups = if vault.read_only() {
            None
        } else {
            Some(BackupKeeper::start(Arc::clone(vault.keys())).map_err(MountError::Daemon)?)
        };
        let upkeep = Upkeep::start(mount.clone(), Arc::clone(&open), idle).map_err(MountError::Daemon)?;
        let control = match serve_control(prepared, vault, mount, open) {
            Ok(server) => Some(server),
            Err(error) => {
                // The files matter most; `status` reports that nobody answers.
                tracing::warn!("no control socket, so `rotate` can't reach this mount: {error}");
                None
            }
        };
        let helper = |name: &str, work: fn(&Vault)| {
            let vault = Arc::clone(vault);
            std::thread::Builder::new()
                .name(name.into())
                .spawn(move || work(&vault))
                .map_err(MountError::Daemon)
        };
        let helpers = vec![
            helper("rekeyfs-memory", Vault::trim_heap)?,
            helper("rekeyfs-removed", Vault::run_deferred_close)?,
        ];
        Ok(Self { control, rewrap, due, backups, upkeep, helpers })
    }

    /// Ends them. Sweeps stop after their batch; control requests under way are answered.
    fn stop(self, vault: &Vault) {
        drop((self.control, self.due, self.upkeep));
        // After those that change the keyring.
        drop(self.backups);
        vault.close_queues();
        if let Some(rewrap) = self.rewrap {
            rewrap.join();
        }
        for helper in self.helpers {
            if helper.join().is_err() {
                tracing::error!("a thread that works for the vault panicked");
            }
        }
    }
}

fn serve_control(
    prepared: &Prepared,
    vault: &Arc<Vault>,
    mount: &Mount,
    open: Arc<OpenVault>,
) -> Result<control::Server, RegistryError> {
    let path = &prepared.vault;
    let io = |error| RegistryError::Io(path.clone(), error);
    let location = VaultLocation::of(vault.keys().vault_id(), path).map_err(io)?;
    let mut endpoint = RuntimeDir::create()?.bind(location)?;
    endpoint.publish(path, &mount.mountpoint, mount.device)?;
    let stop = {
        let open = Arc::clone(&open);
        move || open.stop()
    };
    control::serve(endpoint, open, Box::new(stop)).map_err(io)
}

/// A mount that is unmounted when this is dropped, if it still exists: nobody would serve it.
struct Attached(Mount);

impl Drop for Attached {
    fn drop(&mut self) {
        signals::leave(&self.0);
    }
}

/// Unmounts a mount that fusermount3 made elsewhere, since it resolves the path of the mountpoint again.
fn remove_misplaced(prepared: &Prepared) -> MountError {
    let me = rustix::process::geteuid().as_raw();
    for mount in mountinfo::mounts() {
        let ours = mount.is_vault() && mount.user == Some(me) && mount.source == prepared.vault;
        if ours && is_dead(&mount) {
            let _ = unmount_exactly(&mount, UnmountMode::Lazy);
        }
    }
    let problem = "the mount did not come there: it was replaced meanwhile";
    MountError::Mountpoint { path: prepared.mountpoint.path().to_owned(), problem: problem.to_owned() }
}

/// The kernel checks permissions, unless only root may enter the mount.
fn permissions(options: &MountOptions) -> Permissions {
    if rustix::process::geteuid().is_root() && !options.allow_other {
        Permissions::RootOnly
    } else {
        Permissions::Kernel
    }
}

/// Mirrors what the kernel allows. Root may always enter, because writeback is sent in its name.
fn who_may_enter(options: &MountOptions) -> SessionACL {
    if options.allow_other && !options.allow_root { SessionACL::All } else { SessionACL::RootAndOwner }
}

fn session_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.clamp(*SESSION_THREADS.start(), *SESSION_THREADS.end())
}

fn session_config() -> Config {
    let mut config = Config::default();
    config.n_threads = Some(session_threads() + BusyPoller::EXTRA_THREADS);
    config.clone_fd = attach::can_clone();
    config
}
