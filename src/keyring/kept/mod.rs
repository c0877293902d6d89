//! Key backups that stay true: files that are written again after each change of the keyring, by the mount, or by the
//! command that made the change of a vault that isn't mounted.
//!
//! A backup's root key and slots are made once and lie in the keyring's body (format/key_backups.rs), so that writing it
//! again takes no passphrase and no age. What is written is what an export holds, without the keys of other kept backups.
//!
//! **Order.** The change of the keyring is durable first, and doesn't fail with a backup. Each writer reads the keyring as it
//! is on disk, writes, and then looks whether the keyring on disk is still that one; if not it writes again. So of writers
//! that meet, in several processes, the last one to rename has looked after all others: what stays is of the newest keyring,
//! and no lock is held while a slow disk is written. A crash in between leaves an older backup, which the next mount or
//! change replaces.
//!
//! **What is overwritten.** Nothing, an empty file, or a file that opens under this backup's own root key and is of a keyring
//! that this one comes from. Whatever else is there stays, and the log and `status` report it: it may be the only copy of
//! something.

pub(super) mod commands;
mod place;
pub(super) mod record;
pub(super) mod writer;

#[cfg(test)]
mod tests;
