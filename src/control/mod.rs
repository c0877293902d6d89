//! How other processes on this host reach a mount: a registry file and a Unix socket for each mounted vault
//! in the runtime directory, one JSON request a connection, JSON lines back. Only the owner of the mount and
//! root are served. No key material and no unlock secret ever passes through here.
//!
//! This is transport alone: what a request does is `service::Operations`.

mod client;
mod connection;
mod endpoint;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keeper;
mod protocol;
mod registry;
mod server;
mod wire;

pub use client::Client;
pub use connection::ClientError;
pub use endpoint::Endpoint;
pub use protocol::{MAX_REPLY, MAX_REQUEST, PROTOCOL, Reply, Request};
pub use registry::{Entry, RegistryError, RuntimeDir, VaultLocation, entries, is_dead};
pub use server::{Server, Stop, serve};

#[cfg(test)]
mod tests;
