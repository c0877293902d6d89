//! The frame of a keyring file or key backup, and its readable header.
//!
//! ```text
//!  0       4        6          10          14           18             18+len    +24
//!  +-------+--------+----------+-----------+------------+--------------+---------+--------------------+
//!  | magic | format | incompat | ro_compat | header len | header, JSON | nonce   | sealed body, tag   |
//!  | 4     | u16    | u32      | u32       | u32        | len bytes    | 24      | the rest; tag: 16  |
//!  +-------+--------+----------+-----------+------------+--------------+---------+--------------------+
//!  |<--------------------------- AAD of the seal --------------------->|
//! ```
//!
//! Integers are little-endian. The frame and the header can be read by anyone and are authentic once the body has been
//! opened, since they are the seal's AAD. The magic tells a keyring from a backup, so that neither passes for the other.

use serde::{Deserialize, Serialize};

use crate::crypto::suite::Suite;
use crate::ids::VaultId;
use crate::storage::{RoCompat, UnknownFeatures, Writable};
use crate::unlock::Slots;

/// The format's number. Another one is another frame.
const FORMAT: u16 = 1;

// Byte offsets in the frame.
const MAGIC_AT: usize = 0;
const FORMAT_AT: usize = 4;
const INCOMPAT_AT: usize = 6;
const RO_COMPAT_AT: usize = 10;
const HEADER_LEN_AT: usize = 14;
/// Bytes of the frame: where the header begins.
const FRAME_LEN: usize = 18;

/// The longest header, in bytes: some thousand slots.
const MAX_JSON_LEN: usize = 1 << 20;

/// Incompat bit: a key's versions have gaps (gaps.rs).
pub(in crate::keyring) const HAS_GAPS: u32 = 1;
/// Incompat bit: several hosts share the vault, or did (src/keyring/hosts). Never unset.
pub(in crate::keyring) const SHARED: u32 = 2;
/// All incompat bits that this program knows.
const KNOWN: u32 = HAS_GAPS | SHARED;

/// What a file is. The same frame and header; the AAD of the seal tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keyring) enum Kind {
    /// The keyring of a vault.
    Keyring,
    /// A backup of its keys.
    Backup,
}

impl Kind {
    pub(in crate::keyring) const fn magic(self) -> &'static [u8; 4] {
        match self {
            Self::Keyring => b"RKFK",
            Self::Backup => b"RKFB",
        }
    }
}

/// What is known of a vault without a secret. Not authenticated until the keyring is opened.
#[derive(Clone)]
pub struct Header {
    /// The vault's id.
    pub vault: VaultId,
    /// The suite of new files.
    pub suite: Suite,
    /// The unlock slots.
    pub slots: Slots,
    /// Features of the format that a program must know to read the file; what is sealed sets them.
    pub(in crate::keyring) incompat: u32,
    /// Features of the format that a program which doesn't know them may read past, but not write.
    pub(in crate::keyring) ro_compat: RoCompat,
}

/// Why a file's frame or header can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::keyring) enum HeaderError {
    /// It is damaged or something else.
    #[error("{0}")]
    Damaged(String),
    /// A newer program wrote it.
    #[error("{0}")]
    Newer(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    vault: VaultId,
    suite: String,
    slots: Slots,
}

/// A file taken apart. Nothing of it is authenticated yet.
pub(in crate::keyring) struct Parts<'a> {
    pub(in crate::keyring) header: Header,
    pub(in crate::keyring) aad: &'a [u8],
    pub(in crate::keyring) sealed: &'a [u8],
}

impl Header {
    pub(in crate::keyring) fn new(vault: VaultId, suite: Suite) -> Self {
        Self { vault, suite, slots: Slots::default(), incompat: 0, ro_compat: RoCompat::default() }
    }

    /// The number of the keyring's format.
    pub const FORMAT: u16 = FORMAT;

    /// The features that are set, by name; one that this program doesn't know, which lets it only read the vault, by its
    /// bit.
    pub fn features(&self) -> Vec<String> {
        let gaps = (self.incompat & HAS_GAPS != 0).then(|| "versions-have-gaps".to_owned());
        let shared = self.is_shared().then(|| "shared".to_owned());
        let ro_compat = self.ro_compat.bits();
        let unknown =
            (0..u32::BITS).filter(|bit| ro_compat >> bit & 1 == 1).map(|bit| format!("ro-compat-{bit}"));
        gaps.into_iter().chain(shared).chain(unknown).collect()
    }

    /// Whether hosts share the vault, or did.
    pub fn is_shared(&self) -> bool {
        self.incompat & SHARED != 0
    }

    /// Sets that hosts share the vault. It stays set.
    pub(in crate::keyring) fn set_shared(&mut self, shared: bool) {
        if shared {
            self.incompat |= SHARED;
        }
    }

    /// # Errors
    /// The features of the format for which this program must not write the vault.
    pub(in crate::keyring) fn writable(&self) -> Result<Writable, UnknownFeatures> {
        self.ro_compat.writable()
    }

    /// Every byte before the nonce. None if there are more slots than the header's length field allows.
    pub(in crate::keyring) fn encode(&self, kind: Kind) -> Option<Vec<u8>> {
        let json = Json { vault: self.vault, suite: self.suite.name().to_owned(), slots: self.slots.clone() };
        let json = serde_json::to_vec(&json).ok().filter(|json| json.len() <= MAX_JSON_LEN)?;
        let len = u32::try_from(json.len()).ok()?;
        let mut out = vec![0; FRAME_LEN];
        put(&mut out, MAGIC_AT, kind.magic());
        put(&mut out, FORMAT_AT, &FORMAT.to_le_bytes());
        put(&mut out, INCOMPAT_AT, &self.incompat.to_le_bytes());
        put(&mut out, RO_COMPAT_AT, &self.ro_compat.bits().to_le_bytes());
        put(&mut out, HEADER_LEN_AT, &len.to_le_bytes());
        out.extend_from_slice(&json);
        Some(out)
    }
}

/// Takes a keyring file apart.
///
/// # Errors
/// [`HeaderError`]; never a panic, whatever the bytes.
pub(in crate::keyring) fn parse(file: &[u8], kind: Kind) -> Result<Parts<'_>, HeaderError> {
    let damaged = |what: &str| HeaderError::Damaged(what.to_owned());
    let cut_short = || damaged("it is cut short");
    let magic = file.first_chunk::<4>().ok_or_else(cut_short)?;
    if magic != kind.magic() {
        let what = format!("it doesn't begin with {}", String::from_utf8_lossy(kind.magic()));
        return Err(HeaderError::Damaged(what));
    }
    let (frame, rest) = file.split_first_chunk::<FRAME_LEN>().ok_or_else(cut_short)?;
    let format = u16::from_le_bytes(field(frame, FORMAT_AT));
    let incompat = u32::from_le_bytes(field(frame, INCOMPAT_AT));
    let ro_compat = RoCompat::from_bits(u32::from_le_bytes(field(frame, RO_COMPAT_AT)));
    let len = u32::from_le_bytes(field(frame, HEADER_LEN_AT)) as usize;
    if format != FORMAT {
        return Err(HeaderError::Newer(format!("keyring format {format}; this rekeyfs knows {FORMAT}")));
    }
    if incompat & !KNOWN != 0 {
        let what = format!("keyring features {incompat:#x}; this rekeyfs knows {KNOWN:#x}");
        return Err(HeaderError::Newer(what));
    }
    if len > MAX_JSON_LEN || len > rest.len() {
        return Err(damaged("its header is longer than the file"));
    }
    let (json, sealed) = rest.split_at(len);
    let json: Json =
        serde_json::from_slice(json).map_err(|e| HeaderError::Damaged(format!("its header: {e}")))?;
    let suite = json.suite.parse().map_err(HeaderError::Newer)?;
    let header = Header { vault: json.vault, suite, slots: json.slots, incompat, ro_compat };
    Ok(Parts { header, aad: &file[..FRAME_LEN + len], sealed })
}

fn put(frame: &mut [u8], at: usize, field: &[u8]) {
    frame[at..at + field.len()].copy_from_slice(field);
}

fn field<const N: usize>(frame: &[u8; FRAME_LEN], at: usize) -> [u8; N] {
    std::array::from_fn(|index| frame[at + index])
}
