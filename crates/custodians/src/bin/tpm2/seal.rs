//! Sealing and unsealing.
//!
//! What is sealed has 64 bytes: the key, and the SHA-256 of what it is for. It is given out under a policy alone, never for a password:
//! the registers are what they were (if there are any), the PIN is right (if there is one), and the command is TPM2_Unseal. With a
//! PIN, wrong ones count against the TPM's dictionary lockout; without, a lockout doesn't keep a machine from booting.

use rekeyfs_custodians::{Kind, Refusal, Request, Secret, context_line};
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::{CommandCode, PropertyTag, SessionType};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Auth, Digest, KeyedHashScheme, PcrSelectionList, PcrSlot, Private, Public, PublicBuilder,
    PublicKeyedHashParameters, SensitiveData,
};
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::{Error, Result as TpmResult};
use zeroize::Zeroizing;

use super::parts::Parts;
use super::said::refusal;
use super::sha256::sha256;
use super::tpm::{Primary, Tpm};

const KEY: usize = 32;

/// What a key is given out under.
pub(super) struct Terms {
    /// Registers of the bank of SHA-256.
    pub(super) pcrs: Vec<u8>,
    /// The PIN, as a TPM takes it.
    pub(super) pin: Option<Zeroizing<Vec<u8>>>,
}

impl Terms {
    fn auth(&self) -> TpmResult<Auth> {
        self.pin.as_ref().map_or(Ok(Auth::default()), |pin| Auth::try_from(pin.as_slice()))
    }

    fn selection(&self) -> TpmResult<PcrSelectionList> {
        let slots: TpmResult<Vec<PcrSlot>> =
            self.pcrs.iter().map(|number| PcrSlot::try_from(1u32 << number)).collect();
        PcrSelectionList::builder().with_selection(HashingAlgorithm::Sha256, &slots?).build()
    }

    /// Has the session say that they are met. A policy of registers that the TPM doesn't have would say nothing.
    fn met(&self, tpm: &mut Tpm, session: AuthSession) -> TpmResult<PolicySession> {
        let policy = PolicySession::try_from(session)?;
        if !self.pcrs.is_empty() {
            tpm.context.policy_pcr(policy, Digest::default(), self.selection()?)?;
        }
        if self.pin.is_some() {
            tpm.context.policy_auth_value(policy)?;
        }
        tpm.context.policy_command_code(policy, CommandCode::Unseal)?;
        Ok(policy)
    }
}

/// Seals a key.
pub(super) fn seal(
    tpm: &mut Tpm,
    terms: &Terms,
    request: &Request,
    secret: &Secret,
) -> Result<Parts, Refusal> {
    let failed = |error: Error| refusal("sealing", &error);
    if !terms.pcrs.is_empty() {
        let (_, _, values) = tpm.context.pcr_read(terms.selection().map_err(failed)?).map_err(failed)?;
        if values.len() != terms.pcrs.len() {
            let cause = "the TPM has no registers of SHA-256 with these numbers (`tpm2_getcap pcrs`)";
            return Err(Refusal::new(Kind::NotFound, cause));
        }
    }
    let primary = tpm.primary(None)?;
    let mut data = Zeroizing::new(Vec::with_capacity(2 * KEY));
    data.extend_from_slice(secret.expose());
    data.extend_from_slice(&purpose(request));
    let (public, private) = create(tpm, terms, &primary, &data).map_err(failed)?;
    Ok(Parts { primary: primary.name, public: public.marshall().map_err(failed)?, private: private.to_vec() })
}

fn create(tpm: &mut Tpm, terms: &Terms, primary: &Primary, data: &[u8]) -> TpmResult<(Public, Private)> {
    let trial = tpm.session(primary, SessionType::Trial, false)?;
    let policy = terms.met(tpm, trial)?;
    let policy = tpm.context.policy_get_digest(policy)?;
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_admin_with_policy(true)
        .with_no_da(terms.pin.is_none())
        .build()?;
    let template = PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(policy)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()?;
    let (auth, data) = (terms.auth()?, SensitiveData::try_from(data)?);
    let session = tpm.session(primary, SessionType::Hmac, true)?;
    let made = tpm.context.execute_with_session(Some(session), |context| {
        context.create(primary.key, template, Some(auth), Some(data), None, None)
    })?;
    Ok((made.out_public, made.out_private))
}

/// Unseals what was sealed.
pub(super) fn unseal(
    tpm: &mut Tpm,
    terms: &Terms,
    request: &Request,
    parts: &Parts,
) -> Result<Secret, Refusal> {
    let damaged = || Refusal::new(Kind::Damaged, "what was sealed is no key of this vault and slot");
    let public = Public::unmarshall(&parts.public).map_err(|_| damaged())?;
    let private = Private::try_from(parts.private.as_slice()).map_err(|_| damaged())?;
    let primary = tpm.primary(Some(&parts.primary))?;
    let data = release(tpm, terms, &primary, public, private)?;
    match data.split_at_checked(KEY) {
        Some((key, purpose_of_it)) if purpose_of_it == purpose(request) => {
            Secret::from_bytes(key).ok_or_else(damaged)
        }
        _ => Err(damaged()),
    }
}

fn release(
    tpm: &mut Tpm,
    terms: &Terms,
    primary: &Primary,
    public: Public,
    private: Private,
) -> Result<SensitiveData, Refusal> {
    let loading = |error: Error| refusal("loading what was sealed", &error);
    let session = tpm.session(primary, SessionType::Hmac, true).map_err(loading)?;
    let loaded =
        tpm.context.execute_with_session(Some(session), |context| context.load(primary.key, private, public));
    let object = loaded.map_err(loading)?;
    let unsealing = |error: Error| refusal("unsealing", &error);
    let session = tpm.session(primary, SessionType::Policy, false).map_err(unsealing)?;
    terms.met(tpm, session).map_err(unsealing)?;
    let auth = terms.auth().map_err(unsealing)?;
    tpm.context.tr_set_auth(object.into(), auth).map_err(unsealing)?;
    let unsealed = tpm.context.execute_with_session(Some(session), |context| context.unseal(object.into()));
    unsealed.map_err(|error| {
        let refused = unsealing(error);
        if refused.kind() == Kind::Pin { refused.tries_left(tries(tpm)) } else { refused }
    })
}

/// How many more wrong PINs the TPM takes.
fn tries(tpm: &mut Tpm) -> Option<u32> {
    let mut property = |tag| tpm.context.get_tpm_property(tag).ok().flatten();
    let (most, wrong) = (property(PropertyTag::MaxAuthFail)?, property(PropertyTag::LockoutCounter)?);
    Some(most.saturating_sub(wrong))
}

fn purpose(request: &Request) -> [u8; KEY] {
    sha256(context_line(request).as_bytes())
}
