//! Vaults in temporary directories, for the tests of this layer and of those above it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use super::{Caller, OpenFlags, Sharing, Vault, VaultOptions, XattrMode};
use crate::crypto::password::KdfParams;
use crate::crypto::suite::Suite;
use crate::header::{self, AliasTag, SLOTS};
use crate::ids::{AliasName, Handle, Ino, KeyId, LowerOffset, PlainOffset};
use crate::keyring::{Clock, KeyringFile, Keys, OpenOptions, Opened, SeenGenerations, SystemClock};
use crate::storage::{self, Access, LowerFs};
use crate::unlock::Secret;
use crate::vault::Privileges;

/// The user who runs the tests.
pub(crate) fn me() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        umask: 0o022,
        pid: 0,
    }
}

/// Open for reading and writing.
pub(crate) const READ_WRITE: OpenFlags = OpenFlags { read: true, write: true, truncate: false };

/// What the lower filesystem is taken for.
#[derive(Clone, Copy)]
struct Below {
    tells_holes: bool,
    small_blocks: bool,
    remote: bool,
}

/// A vault of its own, gone with the value.
pub(crate) struct TestVault {
    dir: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    keys: Arc<Keys>,
    lower: Below,
    sharing: Sharing,
    pub(crate) vault: Arc<Vault>,
}

impl TestVault {
    pub(crate) fn new() -> Self {
        Self::with_suite(Suite::Aes256Gcm)
    }

    pub(crate) fn with_suite(suite: Suite) -> Self {
        Self::in_dir(tempfile::tempdir().unwrap(), suite, Arc::new(SystemClock))
    }

    /// With a clock of its own.
    pub(crate) fn at(clock: Arc<dyn Clock>) -> Self {
        Self::in_dir(tempfile::tempdir().unwrap(), Suite::Aes256Gcm, clock)
    }

    /// On a tmpfs, where syncs cost nothing, if there is one that keeps user attributes.
    pub(crate) fn in_memory() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").ok().filter(|dir| {
            let file = std::fs::File::open(dir.path()).unwrap();
            storage::setxattr(file.as_fd(), b"user.test", b"", XattrMode::Set).is_ok()
        });
        let dir = dir.unwrap_or_else(|| tempfile::tempdir().unwrap());
        Self::in_dir(dir, Suite::Aes256Gcm, Arc::new(SystemClock))
    }

    fn in_dir(dir: tempfile::TempDir, suite: Suite, clock: Arc<dyn Clock>) -> Self {
        let path = dir.path().join("vault");
        std::fs::create_dir_all(path.join("tree")).unwrap();
        let kdf = KdfParams { memory_kib: 8 << 10, passes: 1, lanes: 1 };
        let options = keyring_options(dir.path(), &clock);
        let keys = KeyringFile::create(&path, suite, &[&secret()], kdf, &options).unwrap().keys;
        let sharing = Sharing::Alone;
        let lower = Below { tells_holes: true, small_blocks: false, remote: false };
        let vault = open(&path, &keys, lower, sharing);
        Self { dir, clock, keys, lower, sharing, vault }
    }

    /// One whose lower filesystem is taken for a remote one.
    pub(crate) fn remote(suite: Suite) -> Self {
        let mut test = Self::with_suite(suite);
        test.lower.remote = true;
        test.reopen();
        test
    }

    /// One that other hosts read.
    pub(crate) fn shared() -> Self {
        let mut test = Self::new();
        test.sharing = Sharing::Writer;
        test.reopen();
        test
    }

    /// One that other hosts read, on a lower filesystem that is taken for a remote one.
    pub(crate) fn shared_and_remote() -> Self {
        let mut test = Self::remote(Suite::Aes256Gcm);
        test.sharing = Sharing::Writer;
        test.reopen();
        test
    }

    /// The same vault as another host reads it, with a keyring of its own.
    pub(crate) fn reader(&self) -> Arc<Vault> {
        let (path, options) = (self.dir.path().join("vault"), keyring_options(self.dir.path(), &self.clock));
        let options = OpenOptions { written_elsewhere: true, ..options };
        let keys = KeyringFile::open(&path, &secret(), &options).unwrap().keys;
        open(&path, &keys, self.lower, Sharing::Reader)
    }

    /// The directory of ciphertext.
    pub(crate) fn tree(&self) -> std::path::PathBuf {
        self.dir.path().join("vault/tree")
    }

    /// The keyring in use.
    pub(crate) fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Forgets everything but what is on disk, as a killed mount does.
    pub(crate) fn reopen(&mut self) {
        self.vault = open(&self.dir.path().join("vault"), &self.keys, self.lower, self.sharing);
    }

    /// From its next opening on, as on a lower filesystem that takes holes for data.
    pub(crate) fn tell_no_holes(&mut self) {
        self.lower.tells_holes = false;
    }

    /// From its next opening on, as on a lower filesystem that writes a page in pieces.
    pub(crate) fn have_small_blocks(&mut self) {
        self.lower.small_blocks = true;
    }

    /// As [`TestVault::reopen`], with the keyring read from disk again.
    pub(crate) fn reopen_keyring(&mut self) {
        self.keys = self.unlocked().keys;
        self.reopen();
    }

    /// The keyring opened once more with the vault's secret, as another process does.
    pub(crate) fn unlocked(&self) -> Opened {
        let options = keyring_options(self.dir.path(), &self.clock);
        KeyringFile::open(&self.dir.path().join("vault"), &secret(), &options).unwrap()
    }

    /// Creates an empty file in the root and closes it.
    pub(crate) fn make(&self, name: &str) -> Ino {
        let (attr, handle) = self.vault.create(Ino::ROOT, name.as_bytes(), 0o644, READ_WRITE, &me()).unwrap();
        self.vault.release(attr.ino, handle).unwrap();
        attr.ino
    }

    /// Creates a file in the root, writes it and closes it.
    pub(crate) fn written(&self, name: &str) -> Ino {
        self.written_in(Ino::ROOT, name.as_bytes())
    }

    /// As [`TestVault::written`], in a directory.
    pub(crate) fn written_in(&self, parent: Ino, name: &[u8]) -> Ino {
        let (attr, handle) = self.vault.create(parent, name, 0o644, READ_WRITE, &me()).unwrap();
        self.vault.write(attr.ino, PlainOffset(0), b"content", Privileges::Keep).unwrap();
        self.vault.release(attr.ino, handle).unwrap();
        attr.ino
    }

    /// The key that the default alias points at.
    pub(crate) fn default_key(&self) -> KeyId {
        self.keys.current(&AliasName::default_alias()).unwrap().key
    }

    /// Looks a file of the root up and opens it.
    pub(crate) fn open(&self, name: &str) -> super::Result<(Ino, Handle)> {
        let ino = self.vault.lookup(Ino::ROOT, name.as_bytes())?.ino;
        Ok((ino, self.vault.open(ino, READ_WRITE, &me())?))
    }
}

impl Vault {
    /// As the user who runs the tests.
    pub(crate) fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> super::Result<()> {
        self.setxattr_as(ino, name, value, mode, &me())
    }

    /// Leaves a closed file as a program wrote it that knew no alias tags.
    pub(crate) fn untag_for_test(&self, ino: Ino) {
        let inode = self.inode(ino).unwrap();
        let (fd, _) = self.tree.open_lower(&inode, Access::ReadWrite).unwrap();
        let mut slots = [0; SLOTS];
        storage::pread(fd.as_fd(), &mut slots, LowerOffset(0)).unwrap();
        let Ok(header) = header::open(&slots, |slot| super::unwrap(&self.keys, slot)) else {
            panic!("no header")
        };
        let mut slot = header.to_slot();
        let (fields, mac) = slot.split_at_mut(header::AUTHENTICATED);
        fields[AliasTag::BYTES].fill(0);
        mac.copy_from_slice(&header.dek().header_mac_key(header.file()).mac(fields));
        storage::pwrite_all(fd.as_fd(), &slot, header.index().offset()).unwrap();
        self.count_file(ino).unwrap();
    }

    /// As the user who runs the tests.
    pub(crate) fn removexattr(&self, ino: Ino, name: &[u8]) -> super::Result<()> {
        self.removexattr_as(ino, name, &me())
    }
}

fn secret() -> Secret {
    Secret::Passphrase(zeroize::Zeroizing::new(b"test".to_vec()))
}

fn keyring_options(dir: &Path, clock: &Arc<dyn Clock>) -> OpenOptions {
    let host = SeenGenerations::at(dir.join("state"));
    OpenOptions { host, clock: Arc::clone(clock), ..OpenOptions::default() }
}

fn open(path: &Path, keys: &Arc<Keys>, below: Below, sharing: Sharing) -> Arc<Vault> {
    let tree: OwnedFd = std::fs::File::open(path.join("tree")).unwrap().into();
    let options = VaultOptions { read_only: false, lazy_rewrap: true, no_atime: false, sharing };
    let lower = LowerFs::probe(tree.as_fd()).unwrap();
    let block_size = if below.small_blocks { 1024 } else { lower.block_size };
    let (tells_holes, is_remote) = (below.tells_holes && lower.tells_holes, below.remote || lower.is_remote);
    let shows_changes_by_mtime = below.remote || lower.shows_changes_by_mtime;
    let lower = LowerFs { tells_holes, is_remote, shows_changes_by_mtime, block_size, ..lower };
    Vault::on(lower, tree, keys.clone(), options).unwrap()
}
