//! The text of a policy, element by element. An element that isn't understood is refused, in words that name it and its
//! statement: what is left out of a policy changes whom it allows.

use serde_json::{Map, Value};

use super::actions::{ACTIONS, matches};
use super::error::PolicyError;
use super::once_named::OnceNamed;
use super::uses::Uses;
use crate::events::{Principal, arn};
use crate::ids::KeyId;

/// The user who is meant by AWS's principal of a whole account, `arn:aws:iam::ACCOUNT:root`: the one as whom the vault is
/// open, its owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keyring) struct Owner(pub(in crate::keyring) u32);

/// What one statement says of the uses that there are.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Rule {
    pub(super) effect: Effect,
    pub(super) who: Who,
    pub(super) uses: Uses,
}

/// What becomes of those whom a statement is about.
#[derive(PartialEq, Eq, Clone, Copy, Debug)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// Whom a statement is about.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Who {
    Everybody,
    Users(Vec<u32>),
}

/// Elements of AWS's policies that rekeyfs doesn't have, with what to write instead.
const NOT_HERE: [(&str, &str); 4] = [
    ("Condition", "there are no conditions here: name the users in Principal, and leave it out"),
    ("NotPrincipal", "name the users in Principal, and those to be kept out in a statement of Effect Deny"),
    ("NotAction", "name the actions in Action"),
    ("NotResource", "write \"Resource\": \"*\""),
];
/// The same for the sorts of principals.
const NO_PRINCIPAL_HERE: [(&str, &str); 3] = [
    ("Service", "no service uses keys here"),
    ("Federated", "there are no identity providers here"),
    ("CanonicalUser", "there are no accounts of S3 here"),
];

const PRINCIPALS: &str = "\"*\", {\"AWS\": \"uid:NUMBER\"} or the account's root, which is the vault's owner";

/// The statements of a text.
///
/// # Errors
/// [`PolicyError::Malformed`].
pub(super) fn rules(text: &str, key: KeyId, owner: Owner) -> Result<Vec<Rule>, PolicyError> {
    let read = serde_json::from_str::<OnceNamed>(text);
    let OnceNamed(document) =
        read.map_err(|error| malformed(format_args!("it isn't JSON as a policy is: {error}")))?;
    let Value::Object(document) = document else {
        return Err(malformed("it isn't an object with Version and Statement"));
    };
    for (name, value) in &document {
        match name.as_str() {
            "Version" | "Statement" => {}
            "Id" if value.is_string() || value.is_null() => {}
            "Id" => return Err(malformed("Id isn't a text")),
            other => return Err(malformed(format_args!("the element {other:?} isn't known"))),
        }
    }
    match document.get("Version").map(Value::as_str) {
        Some(Some("2012-10-17" | "2008-10-17")) => {}
        Some(_) => {
            let version = &document["Version"];
            return Err(malformed(format_args!("Version {version} isn't known; it is \"2012-10-17\"")));
        }
        None => return Err(malformed("it has no Version; write \"Version\": \"2012-10-17\"")),
    }
    let statements = document.get("Statement").ok_or_else(|| malformed("it has no Statement"))?;
    let numbered = one_or_many(statements).iter().enumerate();
    numbered
        .map(|(index, value)| {
            let name = statement_name(index + 1, value);
            let at = |what: String| malformed(format_args!("{name}: {what}"));
            rule(value, key, owner).map_err(at)
        })
        .collect()
}

/// `statement 2 ("Allow use of the key")`.
fn statement_name(number: usize, value: &Value) -> String {
    match value.get("Sid").and_then(Value::as_str) {
        Some(sid) if !sid.is_empty() => format!("statement {number} ({sid:?})"),
        _ => format!("statement {number}"),
    }
}

fn rule(statement: &Value, key: KeyId, owner: Owner) -> Result<Rule, String> {
    let Value::Object(statement) = statement else {
        return Err("it isn't an object with Effect, Principal, Action and Resource".to_owned());
    };
    for (name, value) in statement {
        if let Some((_, instead)) = NOT_HERE.iter().find(|(not_here, _)| not_here == name) {
            return Err(format!("{name} isn't understood; {instead}"));
        }
        match name.as_str() {
            "Effect" | "Principal" | "Action" | "Resource" => {}
            "Sid" if value.is_string() || value.is_null() => {}
            "Sid" => return Err("Sid isn't a text".to_owned()),
            other => return Err(format!("the element {other:?} isn't known")),
        }
    }
    let effect = match element(statement, "Effect")? {
        Value::String(effect) if effect == "Allow" => Effect::Allow,
        Value::String(effect) if effect == "Deny" => Effect::Deny,
        other => return Err(format!("Effect {other} isn't known; it is \"Allow\" or \"Deny\"")),
    };
    let who = principals(element(statement, "Principal")?, effect, owner)?;
    let uses = actions(&texts(element(statement, "Action")?, "Action")?)?;
    let own = arn(key);
    for resource in texts(element(statement, "Resource")?, "Resource")? {
        if resource != "*" && resource != own {
            return Err(format!("Resource {resource:?} isn't understood; it is \"*\" or the key's own ARN"));
        }
    }
    Ok(Rule { effect, who, uses })
}

fn element<'a>(statement: &'a Map<String, Value>, name: &str) -> Result<&'a Value, String> {
    statement.get(name).ok_or_else(|| format!("it has no {name}"))
}

/// One text, or several; never none.
fn texts<'a>(value: &'a Value, name: &str) -> Result<Vec<&'a str>, String> {
    let text = |value: &'a Value| value.as_str().ok_or_else(|| format!("{name} {value} isn't a text"));
    let texts: Vec<&str> = one_or_many(value).iter().map(text).collect::<Result<_, _>>()?;
    if texts.is_empty() { Err(format!("{name} is an empty list")) } else { Ok(texts) }
}

fn one_or_many(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

fn principals(principal: &Value, effect: Effect, owner: Owner) -> Result<Who, String> {
    let named = match principal {
        Value::String(name) if name == "*" => return Ok(Who::Everybody),
        Value::Object(named) => named,
        other => return Err(format!("Principal {other} isn't understood; it is {PRINCIPALS}")),
    };
    for sort in named.keys() {
        if let Some((_, why)) = NO_PRINCIPAL_HERE.iter().find(|(not_here, _)| not_here == sort) {
            return Err(format!("a Principal of the sort {sort} isn't understood; {why}"));
        }
        if sort != "AWS" {
            return Err(format!("a Principal of the sort {sort:?} isn't known"));
        }
    }
    let names = named.get("AWS").ok_or_else(|| format!("its Principal names nobody; it is {PRINCIPALS}"))?;
    let mut users = Vec::new();
    let mut everybody = false;
    for name in texts(names, "Principal")? {
        if name == "*" {
            everybody = true;
        } else if is_account(name) {
            users.push(owner_meant(name, effect, owner)?);
        } else {
            users.push(user(name)?);
        }
    }
    Ok(if everybody { Who::Everybody } else { Who::Users(users) })
}

/// AWS's two names for a whole account: its root's ARN, and its number.
fn is_account(name: &str) -> bool {
    let is_number = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    let of_root = || {
        let rest = name.strip_prefix("arn:")?.strip_suffix(":root")?;
        let (partition, account) = rest.split_once(":iam::")?;
        let known = partition == "aws" || partition == "rekeyfs" || partition.starts_with("aws-");
        Some(known && is_number(account))
    };
    is_number(name) || of_root() == Some(true)
}

/// What allows an account allows its owner, who gives it to others; what denies one denies all its users, with AWS, which
/// is not what the owner alone would be.
fn owner_meant(name: &str, effect: Effect, owner: Owner) -> Result<u32, String> {
    match effect {
        Effect::Allow => Ok(owner.0),
        Effect::Deny => Err(format!(
            "Principal {name:?} in a statement of Effect Deny is every user of the account; write \"*\""
        )),
    }
}

/// The number in `uid:NUMBER`.
fn user(name: &str) -> Result<u32, String> {
    if let Ok(Principal::User(uid)) = name.parse() {
        return Ok(uid);
    }
    let of_iam = name.contains(":iam::") || name.contains(":sts::");
    let why = if of_iam { "; users of IAM aren't known here" } else { "" };
    Err(format!("Principal {name:?} isn't understood{why}; it is {PRINCIPALS}"))
}

/// The uses of a key that are among them.
fn actions(asked: &[&str]) -> Result<Uses, String> {
    let is_known = |pattern: &&&str| ACTIONS.iter().any(|action| matches(pattern, action));
    if let Some(unknown) = asked.iter().find(|pattern| !is_known(pattern)) {
        return Err(format!("Action {unknown:?} is no action of KMS, such as kms:Decrypt or kms:*"));
    }
    Ok(Uses::named_by(asked))
}

fn malformed(what: impl std::fmt::Display) -> PolicyError {
    PolicyError::Malformed(what.to_string())
}
