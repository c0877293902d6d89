//! How files that are named to the user get their paths.

use crate::ids::{Ino, PathText};
use crate::vault::{NamedFile, PlainNames, Vault};

impl Vault {
    /// A file that is named, and why; its plain path is yet to be found.
    pub fn named_file(&self, ino: Ino, why: String) -> NamedFile {
        let lower = self.lower_path(ino).unwrap_or_default();
        NamedFile { lower, path: None, inode: Some(ino.0), why }
    }

    /// Adds the plain paths of files that a count has named.
    pub fn name_plainly(&self, files: &mut [NamedFile]) {
        let Ok(names) = self.plain_names() else { return };
        let plain = |names: &PlainNames, lower: &str| {
            use std::os::unix::ffi::OsStringExt;
            names.of(lower).map(|path| PathText(std::ffi::OsString::from_vec(path).into()))
        };
        for file in files.iter_mut().filter(|file| file.path.is_none()) {
            file.path = plain(&names, &file.lower);
        }
    }
}
