//! The record of what repairs overwrite: `fsck-undo.jsonl` in the vault's directory, one JSON object a line, with the lower file,
//! the offset and the bytes, which are ciphertext. **Crash order**: a line is durable before its bytes are overwritten.

use std::os::fd::{AsFd, OwnedFd};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::ids::{LowerOffset, PathText, Timestamp};
use crate::storage::{self, Access, Errno};

/// The name of the record in a vault's directory.
pub const UNDO_NAME: &str = "fsck-undo.jsonl";

/// The record of what was overwritten.
pub(super) struct Undo<'a> {
    vault: &'a OwnedFd,
}

impl<'a> Undo<'a> {
    /// In this vault's directory. The file is created with the first record.
    pub(super) fn new(vault: &'a OwnedFd) -> Self {
        Self { vault }
    }

    /// Saves these bytes of a lower file; durable when it returns.
    ///
    /// # Errors
    /// What the lower filesystem says. Nothing must be overwritten then.
    pub(super) fn keep(&self, lower: &PathText, at: LowerOffset, bytes: &[u8]) -> storage::Result<()> {
        let (dir, name) = (self.vault.as_fd(), UNDO_NAME.as_bytes());
        let file = match storage::open_owned(dir, name, Access::ReadWrite) {
            Err(Errno::NOENT) => storage::create_for_owner(dir, name, 0o600)?,
            opened => opened?,
        };
        let size = storage::fstat(file.as_fd())?.lower_size();
        let mut last = [b'\n'];
        if size.0 > 0 {
            storage::pread(file.as_fd(), &mut last, LowerOffset(size.0 - 1))?;
        }
        let record = json!({
            "time": Timestamp::now().to_string(),
            "lower": lower,
            "offset": at.0,
            "bytes": BASE64.encode(bytes),
        });
        // A crash may have torn the line before.
        let line = if last == *b"\n" { format!("{record}\n") } else { format!("\n{record}\n") };
        storage::pwrite_all(file.as_fd(), line.as_bytes(), size)?;
        storage::fsync(file.as_fd())?;
        storage::fsync_dir(dir)
    }
}
