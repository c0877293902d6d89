//! A lock that is free though its record names another host: that host ended without unmounting, or was cut off and doesn't
//! know that it has lost the lock.
//!
//! **Rule.** On a filesystem that several hosts can have mounted, such a vault is used only where the cluster has shut the other
//! host out, or once a person has said that it is dead (`VaultLock::forget_lost_host`): a host that is cut off writes on when it is
//! connected again, and two that write destroy files. Which clusters shut hosts out is measured, not believed: docs/clusters.md,
//! "A host that is lost". On other filesystems the record of another host is that of a disk that was moved.
//!
//! Where the host had a lease of a shared vault, it has to have stood still for three of them, too.
//!
//! **Drain.** A daemon is dead before its host's client of the cluster has sent all that it wrote. So a host that is said to be dead
//! stays in the way for a while longer ([`SharedFilesystem::drain`], `VaultLock::drain`), unless the cluster shuts it out. On the host itself its
//! client is asked to write what an earlier process left (`VaultLock::write_remains`).
//!
//! A host that waited for a secret when it was lost is in nobody's way: it says so in its record until one is given.
//!
//! For this the record is durable before the vault is changed, and emptied durably once everything else is. One that can't be
//! read as a record's is of a host, too: that one is called [`UNKNOWN`].

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::super::error::MountError;
use super::super::mountinfo;
use super::record::Record;
use crate::hosts::{Beat, Mode, SlotNumber};
use crate::ids::MemberId;
use crate::keyring::{list_hosts, patience, stillness};
use crate::storage;
use crate::sys::boottime::BootTime;

/// How a host is called whose record isn't whole.
const UNKNOWN: &str = "unknown";

const MOOSEFS: &str = "fuse.mfs";

/// Filesystems that several hosts can have mounted, by their types in the list of mounts, and whether a host whose lock was given
/// to another one is shut out.
const SHARED: [(&str, Fencing); 20] = [
    ("fuse.ceph-fuse", Fencing::ShutsOut),
    ("fuse.glusterfs", Fencing::None),
    ("fuse.juicefs", Fencing::None),
    (MOOSEFS, Fencing::None),
    // Not measured.
    ("ceph", Fencing::None),
    ("nfs", Fencing::None),
    ("nfs4", Fencing::None),
    ("cifs", Fencing::None),
    ("smb3", Fencing::None),
    ("lustre", Fencing::None),
    ("beegfs", Fencing::None),
    ("ocfs2", Fencing::None),
    ("gfs2", Fencing::None),
    ("afs", Fencing::None),
    ("gpfs", Fencing::None),
    ("9p", Fencing::None),
    ("virtiofs", Fencing::None),
    ("fuse.sshfs", Fencing::None),
    ("fuse.rclone", Fencing::None),
    ("fuse.seaweedfs", Fencing::None),
];

/// Whether late writes of a host that has lost its lock arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fencing {
    /// They are refused.
    ShutsOut,
    /// They arrive, or nobody has measured.
    None,
}

/// A filesystem that several hosts can have mounted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedFilesystem {
    /// Its type, as the list of mounts has it.
    pub name: &'static str,
    /// What becomes of a host that is cut off.
    pub fencing: Fencing,
}

/// How long what a dead host's client of a cluster has still to send may take: a kernel writes pages out after 30 s, and looks for those every 5 s.
const DRAIN: Duration = Duration::from_secs(60);

impl SharedFilesystem {
    /// How long what a lost host's client has still to send is waited for.
    pub fn drain(&self) -> Duration {
        match self.fencing {
            Fencing::ShutsOut => Duration::ZERO,
            Fencing::None => DRAIN,
        }
    }

    /// That of a directory, if it is one.
    pub(super) fn of(dir: BorrowedFd<'_>) -> Option<Self> {
        let mount = mountinfo::of(dir)?;
        Self::mounted_as(&mount.filesystem, &mount.source)
    }

    fn mounted_as(filesystem: &OsStr, source: &OsStr) -> Option<Self> {
        // MooseFS's client names itself in the source alone.
        if filesystem == "fuse" && source.as_bytes().starts_with(b"mfs#") {
            return Self::named(MOOSEFS);
        }
        Self::named(filesystem.to_str()?)
    }

    fn named(filesystem: &str) -> Option<Self> {
        let (name, fencing) = SHARED.into_iter().find(|(name, _)| *name == filesystem)?;
        Some(Self { name, fencing })
    }
}

/// The host that ended without unmounting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostHost {
    /// Its name, by its own record.
    pub name: String,
    /// Whether it may have changed the vault. If not, it waited for a secret.
    pub(super) changes: bool,
}

impl LostHost {
    /// Looks for one, in a vault whose lock this process has; `us` is the name of this host.
    ///
    /// # Errors
    /// The record can't be read.
    pub(super) fn of(dir: BorrowedFd<'_>, us: &str) -> io::Result<Option<Self>> {
        let name = match Record::of(dir) {
            Ok(Record::Of(left)) => left.is_of_other_than(us).then_some((left.host, left.changes)),
            Ok(Record::Torn) => Some((UNKNOWN.to_owned(), true)),
            Ok(Record::Empty) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(name.map(|(name, changes)| Self { name, changes }))
    }

    /// Whether it renews no lease of the vault, for as long as it takes to be sure, if it had one. A cluster may have given its lock
    /// to this host though it lives.
    ///
    /// # Errors
    /// The records can't be read.
    pub(super) fn stands_still(&self, dir: BorrowedFd<'_>) -> storage::Result<bool> {
        Ok(self.beats(dir)?.is_empty() || self.stands_still_for(dir, stillness())?)
    }

    /// How long that has to be so at least: until a lease that it had is over.
    ///
    /// # Errors
    /// The records can't be read.
    pub(super) fn least_drain(&self, dir: BorrowedFd<'_>) -> storage::Result<Duration> {
        Ok(if self.beats(dir)?.is_empty() { Duration::ZERO } else { patience() })
    }

    /// Waits for so long; whether it has renewed no lease meanwhile.
    ///
    /// # Errors
    /// The records can't be read.
    pub(super) fn stands_still_for(&self, dir: BorrowedFd<'_>, time: Duration) -> storage::Result<bool> {
        let (before, began) = (self.beats(dir)?, BootTime::now());
        loop {
            let left = time.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(true);
            }
            std::thread::sleep(left.min(stillness() / 30));
            if self.beats(dir)? != before {
                return Ok(false);
            }
        }
    }

    /// How often its mounts that may change the vault have renewed their leases.
    fn beats(&self, dir: BorrowedFd<'_>) -> storage::Result<Vec<(SlotNumber, MemberId, Beat)>> {
        let members = list_hosts(dir)?.into_iter().map(|listed| listed.member);
        let theirs =
            members.filter(|member| member.mode == Mode::Writer && member.host.as_str() == self.name);
        Ok(theirs.map(|member| (member.slot, member.id, member.beat)).collect())
    }

    /// Whether the vault may be used though.
    ///
    /// # Errors
    /// [`MountError::HostLost`].
    pub(super) fn allow(&self, vault: &Path, shared: &SharedFilesystem) -> Result<(), MountError> {
        let host = self.name.escape_default();
        match shared.fencing {
            Fencing::ShutsOut => {
                tracing::warn!(
                    "{}: host {host} ended without unmounting it; {} has shut that host out",
                    vault.display(),
                    shared.name
                );
                Ok(())
            }
            Fencing::None => {
                Err(MountError::HostLost { path: vault.to_owned(), host: host.to_string(), on: shared.name })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_a_cluster_that_was_seen_to_shut_hosts_out_lets_another_one_in() {
        let lost = LostHost { name: "h1\n".to_owned(), changes: true };
        let allow = |name| lost.allow(Path::new("/v"), &SharedFilesystem::named(name).unwrap());
        allow("fuse.ceph-fuse").unwrap();
        assert!(SharedFilesystem::named("fuse.ceph-fuse").unwrap().drain().is_zero());
        assert_eq!(SharedFilesystem::named("fuse.juicefs").unwrap().drain(), DRAIN);
        for (name, fencing) in SHARED {
            assert_eq!(allow(name).is_ok(), fencing == Fencing::ShutsOut, "{name}");
        }
        let refused = allow("fuse.juicefs").unwrap_err().to_string();
        assert!(refused.contains(r"h1\n") && refused.contains("--host-is-dead"), "{refused}");
        for local in ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuse.bindfs"] {
            assert_eq!(SharedFilesystem::named(local), None, "{local}");
        }
        let mounted_as = |source: &str| SharedFilesystem::mounted_as("fuse".as_ref(), source.as_ref());
        assert_eq!(mounted_as("mfs#10.77.0.2:9421"), SharedFilesystem::named(MOOSEFS));
        assert_eq!(mounted_as("/dev/fuse"), None);
    }

    #[test]
    fn a_host_that_renews_its_lease_is_not_lost() {
        use crate::crypto::keys::RootKey;
        use crate::hosts::{BootId, EpochNonce, HostName, Member};
        use crate::ids::{Generation, VaultId};
        use crate::keyring::lease;
        let vault = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(vault.path()).unwrap();
        let lost = LostHost { name: "h1".to_owned(), changes: true };
        let began = BootTime::now();
        // It had no lease.
        assert!(lost.stands_still(dir.as_fd()).unwrap() && began.elapsed() < stillness());
        let (drain, began) = (lease() / 4, BootTime::now());
        assert!(lost.stands_still_for(dir.as_fd(), drain).unwrap() && began.elapsed() >= drain);
        assert!(lost.least_drain(dir.as_fd()).unwrap().is_zero());
        let key = RootKey::from_bytes(&[1; 32]).host_record_key(VaultId::from_bytes([2; 16]));
        let mut member = Member {
            slot: SlotNumber::all().next().unwrap(),
            id: MemberId::random(),
            mode: Mode::Writer,
            left: false,
            host: HostName::new("h1").unwrap(),
            boot: BootId([0; 16]),
            pid: 1,
            beat: Beat(1),
            generation: Generation(1),
            in_force: EpochNonce([0; 16]),
        };
        std::fs::create_dir(vault.path().join("hosts")).unwrap();
        let slot = vault.path().join("hosts/00");
        std::fs::write(&slot, member.encode(&key)).unwrap();
        assert!(lost.least_drain(dir.as_fd()).unwrap() > lease());
        let began = BootTime::now();
        assert!(lost.stands_still(dir.as_fd()).unwrap() && began.elapsed() >= stillness());
        let renews = std::thread::spawn(move || {
            std::thread::sleep(stillness() / 3);
            member.beat = Beat(2);
            std::fs::write(&slot, member.encode(&key)).unwrap();
        });
        assert!(!lost.stands_still(dir.as_fd()).unwrap());
        renews.join().unwrap();
    }
}
