//! The on-disk format of rekeyfs: bytes in, bytes out.
//!
//! Here is all that an auditor, another reader of vaults or a fuzzer needs, and nothing else: identifiers ([`ids`]),
//! keys and ciphers ([`crypto`]), the pages of a file ([`content`]), its header ([`header`]), lower names and directory
//! records ([`names`]), records of hosts ([`hosts`]), blobs outside of files ([`blob`]), unlock slots ([`unlock`]). `docs/format.md` describes the bytes.
//!
//! No file is opened here: a key file is read from a reader that the caller gives. What is asked of the system is random
//! bytes, the time ([`ids::Timestamp::now`]), and locked memory for keys ([`locked`], the one module with `unsafe`).
//!
//! Modules, each importing only from those after it: [`unlock`], ([`content`], [`names`], [`header`], [`hosts`], [`blob`]), [`crypto`],
//! [`ids`], [`locked`].

pub mod blob;
pub mod content;
pub mod crypto;
pub mod header;
pub mod hosts;
pub mod ids;
pub mod locked;
pub mod names;
pub mod unlock;
