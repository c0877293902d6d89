//! A TPM, the primary key below which keys are sealed, and sessions.
//!
//! **The primary key** is the storage root key of the TCG's template for P-256: at its handle (0x81000001) where the machine's owner
//! has put one, else made from the owner's seed, which gives the same key each time. Its name goes with what is sealed.
//!
//! **Sessions** are salted: their keys come from a secret that is encrypted to the primary key. What goes in and comes out is
//! encrypted under them, so whoever listens on the bus learns no key and no PIN. Who can change what is on the bus can't put a key
//! of his own in the primary's place where something is unsealed: its name is known then.
//!
//! **A TPM without a resource manager** (an emulated one, `/dev/tpm0`) keeps what is loaded, and has room for three objects. All of it is
//! flushed as this is dropped. rekeyfs ends helpers by SIGTERM as soon as another custodian has opened the vault: with such a TPM this one
//! works on to its end, within the second before it is killed.

use std::path::Path;
use std::str::FromStr;

use nix::sys::signal::{SigSet, Signal};
use rekeyfs_custodians::{Kind, Refusal, Request};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{KeyHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    EccParameter, EccPoint, Public, PublicBuilder, PublicEccParametersBuilder, SymmetricDefinition,
    SymmetricDefinitionObject,
};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::{Context, Error, Result as TpmResult};

use super::said::refusal;

const DEVICE: &str = "/dev/tpmrm0";
/// Where the TCG's guidance has an owner put the storage root key.
const STORAGE_ROOT: u32 = 0x8100_0001;
const P256_BYTES: usize = 32;

/// A TPM that is connected.
pub(super) struct Tpm {
    pub(super) context: Context,
}

/// A primary key, and its name.
pub(super) struct Primary {
    pub(super) key: KeyHandle,
    pub(super) name: Vec<u8>,
}

impl Tpm {
    /// That of the host's list, else the machine's.
    pub(super) fn connect(request: &Request) -> Result<Self, Refusal> {
        let device = match request.allowed.all("device") {
            [] => DEVICE,
            [one] => one,
            _ => {
                return Err(Refusal::new(
                    Kind::NotAllowed,
                    "custodians.conf has more than one device= for it",
                ));
            }
        };
        let path = if device.starts_with('/') { Some(device) } else { device.strip_prefix("device:") };
        if let Some(path) = path.filter(|path| !Path::new(path).exists()) {
            // A driver that is loaded late is what a start at boot waits for.
            let cause =
                format!("there is no {path}: this machine has no TPM 2.0, or its driver isn't loaded yet");
            return Err(Refusal::new(Kind::Offline, cause));
        }
        let may_use = Access::READ_OK | Access::WRITE_OK;
        if let Some(path) =
            path.filter(|path| accessat(CWD, *path, may_use, AtFlags::EACCESS) == Err(Errno::ACCESS))
        {
            let cause = format!("{path} isn't for this user; it is for root and the group tss");
            return Err(Refusal::new(Kind::Denied, cause));
        }
        let named = path.map_or_else(|| device.to_owned(), |path| format!("device:{path}"));
        let tcti = TctiNameConf::from_str(&named).map_err(|_| {
            let cause = format!(
                "custodians.conf has device={device}, which is no path, device:, tabrmd:, swtpm: or mssim:"
            );
            Refusal::new(Kind::NotAllowed, cause)
        })?;
        if !is_managed(&named) {
            // What is loaded while this isn't possible stays there, and no more.
            let _ = SigSet::from(Signal::SIGTERM).thread_block();
        }
        let context = Context::new(tcti).map_err(|error| {
            Refusal::new(Kind::Offline, format!("the TPM {device} doesn't answer: {error}"))
        })?;
        Ok(Self { context })
    }

    /// The primary key of this name; any, if there is none yet.
    pub(super) fn primary(&mut self, name: Option<&[u8]>) -> Result<Primary, Refusal> {
        let is_it = |primary: &Primary| name.is_none_or(|name| name == primary.name);
        if let Some(primary) = self.persistent().filter(is_it) {
            return Ok(primary);
        }
        let made = self.transient().map_err(|error| match refusal("the TPM's primary key", &error) {
            // It is no slot's PIN: making that key takes the owner's authorization, which is empty on most machines.
            refused if refused.kind() == Kind::Pin => Refusal::new(
                Kind::Denied,
                "the TPM's owner has a password, so no primary key can be made; have a storage root key of P-256 at 0x81000001",
            ),
            refused => refused,
        })?;
        let other =
            || Refusal::new(Kind::NotFound, "this isn't the TPM that sealed it, or the TPM was cleared");
        Some(made).filter(is_it).ok_or_else(other)
    }

    fn persistent(&mut self) -> Option<Primary> {
        let handle = TpmHandle::Persistent(PersistentTpmHandle::new(STORAGE_ROOT).ok()?);
        let key = KeyHandle::from(self.context.tr_from_tpm_public(handle).ok()?);
        let (public, name, _) = self.context.read_public(key).ok()?;
        let can_be = public.object_attributes();
        // An RSA key there is of another template: the elliptic one is made beside it.
        let fits = matches!(public, Public::Ecc { .. }) && can_be.restricted() && can_be.decrypt();
        fits.then(|| Primary { key, name: name.value().to_vec() })
    }

    fn transient(&mut self) -> TpmResult<Primary> {
        let attributes = ObjectAttributesBuilder::new()
            .with_fixed_tpm(true)
            .with_fixed_parent(true)
            .with_sensitive_data_origin(true)
            .with_user_with_auth(true)
            .with_no_da(true)
            .with_restricted(true)
            .with_decrypt(true)
            .build()?;
        let curve = PublicEccParametersBuilder::new_restricted_decryption_key(
            SymmetricDefinitionObject::AES_128_CFB,
            EccCurve::NistP256,
        );
        let zeros = || EccParameter::try_from(vec![0; P256_BYTES]);
        let template = PublicBuilder::new()
            .with_public_algorithm(PublicAlgorithm::Ecc)
            .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
            .with_object_attributes(attributes)
            .with_ecc_parameters(curve.build()?)
            .with_ecc_unique_identifier(EccPoint::new(zeros()?, zeros()?))
            .build()?;
        let made = self.context.execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Owner, template, None, None, None, None)
        })?;
        let name = self.context.tr_get_name(made.key_handle.into())?;
        Ok(Primary { key: made.key_handle, name: name.value().to_vec() })
    }

    /// A session whose key is encrypted to the primary key. `takes` is whether its command's first parameter is to be encrypted, too:
    /// one that has none refuses that.
    pub(super) fn session(
        &mut self,
        primary: &Primary,
        kind: SessionType,
        takes: bool,
    ) -> TpmResult<AuthSession> {
        let session = self.context.start_auth_session(
            Some(primary.key),
            None,
            None,
            kind,
            SymmetricDefinition::AES_128_CFB,
            HashingAlgorithm::Sha256,
        )?;
        let session = session.ok_or(Error::WrapperError(tss_esapi::WrapperErrorKind::WrongValueFromTpm))?;
        if kind != SessionType::Trial {
            let (attributes, mask) =
                SessionAttributesBuilder::new().with_encrypt(true).with_decrypt(takes).build();
            self.context.tr_sess_set_attributes(session, attributes, mask)?;
        }
        Ok(session)
    }
}

/// Whether a resource manager, the kernel's or tabrmd, frees what a client has loaded as it goes.
fn is_managed(device: &str) -> bool {
    device.starts_with("device:/dev/tpmrm") || device.starts_with("tabrmd")
}
