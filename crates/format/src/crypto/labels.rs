//! Every label that goes into key derivation, and nothing else (docs/format.md, "Key derivation").
//! A label is never reused for another purpose and never changed: vaults outlive programs.

/// Prefix of every derivation's info.
pub const PREFIX: &[u8] = b"rekeyfs1";

/// A derivation label, and with it the meaning of its context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(pub(super) &'static [u8]);

/// Root key → key that seals the keyring body; context: vault id.
pub const KEYRING: Label = Label(b"keyring");
/// Root key → key of the tokens that force an operation (never stored); context: vault id. The label is older than the
/// name.
pub const FORCE_TOKEN: Label = Label(b"insist");
/// Root key → key that seals import tokens; context: vault id.
pub const IMPORT_TOKEN: Label = Label(b"import-token");
/// Root key → what endorses a later root key, since only a holder of this one has it; context: vault id.
pub const ENDORSEMENT: Label = Label(b"endorsement");
/// A root key's endorsement → the root key's commitment, by which a host recognizes it; context: vault id.
pub const ROOT_COMMITMENT: Label = Label(b"root-commitment");
/// Root key → key that authenticates the records of hosts; context: vault id.
pub const HOST_RECORD: Label = Label(b"host-record");
/// Imported key material → its id, by which it is recognized; context: key id.
pub const MATERIAL_ID: Label = Label(b"material-id");
/// Slot KEK → key that wraps the root key; context: vault id, slot id.
pub const SLOT_WRAP: Label = Label(b"slot-wrap");
/// What a FIDO2 authenticator computes from a slot's salt → key that wraps the slot's custody KEK; no context.
pub const FIDO2_WRAP: Label = Label(b"fido2-wrap");
/// Backing key material → wrapping key; context: vault id, key id, version u32.
pub const WRAP: Label = Label(b"wrap");
/// Backing key material → key of blobs, which are no wraps of files' DEKs; context: vault id, key id, version u32.
pub const KMS_BLOB: Label = Label(b"kms-blob");
/// DEK → header MAC key; context: file id.
pub const HEADER_MAC: Label = Label(b"header-mac");
/// DEK → content key of a segment; context: suite u8, file id, segment u64.
pub const CONTENT: Label = Label(b"content");
/// Tree key → key (64 bytes) of names; no context.
pub const NAMES: Label = Label(b"names");
/// Tree key → directory id (first 16 bytes); context: parent's directory id, lower name as on disk.
pub const DIR_ID: Label = Label(b"dir-id");
/// Tree key → key of directory records; no context.
pub const DIR_RECORD: Label = Label(b"dir-record");
/// Tree key → key of symlink targets; no context.
pub const SYMLINK: Label = Label(b"symlink");
/// Tree key → key (64 bytes) of xattr names; no context.
pub const XATTR_NAME: Label = Label(b"xattr-name");
/// Tree key → key of xattr values; no context.
pub const XATTR_VALUE: Label = Label(b"xattr-value");
/// Tree key → alias id (first 16 bytes), the tag by which files follow an alias; context: when the alias was made (i64,
/// milliseconds), its name.
pub const ALIAS_ID: Label = Label(b"alias-id");
