//! Key policies: AWS's JSON, as far as it is understood. What isn't understood is refused, never ignored; what is
//! kept is [`Policy`], which answers one question: may this user use the key for that.
//!
//! A policy governs the use of a key for files. Administration is the control socket's, so that no policy takes it
//! from the vault's owner.

use serde::Deserialize;
use serde_json::Value;

use crate::events::arn;
use crate::ids::KeyId;

/// The policy of a key that was given none.
pub(crate) const DEFAULT: &str = concat!(
    r#"{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Everybody may use the key","#,
    r#""Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"}]}"#
);

/// The longest policy, in bytes (as AWS).
const MAX_LEN: usize = 32 << 10;

/// The actions of KMS: a policy that names none of these has a slip in it. Those but the first two change nothing
/// here; policies written for AWS have them.
const ACTIONS: [&str; 50] = [
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:CancelKeyDeletion",
    "kms:ConnectCustomKeyStore",
    "kms:CreateAlias",
    "kms:CreateCustomKeyStore",
    "kms:CreateGrant",
    "kms:CreateKey",
    "kms:DeleteAlias",
    "kms:DeleteCustomKeyStore",
    "kms:DeleteImportedKeyMaterial",
    "kms:DeriveSharedSecret",
    "kms:DescribeCustomKeyStores",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:DisconnectCustomKeyStore",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair",
    "kms:GenerateDataKeyPairWithoutPlaintext",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateMac",
    "kms:GenerateRandom",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:GetParametersForImport",
    "kms:GetPublicKey",
    "kms:ImportKeyMaterial",
    "kms:ListAliases",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListKeys",
    "kms:ListResourceTags",
    "kms:ListRetirableGrants",
    "kms:PutKeyPolicy",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:RetireGrant",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:Sign",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
    "kms:Verify",
];

/// Why a policy isn't taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is too long.
    #[error("The policy has {0} bytes; at most {MAX_LEN} are taken.")]
    TooLong(usize),
    /// Something of it isn't understood.
    #[error("The policy is malformed: {0}.")]
    Malformed(String),
    /// By it, the vault's owner couldn't use the key.
    #[error(
        "The new key policy would lock out the vault's owner: allow \"uid:{0}\" kms:Encrypt and kms:Decrypt, or give \
         --bypass-policy-lockout-safety-check."
    )]
    LocksOut(u32),
}

/// Whether a policy is taken by which the vault's owner couldn't use the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockOut {
    /// It isn't: this user must be able to use the key.
    RefusedFor(u32),
    /// It is: that is meant.
    Meant,
}

/// What a key is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyUse {
    /// kms:Encrypt: to create a file, to truncate it, to open it for writing.
    Encrypt,
    /// kms:Decrypt: to open a file.
    Decrypt,
}

/// A policy that is understood.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::keyring) struct Policy(Vec<Rule>);

#[derive(PartialEq, Eq, Debug)]
struct Rule {
    effect: Effect,
    who: Who,
    encrypt: bool,
    decrypt: bool,
}

#[derive(PartialEq, Eq, Debug)]
enum Who {
    Everybody,
    Users(Vec<u32>),
}

impl Rule {
    fn is_about(&self, uid: u32, used_for: KeyUse) -> bool {
        let what = match used_for {
            KeyUse::Encrypt => self.encrypt,
            KeyUse::Decrypt => self.decrypt,
        };
        what && match &self.who {
            Who::Everybody => true,
            Who::Users(users) => users.contains(&uid),
        }
    }
}

impl Policy {
    /// The policy that this text is, for this key.
    ///
    /// # Errors
    /// [`PolicyError::Malformed`] for what isn't understood, [`PolicyError::TooLong`] over 32 KiB.
    pub(in crate::keyring) fn parse(text: &str, key: KeyId) -> Result<Self, PolicyError> {
        if text.len() > MAX_LEN {
            return Err(PolicyError::TooLong(text.len()));
        }
        let shape: Value = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
        if !names_its_fields(&shape) {
            return Err(malformed("it, a Statement or a Principal is a list of values without names"));
        }
        let document: Document = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
        if !["2012-10-17", "2008-10-17"].contains(&document.version.as_str()) {
            return Err(malformed(&format!("Version {:?} isn't known", document.version)));
        }
        document.statement.as_slice().iter().map(|s| rule(s, key)).collect::<Result<_, _>>().map(Self)
    }

    /// The policy of a key as it is stored: an empty text is the default. Of one that this program doesn't
    /// understand nothing is ignored: it allows nothing. `None`: everybody may do everything.
    pub(in crate::keyring) fn stored(text: &str, key: KeyId) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let policy = Self::parse(text, key).unwrap_or(Self(Vec::new()));
        let open = policy.0.iter().all(|rule| rule.effect == Effect::Allow)
            && [|rule: &Rule| rule.encrypt, |rule: &Rule| rule.decrypt]
                .iter()
                .all(|used| policy.0.iter().any(|rule| rule.who == Who::Everybody && used(rule)));
        (!open).then_some(policy)
    }

    /// Whether a user may use the key so: if a statement allows it and none denies it. Allocates nothing.
    pub(in crate::keyring) fn allows(&self, uid: u32, used_for: KeyUse) -> bool {
        let mut allowed = false;
        for rule in self.0.iter().filter(|rule| rule.is_about(uid, used_for)) {
            match rule.effect {
                Effect::Deny => return false,
                Effect::Allow => allowed = true,
            }
        }
        allowed
    }
}

/// Checks a policy that is to be stored for a key.
///
/// # Errors
/// [`PolicyError`].
pub(in crate::keyring) fn check(text: &str, key: KeyId, lock_out: LockOut) -> Result<(), PolicyError> {
    let policy = Policy::parse(text, key)?;
    match lock_out {
        LockOut::RefusedFor(user)
            if ![KeyUse::Encrypt, KeyUse::Decrypt].iter().all(|used_for| policy.allows(user, *used_for)) =>
        {
            Err(PolicyError::LocksOut(user))
        }
        LockOut::RefusedFor(_) | LockOut::Meant => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    version: String,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: OneOrMany<Statement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    effect: Effect,
    principal: Principal,
    action: OneOrMany<String>,
    resource: OneOrMany<String>,
}

#[derive(Deserialize, PartialEq, Eq, Clone, Copy, Debug)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Principal {
    Everybody(String),
    Named(Named),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(rename = "AWS")]
    aws: OneOrMany<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// Whether what must be an object is one. serde also takes a struct as a list of its fields' values, whose order AWS
/// doesn't know.
fn names_its_fields(document: &Value) -> bool {
    let statements = match document.get("Statement") {
        Some(Value::Array(many)) => many.as_slice(),
        one => one.map_or(&[][..], std::slice::from_ref),
    };
    let names =
        |statement: &Value| statement.is_object() && !statement.get("Principal").is_some_and(Value::is_array);
    document.is_object() && statements.iter().all(names)
}

fn rule(statement: &Statement, key: KeyId) -> Result<Rule, PolicyError> {
    let who = principals(&statement.principal)?;
    let [encrypt, decrypt] = actions(&statement.action)?;
    let resources = statement.resource.as_slice();
    if resources.is_empty() {
        return Err(malformed("a statement without a Resource"));
    }
    let own = arn(key);
    if let Some(other) = resources.iter().find(|resource| *resource != "*" && **resource != own) {
        return Err(malformed(&format!(
            "Resource {other:?} isn't understood; it is \"*\" or the key's own ARN"
        )));
    }
    Ok(Rule { effect: statement.effect, who, encrypt, decrypt })
}

fn principals(principal: &Principal) -> Result<Who, PolicyError> {
    let names = match principal {
        Principal::Everybody(name) if name == "*" => return Ok(Who::Everybody),
        Principal::Everybody(name) => return Err(malformed(&format!("Principal {name:?} isn't understood"))),
        Principal::Named(named) => named.aws.as_slice(),
    };
    if names.is_empty() {
        return Err(malformed("a Principal without names"));
    }
    let mut users = Vec::with_capacity(names.len());
    let mut everybody = false;
    for name in names {
        if name == "*" {
            everybody = true;
        } else {
            users.push(user(name)?);
        }
    }
    Ok(if everybody { Who::Everybody } else { Who::Users(users) })
}

/// The number in `uid:NUMBER`: digits alone, and not the one that stands for none.
fn user(name: &str) -> Result<u32, PolicyError> {
    let digits = name.strip_prefix("uid:").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).filter(|uid| *uid != u32::MAX).ok_or_else(|| {
        malformed(&format!("Principal {name:?} isn't understood; it is \"*\" or \"uid:NUMBER\""))
    })
}

/// Whether kms:Encrypt and kms:Decrypt are among them.
fn actions(asked: &OneOrMany<String>) -> Result<[bool; 2], PolicyError> {
    let asked = asked.as_slice();
    if asked.is_empty() {
        return Err(malformed("a statement without an Action"));
    }
    let is_known = |pattern: &&String| ACTIONS.iter().any(|action| matches(pattern, action));
    if let Some(unknown) = asked.iter().find(|pattern| !is_known(pattern)) {
        return Err(malformed(&format!(
            "Action {unknown:?} is no action of KMS, such as kms:Decrypt or kms:*"
        )));
    }
    Ok(["kms:Encrypt", "kms:Decrypt"].map(|action| asked.iter().any(|pattern| matches(pattern, action))))
}

/// Whether a name is what a pattern says: `*` stands for any characters, `?` for one, case doesn't count (as AWS).
/// Takes time in the product of both lengths at most.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&name[n]) => (p, n) = (p + 1, n + 1),
            _ => {
                // The last star takes one character more.
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

fn malformed(what: &str) -> PolicyError {
    PolicyError::Malformed(what.to_owned())
}

#[cfg(test)]
mod tests;
