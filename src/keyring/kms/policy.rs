//! Key policies: AWS's JSON, as far as it is understood. What isn't understood is refused, never ignored.
//!
//! Nothing enforces a policy yet, so that only one that allows everybody everything is taken: a policy that
//! looked like protection and gave none would be worse than a refusal.

use serde::Deserialize;

use super::error::{KmsError, KmsErrorName};

/// The policy of a key that was given none.
pub(super) const DEFAULT: &str = concat!(
    r#"{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Everybody may use the key","#,
    r#""Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"}]}"#
);

/// The longest policy, in bytes (as AWS).
const MAX_LEN: usize = 32 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Policy {
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

#[derive(Deserialize, PartialEq, Eq)]
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

/// Checks a policy that is to be stored.
///
/// # Errors
/// `MalformedPolicyDocumentException` for what isn't understood, `UnsupportedOperationException` for what is
/// but can't be enforced, `LimitExceededException` over 32 KiB.
pub(super) fn check(text: &str) -> Result<(), KmsError> {
    if text.len() > MAX_LEN {
        let message = format!("The policy has {} bytes; at most {MAX_LEN} are taken.", text.len());
        return Err(KmsError::new(KmsErrorName::LimitExceededException, message));
    }
    let policy: Policy = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
    if !["2012-10-17", "2008-10-17"].contains(&policy.version.as_str()) {
        return Err(malformed(&format!("Version {:?} isn't known", policy.version)));
    }
    let mut everybody = [false; 2];
    let mut restricts = false;
    for statement in policy.statement.as_slice() {
        let for_all = principals(&statement.principal)?;
        let actions = actions(&statement.action)?;
        if statement.resource.as_slice().iter().any(|r| r != "*") || statement.resource.as_slice().is_empty()
        {
            return Err(malformed("a Resource other than \"*\" isn't understood"));
        }
        restricts |= statement.effect == Effect::Deny;
        if statement.effect == Effect::Allow && for_all {
            for (granted, action) in everybody.iter_mut().zip(actions) {
                *granted |= action;
            }
        }
    }
    if restricts || everybody != [true; 2] {
        let message = "This version doesn't enforce key policies, so it takes only one that allows everybody \
                       kms:Encrypt and kms:Decrypt.";
        return Err(KmsError::new(KmsErrorName::UnsupportedOperationException, message));
    }
    Ok(())
}

/// Whether they are everybody.
fn principals(principal: &Principal) -> Result<bool, KmsError> {
    let names = match principal {
        Principal::Everybody(name) if name == "*" => return Ok(true),
        Principal::Everybody(name) => return Err(malformed(&format!("Principal {name:?} isn't understood"))),
        Principal::Named(named) => named.aws.as_slice(),
    };
    let mut everybody = false;
    for name in names {
        let uid = name.strip_prefix("uid:").is_some_and(|uid| uid.parse::<u32>().is_ok());
        if name == "*" {
            everybody = true;
        } else if !uid {
            return Err(malformed(&format!(
                "Principal {name:?} isn't understood; it is \"*\" or \"uid:NUMBER\""
            )));
        }
    }
    if names.is_empty() { Err(malformed("a Principal without names")) } else { Ok(everybody) }
}

/// Whether kms:Encrypt and kms:Decrypt are among them.
fn actions(asked: &OneOrMany<String>) -> Result<[bool; 2], KmsError> {
    let mut found = [false; 2];
    for action in asked.as_slice() {
        match action.as_str() {
            "kms:*" => found = [true; 2],
            "kms:Encrypt" => found[0] = true,
            "kms:Decrypt" => found[1] = true,
            other => {
                return Err(malformed(&format!(
                    "Action {other:?} isn't understood; it is kms:Encrypt, kms:Decrypt or kms:*"
                )));
            }
        }
    }
    if found == [false; 2] { Err(malformed("a statement without an Action")) } else { Ok(found) }
}

fn malformed(what: &str) -> KmsError {
    KmsError::new(KmsErrorName::MalformedPolicyDocumentException, format!("The policy is malformed: {what}."))
}
