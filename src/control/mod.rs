//! How other processes on this host reach a mount: a registry file and a Unix socket for each mounted vault
//! in the runtime directory, one JSON request a connection, JSON lines back. Only the owner of the mount and
//! root are served. No key material and no unlock secret ever passes through here.

mod client;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod protocol;
mod refusals;
mod registry;
mod server;
mod service;
mod wire;

pub use client::{Client, ClientError};
pub use protocol::{
    AliasStatus, CopyPlace, FileReencrypted, Inspected, InspectedHeader, KeyStatus, KeyVersionStatus,
    KmsReply, MAX_MESSAGE, MountStatus, PROTOCOL, PathText, PendingStatus, Progress, ReencryptionEnded,
    Refusal, RefusalKind, Renewed, Reply, Request, Retire, RetireReport, Rewrap, RewrapDestination,
    RewrapReport, RotateTarget, Rotated, Status, VersionStatus,
};
pub use registry::{Endpoint, Entry, RegistryError, RuntimeDir, VaultLocation, entries};
pub use server::{Handler, Server, serve};
pub use service::{DueDeletion, Service, kms, renew, rotate, rotate_due, status_of_keys};

#[cfg(test)]
mod tests;
