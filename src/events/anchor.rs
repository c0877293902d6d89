//! A place in the chain of the log, by which the keyring remembers how far it has come.

/// A place in the chain: how many events there were, and the MAC of the last one (zeros before the first).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Anchor {
    /// How many events.
    pub count: u64,
    /// MAC of the last one.
    pub mac: [u8; 32],
}
