//! One type per key role (docs/format.md, "Keys"). What lasts as long as a mount sits in locked memory: roots,
//! materials, wrapping keys, and all that is derived from the tree key. Keys of one file or of one operation are on
//! the heap. All are initialised in place and wiped when dropped.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::derive::derive;
use super::error::AuthError;
use super::hash::hmac_sha256;
use super::labels::{self, Label};
use super::page::ContentKey;
use super::random;
pub use super::seal::Wrapped;
use super::seal::{self, WrappedRoot};
use super::siv::SivKey;
use super::suite::Suite;
use crate::ids::{
    AliasId, AliasName, BackingKeyId, DirId, FileId, Format, Generation, KeyId, SegmentIndex, SlotId,
    Timestamp, VaultId,
};
use crate::locked::Locked;

type Secret = Box<Zeroizing<[u8; 32]>>;

fn derived(ikm: &[u8; 32], label: Label, context: &[&[u8]]) -> Secret {
    let mut out = Box::new(Zeroizing::new([0; 32]));
    derive(ikm, label, context, &mut out);
    out
}

fn derived_locked(ikm: &[u8; 32], label: Label, context: &[&[u8]]) -> Locked<32> {
    Locked::init(|out| derive(ikm, label, context, out))
}

macro_rules! locked_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Locked<32>);

        impl $name {
            /// A new one, from the kernel's random generator.
            pub fn generate() -> Self {
                Self(Locked::init(|b| random::fill(b)))
            }

            /// The one whose bytes these are (from an unwrapped or decoded form; the caller wipes its own).
            pub fn from_bytes(bytes: &[u8; 32]) -> Self {
                Self(Locked::init(|b| *b = *bytes))
            }

            /// The raw bytes, for the codec that wraps or seals them and for nothing else.
            pub fn expose(&self) -> &[u8; 32] {
                self.0.expose()
            }
        }
    };
}

locked_key!(
    /// The root key of a vault: what unlock slots yield. Seals the keyring body.
    RootKey
);
locked_key!(
    /// Backing key material: what one version of a key is made of.
    KeyMaterial
);
locked_key!(
    /// A tree key: the keys of names, directory ids, directory records, symlinks and xattrs are derived from it.
    TreeKey
);
locked_key!(
    /// The key of the event log's HMAC chain.
    EventKey
);
locked_key!(
    /// What a root key leaves to those that replace it: a host that knows the old commitment can check that the maker of
    /// the new keyring held the old root key. The root key can't be found from it.
    Endorsement
);
locked_key!(
    /// A slot's key-encryption key: what a passphrase, key file or recovery key yields. Stored nowhere.
    SlotKek
);
locked_key!(
    /// What a custodian wraps instead of the root key: drawn for one unlock slot, and stored only in what the custodian made
    /// of it.
    CustodyKek
);
locked_key!(
    /// What a FIDO2 authenticator computes from the salt of an unlock slot (CTAP2's extension hmac-secret).
    AuthenticatorSecret
);

impl RootKey {
    /// Seals the keyring body: XChaCha20-Poly1305 with a random nonce. Returns nonce (24) ‖ ciphertext ‖ tag.
    pub fn seal_keyring(&self, vault: VaultId, aad: &[u8], body: &[u8]) -> Vec<u8> {
        seal::seal(&derived(self.expose(), labels::KEYRING, &[vault.as_bytes()]), aad, body)
    }

    /// Opens what [`RootKey::seal_keyring`] made.
    ///
    /// # Errors
    /// [`AuthError`] if the key, the AAD or any byte is another one.
    pub fn open_keyring(
        &self,
        vault: VaultId,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, AuthError> {
        seal::open(&derived(self.expose(), labels::KEYRING, &[vault.as_bytes()]), aad, sealed)
    }

    /// The token that forces an operation: a MAC over the keyring's generation and the operation's words, which only the
    /// holder of an unlock secret can make.
    pub fn force_token(&self, vault: VaultId, generation: Generation, operation: &str) -> [u8; 32] {
        let key = derived(self.expose(), labels::FORCE_TOKEN, &[vault.as_bytes()]);
        hmac_sha256(&key, &[&generation.0.to_le_bytes(), operation.as_bytes()].concat())
    }

    /// What it leaves to the root keys that replace it.
    pub fn endorsement(&self, vault: VaultId) -> Endorsement {
        Endorsement(derived_locked(self.expose(), labels::ENDORSEMENT, &[vault.as_bytes()]))
    }

    /// By which a host recognizes it.
    pub fn commitment(&self, vault: VaultId) -> RootCommitment {
        self.endorsement(vault).commitment(vault)
    }

    /// The key that authenticates the records of the hosts that have the vault mounted.
    pub fn host_record_key(&self, vault: VaultId) -> HostRecordKey {
        HostRecordKey(derived_locked(self.expose(), labels::HOST_RECORD, &[vault.as_bytes()]))
    }

    /// The key that seals import tokens.
    pub fn import_token_key(&self, vault: VaultId) -> SealKey {
        SealKey(derived_locked(self.expose(), labels::IMPORT_TOKEN, &[vault.as_bytes()]))
    }
}

/// Identifies a root key and reveals nothing else about it: no secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootCommitment(pub [u8; 32]);

impl Endorsement {
    /// The commitment of the root key that it is of.
    pub fn commitment(&self, vault: VaultId) -> RootCommitment {
        RootCommitment(**derived(self.expose(), labels::ROOT_COMMITMENT, &[vault.as_bytes()]))
    }
}

impl SlotKek {
    /// Wraps the root key for an unlock slot: AES-256-GCM under the slot-wrap key.
    pub fn wrap_root(&self, vault: VaultId, slot: SlotId, aad: &[u8], root: &RootKey) -> WrappedRoot {
        let key = derived(self.expose(), labels::SLOT_WRAP, &[vault.as_bytes(), slot.as_bytes()]);
        seal::gcm_wrap(&key, aad, root.expose())
    }

    /// Unwraps what [`SlotKek::wrap_root`] made.
    ///
    /// # Errors
    /// [`AuthError`] for a wrong secret as for changed bytes.
    pub fn unwrap_root(
        &self,
        vault: VaultId,
        slot: SlotId,
        aad: &[u8],
        wrapped: &WrappedRoot,
    ) -> Result<RootKey, AuthError> {
        let key = derived(self.expose(), labels::SLOT_WRAP, &[vault.as_bytes(), slot.as_bytes()]);
        Locked::try_init(|out| seal::gcm_unwrap(&key, aad, wrapped, out)).map(RootKey)
    }
}

impl AuthenticatorSecret {
    /// Wraps the KEK of the slot: XChaCha20-Poly1305 with a random nonce.
    pub fn wrap_kek(&self, aad: &[u8], kek: &CustodyKek) -> Wrapped {
        seal::wrap32(&derived(self.expose(), labels::FIDO2_WRAP, &[]), aad, kek.expose())
    }

    /// Unwraps what [`AuthenticatorSecret::wrap_kek`] made.
    ///
    /// # Errors
    /// [`AuthError`] for another secret or AAD as for changed bytes.
    pub fn unwrap_kek(&self, aad: &[u8], wrapped: &Wrapped) -> Result<CustodyKek, AuthError> {
        let key = derived(self.expose(), labels::FIDO2_WRAP, &[]);
        Locked::try_init(|out| seal::unwrap32(&key, aad, wrapped, out)).map(CustodyKek)
    }
}

impl KeyMaterial {
    /// An id by which imported material is recognized; the material can't be found from it.
    pub fn material_id(&self, key: KeyId) -> [u8; 32] {
        **derived(self.expose(), labels::MATERIAL_ID, &[key.as_bytes()])
    }

    /// The wrapping key of this version.
    pub fn wrapping_key(&self, vault: VaultId, id: BackingKeyId) -> WrappingKey {
        let version = id.version.0.to_le_bytes();
        let context: [&[u8]; 3] = [vault.as_bytes(), id.key.as_bytes(), &version];
        WrappingKey(derived_locked(self.expose(), labels::WRAP, &context))
    }

    /// The key of the blobs of this version: another derivation than that of the wrapping key.
    pub(crate) fn blob_key(&self, vault: VaultId, id: BackingKeyId) -> SealKey {
        let version = id.version.0.to_le_bytes();
        let context: [&[u8]; 3] = [vault.as_bytes(), id.key.as_bytes(), &version];
        SealKey(derived_locked(self.expose(), labels::KMS_BLOB, &context))
    }
}

/// What a DEK's wrap is bound to: its AAD.
///
/// ```text
/// 0 vault id (16) | 16 file id (16) | 32 key id (16) | 48 version u32 | 52 suite u8 | 53 format u16
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrapContext {
    /// The vault.
    pub vault: VaultId,
    /// The file; for a tree key, the tree key's id.
    pub file: FileId,
    /// The backing key that wraps.
    pub backing: BackingKeyId,
    /// The suite number; 0 for a tree key.
    pub suite: u8,
    /// The format.
    pub format: Format,
}

impl WrapContext {
    fn aad(&self) -> [u8; 55] {
        let mut aad = [0; 55];
        let mut at = 0;
        for part in [
            self.vault.as_bytes().as_slice(),
            self.file.as_bytes(),
            self.backing.key.as_bytes(),
            &self.backing.version.0.to_le_bytes(),
            &[self.suite],
            &self.format.0.to_le_bytes(),
        ] {
            aad[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        aad
    }
}

/// The key that one version of a key wraps with: XChaCha20-Poly1305.
pub struct WrappingKey(Locked<32>);

impl WrappingKey {
    /// Wraps a DEK.
    pub fn wrap_dek(&self, context: &WrapContext, dek: &Dek) -> Wrapped {
        seal::wrap32(self.0.expose(), &context.aad(), &dek.0)
    }

    /// Wraps the DEK of a new file, whose id the context bears.
    pub fn wrap_new(&self, context: &WrapContext, new: NewFile) -> (Wrapped, Dek) {
        let wrapped = seal::wrap32_with(self.0.expose(), &context.aad(), &new.dek.0, new.nonce);
        (wrapped, new.dek)
    }

    /// Unwraps a DEK.
    ///
    /// # Errors
    /// [`AuthError`] if the key, the context or any byte is another one.
    pub fn unwrap_dek(&self, context: &WrapContext, wrapped: &Wrapped) -> Result<Dek, AuthError> {
        let mut dek = Dek(Box::new(Zeroizing::new([0; 32])));
        seal::unwrap32(self.0.expose(), &context.aad(), wrapped, &mut dek.0)?;
        Ok(dek)
    }

    /// Wraps a tree key.
    pub fn wrap_tree(&self, context: &WrapContext, tree: &TreeKey) -> Wrapped {
        seal::wrap32(self.0.expose(), &context.aad(), tree.expose())
    }

    /// Unwraps a tree key.
    ///
    /// # Errors
    /// As [`WrappingKey::unwrap_dek`].
    pub fn unwrap_tree(&self, context: &WrapContext, wrapped: &Wrapped) -> Result<TreeKey, AuthError> {
        Locked::try_init(|out| seal::unwrap32(self.0.expose(), &context.aad(), wrapped, out)).map(TreeKey)
    }
}

/// A file's data key.
pub struct Dek(Secret);

/// What a new file draws, in one call: its id, its DEK, and the nonce with which that is wrapped for the first time. It is
/// used up by that, so the nonce is never used again.
pub struct NewFile {
    id: FileId,
    dek: Dek,
    nonce: seal::Nonce,
}

impl NewFile {
    /// A new one.
    pub fn draw() -> Self {
        let mut drawn = Zeroizing::new([0; 16 + 32 + seal::NONCE]);
        random::fill(&mut *drawn);
        let mut dek = Dek(Box::new(Zeroizing::new([0; 32])));
        let (mut id, mut nonce) = ([0; 16], [0; seal::NONCE]);
        id.copy_from_slice(&drawn[..16]);
        dek.0.copy_from_slice(&drawn[16..48]);
        nonce.copy_from_slice(&drawn[48..]);
        Self { id: FileId::from_random(id), dek, nonce }
    }

    /// Its id.
    pub fn id(&self) -> FileId {
        self.id
    }
}

impl Dek {
    /// A new one.
    pub fn generate() -> Self {
        let mut dek = Self(Box::new(Zeroizing::new([0; 32])));
        random::fill(&mut **dek.0);
        dek
    }

    /// The key of this file's header MACs.
    pub fn header_mac_key(&self, file: FileId) -> HeaderMacKey {
        HeaderMacKey(derived(&self.0, labels::HEADER_MAC, &[file.as_bytes()]))
    }

    /// The content key of one segment.
    pub fn content_key(&self, suite: Suite, file: FileId, segment: SegmentIndex) -> ContentKey {
        let key = derived(
            &self.0,
            labels::CONTENT,
            &[&[suite.number()], file.as_bytes(), &segment.0.to_le_bytes()],
        );
        ContentKey::new(suite, &key)
    }
}

/// Authenticates a file's header slots, and commits them to the DEK.
pub struct HeaderMacKey(Secret);

impl HeaderMacKey {
    /// HMAC-SHA256 over `data`.
    pub fn mac(&self, data: &[u8]) -> [u8; 32] {
        hmac_sha256(&self.0, data)
    }

    /// Checks a MAC in constant time.
    ///
    /// # Errors
    /// [`AuthError`] if it isn't this one's.
    pub fn verify(&self, data: &[u8], tag: &[u8; 32]) -> Result<(), AuthError> {
        if bool::from(self.mac(data).ct_eq(tag)) { Ok(()) } else { Err(AuthError) }
    }
}

/// Authenticates the records of the hosts that have the vault mounted.
pub struct HostRecordKey(Locked<32>);

impl HostRecordKey {
    /// HMAC-SHA256 over `data`.
    pub fn mac(&self, data: &[u8]) -> [u8; 32] {
        hmac_sha256(self.0.expose(), data)
    }

    /// Checks a MAC in constant time.
    ///
    /// # Errors
    /// [`AuthError`] if it isn't this one's.
    pub fn verify(&self, data: &[u8], tag: &[u8; 32]) -> Result<(), AuthError> {
        if bool::from(self.mac(data).ct_eq(tag)) { Ok(()) } else { Err(AuthError) }
    }
}

impl EventKey {
    /// HMAC-SHA256 over `data`: a link of the event chain.
    pub fn mac(&self, data: &[u8]) -> [u8; 32] {
        hmac_sha256(self.expose(), data)
    }
}

impl TreeKey {
    /// The key of names.
    pub fn name_key(&self) -> SivKey {
        SivKey::init(|out| derive(self.expose(), labels::NAMES, &[], out))
    }

    /// The key of xattr names.
    pub fn xattr_name_key(&self) -> SivKey {
        SivKey::init(|out| derive(self.expose(), labels::XATTR_NAME, &[], out))
    }

    /// The id of the root directory: dir-id with a context of 16 zero bytes.
    pub fn root_dir_id(&self) -> DirId {
        self.dir_id_of(&[&[0; 16]])
    }

    /// The derived id of a directory: of its parent's id and its lower name as it is on disk.
    pub fn dir_id(&self, parent: DirId, lower_name: &[u8]) -> DirId {
        self.dir_id_of(&[&parent.0, lower_name])
    }

    fn dir_id_of(&self, context: &[&[u8]]) -> DirId {
        DirId(self.id_of(labels::DIR_ID, context))
    }

    /// The id of an alias that was made then.
    pub fn alias_id(&self, created: Timestamp, name: &AliasName) -> AliasId {
        AliasId(self.id_of(labels::ALIAS_ID, &[&created.0.to_le_bytes(), name.as_str().as_bytes()]))
    }

    fn id_of(&self, label: Label, context: &[&[u8]]) -> [u8; 16] {
        let mut out = Zeroizing::new([0; 32]);
        derive(self.expose(), label, context, &mut out);
        let mut id = [0; 16];
        id.copy_from_slice(&out[..16]);
        id
    }

    /// The key of directory records.
    pub fn dir_record_key(&self) -> SealKey {
        SealKey(derived_locked(self.expose(), labels::DIR_RECORD, &[]))
    }

    /// The key of symlink targets.
    pub fn symlink_key(&self) -> SealKey {
        SealKey(derived_locked(self.expose(), labels::SYMLINK, &[]))
    }

    /// The key of xattr values.
    pub fn xattr_value_key(&self) -> SealKey {
        SealKey(derived_locked(self.expose(), labels::XATTR_VALUE, &[]))
    }
}

/// A derived key that seals small things (records, symlink targets, xattr values) with XChaCha20-Poly1305.
pub struct SealKey(Locked<32>);

impl SealKey {
    /// Returns nonce (24) ‖ ciphertext ‖ tag (16).
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        seal::seal(self.0.expose(), aad, plaintext)
    }

    /// Opens what [`SealKey::seal`] made.
    ///
    /// # Errors
    /// [`AuthError`] if the key, the AAD or any byte is another one, or it is shorter than 40 bytes.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AuthError> {
        seal::open(self.0.expose(), aad, sealed)
    }
}
