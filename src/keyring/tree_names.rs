//! Whether a keyring is of the vault whose tree lies beside it: its tree key opens the names in the tree's root directory.
//! Names are authenticated, and a vault keeps its tree key for good, so a key backup of any age opens them, and one that was made
//! without the vault's keys opens none. Who can write the ciphertext can add names of his own or take the vault's away: then the
//! vault's files are shown as bad names, or aren't there.

use crate::crypto::keys::TreeKey;
use crate::names::{LowerKind, NameCipher};
use crate::storage::{self, DirStream};

use super::store::vault_dir::{TREE_NAME, VaultDir};

/// Names that are looked at: more prove nothing more.
const MOST_NAMES: u64 = 10_000;

/// How many names in a tree's root directory open.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NamesOpened {
    /// Those that do.
    pub opened: u64,
    /// Those that don't.
    pub strange: u64,
}

impl NamesOpened {
    /// Of the vault in a directory; of none, if there is no tree or it can't be read. Long names aren't looked at.
    pub(super) fn count(vault: &VaultDir, tree: &TreeKey) -> Self {
        let mut found = Self::default();
        let Ok(root) = storage::open_dir(vault.fd(), TREE_NAME.as_bytes()) else { return found };
        let (cipher, id, mut entries) = (NameCipher::new(tree), tree.root_dir_id(), DirStream::new(root));
        while found.all() < MOST_NAMES
            && let Ok(Some(entry)) = entries.next()
        {
            if LowerKind::of(entry.name) != LowerKind::Name {
                continue;
            }
            match cipher.decrypt(id, entry.name) {
                Ok(_) => found.opened += 1,
                Err(_) => found.strange += 1,
            }
        }
        found
    }

    /// All that were looked at.
    pub fn all(self) -> u64 {
        self.opened + self.strange
    }

    /// Whether they say that the keyring is another vault's: most of them don't open.
    pub fn disprove(self) -> bool {
        self.strange > self.opened
    }
}
