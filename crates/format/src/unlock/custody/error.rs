//! The bounds of what a slot says of its custodian.

/// The longest blob, in bytes.
pub const MAX_CUSTODY_BLOB: usize = 16 << 10;
/// The longest name of a custodian.
pub(super) const MAX_NAME: usize = 32;
/// The longest name of a version of its key.
pub(super) const MAX_VERSION: usize = 256;
/// The longest parameters, in bytes of their canonical form.
pub(super) const MAX_PARAMS: usize = 8 << 10;
/// How deep lists and objects in parameters are nested, the outermost counted: as deep as what clevis says of several
/// configurations of one pin, or of a pin in a pin.
pub(super) const MAX_DEPTH: usize = 6;
/// The longest name of a parameter.
pub(super) const MAX_PARAM_NAME: usize = 64;

/// Why something can't be in a custodian's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CustodyError {
    /// The name of the custodian.
    #[error("a custodian's name has 1 to {MAX_NAME} of a-z, 0-9 and -, of which the first is a letter")]
    Name,
    /// A name of a parameter.
    #[error("a custodian's parameter has a name of 1 to {} printable ASCII characters", MAX_PARAM_NAME)]
    ParamName,
    /// A number in a parameter.
    #[error("a number in a custodian's parameters is an integer below 2^53")]
    Number,
    /// Nested too deep.
    #[error("a custodian's parameters are nested at most {} deep", MAX_DEPTH)]
    Depth,
    /// Too long.
    #[error("a custodian's parameters have at most {} bytes", MAX_PARAMS)]
    Params,
    /// The blob.
    #[error("a custodian's blob has 1 to {MAX_CUSTODY_BLOB} bytes")]
    Blob,
    /// The version of the custodian's key.
    #[error("the version of a custodian's key is a text of 1 to {MAX_VERSION} printable ASCII characters")]
    Version,
}
