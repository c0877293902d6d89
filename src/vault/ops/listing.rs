//! Listing directories, for the kernel.

use crate::ids::{Handle, Ino};
use crate::vault::{DirEntry, PlusSink, Result, Vault};

impl Vault {
    /// Opens a directory for listing.
    ///
    /// # Errors
    /// ESTALE, ENFILE; EIO if its record is damaged.
    pub fn opendir(&self, ino: Ino) -> Result<Handle> {
        self.reporting_damage(ino, self.tree.opendir(ino))
    }

    /// Lists a directory from a cookie on (0: the start), until `each` returns false: the entry it refused comes
    /// first when the listing is taken up at the cookie of the one before.
    ///
    /// # Errors
    /// EBADF; what the lower filesystem says.
    pub fn readdir(
        &self,
        ino: Ino,
        handle: Handle,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let damage = self.reporting_damage(ino, self.tree.readdir(handle, cookie, each))?;
        damage.inspect(|damage| self.report_damage(ino, *damage));
        self.check_lease()
    }

    /// Lists a directory as [`Vault::readdir`] does, with attributes; each entry that is accepted counts as looked
    /// up, but for `.` and `..` and what lies on another filesystem, which come without attributes. Returns how many
    /// entries before those that were given, or before the end if none was, have no name that could be shown.
    ///
    /// # Errors
    /// As [`Vault::readdir`].
    pub fn readdirplus(&self, ino: Ino, handle: Handle, cookie: u64, each: &mut PlusSink<'_>) -> Result<u64> {
        let (damage, nameless) = self.reporting_damage(ino, self.tree.readdirplus(handle, cookie, each))?;
        damage.inspect(|damage| self.report_damage(ino, *damage));
        self.if_live(Ok(nameless))
    }

    /// Closes a directory handle.
    ///
    /// # Errors
    /// EBADF.
    pub fn releasedir(&self, _ino: Ino, handle: Handle) -> Result<()> {
        self.tree.releasedir(handle)
    }
}
