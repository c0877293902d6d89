//! A key policy in sentences, none of which is left out. A stored policy may be one that nobody understands: of an older or newer
//! program, or of a merged key backup. The daemon allows nothing by it, so it isn't told as if it meant something: what
//! judges that is the daemon's own parser.

use rekeyfs::ids::KeyId;
use rekeyfs::kms::policy_is_understood;
use serde_json::Value;

/// The sentences of a key's policy.
pub(super) fn told(policy: &str, key: KeyId) -> Vec<String> {
    if !policy_is_understood(policy, key) {
        return vec!["rekeyfs doesn't understand this policy: nobody may use the key.".to_owned()];
    }
    of(policy).unwrap_or_else(|| vec!["This policy can't be put in sentences.".to_owned()])
}

/// A sentence for each statement, and one for those who are in none. Nothing, if it isn't a policy as it is known here.
fn of(policy: &str) -> Option<Vec<String>> {
    let document: Value = serde_json::from_str(policy).ok()?;
    let mut sentences = Vec::new();
    let mut everybody = false;
    for statement in one_or_many(document.get("Statement")?) {
        let allows = match statement.get("Effect")?.as_str()? {
            "Allow" => true,
            "Deny" => false,
            _ => return None,
        };
        let who = principals(statement.get("Principal")?)?;
        let what = actions(&texts(statement.get("Action")?)?);
        everybody |= allows && who.contains(EVERYBODY);
        let named = match statement.get("Sid").and_then(Value::as_str) {
            Some(sid) if !sid.is_empty() => format!(" (“{sid}”)"),
            _ => String::new(),
        };
        let verb = if allows { "may" } else { "may not" };
        sentences.push(format!("{who} {verb} {what}{named}."));
    }
    if !everybody {
        sentences.push("Nobody else may use the key.".to_owned());
    }
    Some(sentences)
}

const EVERYBODY: &str = "Everybody";

fn one_or_many(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    one_or_many(value).iter().map(Value::as_str).collect()
}

fn principals(principal: &Value) -> Option<String> {
    let names = match principal {
        Value::String(name) => vec![name.as_str()],
        Value::Object(sorts) if sorts.len() == 1 => texts(sorts.get("AWS")?)?,
        _ => return None,
    };
    Some(joined(names.into_iter().map(|name| match name.strip_prefix("uid:") {
        _ if name == "*" => EVERYBODY.to_owned(),
        Some(uid) => format!("User {uid}"),
        // The account as a whole, by its ARN or its number.
        None => format!("The vault's owner ({name})"),
    })))
}

/// What the actions are for. One that is about no use of a key stands as it is.
fn actions(names: &[&str]) -> String {
    let meaning = |name: &&str| match name.to_ascii_lowercase().as_str() {
        "*" | "kms:*" => "use the key for everything".to_owned(),
        "kms:encrypt" => "create and write files, and encrypt data".to_owned(),
        "kms:decrypt" => "open files, and decrypt data".to_owned(),
        _ => format!("use {name}"),
    };
    joined(names.iter().map(meaning))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    match parts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join("; ")),
        _ => parts.concat(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_is_told_in_sentences() {
        let policy = json!({ "Version": "2012-10-17", "Statement": [
            { "Sid": "Both", "Effect": "Allow", "Principal": { "AWS": ["uid:7", "arn:aws:iam::000000000000:root"] },
              "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": "*" },
            { "Effect": "Deny", "Principal": "*", "Action": "kms:GenerateDataKey*", "Resource": "*" },
        ] });
        assert_eq!(
            of(&policy.to_string()).unwrap(),
            [
                "User 7 and The vault's owner (arn:aws:iam::000000000000:root) may create and write files, and encrypt data and \
                 open files, and decrypt data (“Both”).",
                "Everybody may not use kms:GenerateDataKey*.",
                "Nobody else may use the key.",
            ]
        );
        let everybody = r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*"}}"#;
        assert_eq!(of(everybody).unwrap(), ["Everybody may use the key for everything."]);
    }

    #[test]
    fn a_stored_policy_that_is_not_understood_is_told_to_allow_nobody() {
        let key = KeyId::from_bytes([7; 16]);
        let nobody = ["rekeyfs doesn't understand this policy: nobody may use the key."];
        let statement = |more: &str, principal: &str| {
            format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{principal},"Action":"kms:*","Resource":"*"{more}}}]}}"#
            )
        };
        let everybody = r#"{"AWS":"*"}"#;
        assert_eq!(told(&statement("", everybody), key), ["Everybody may use the key for everything."]);
        let user = r#"{"AWS":"arn:aws:iam::123456789012:user/x"}"#;
        for text in [
            statement(r#","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}"#, everybody),
            statement(r#","Effect":"Deny""#, everybody).replace("Deny", "Allow"),
            statement(r#","NotAction":"kms:Decrypt""#, everybody),
            statement("", user),
            statement("", everybody).replace(r#""Resource":"*""#, r#""Resource":"x""#),
            String::new(),
        ] {
            assert_eq!(told(&text, key), nobody, "{text}");
        }
    }

    #[test]
    fn what_is_no_policy_is_not_told_in_part() {
        for text in [
            "",
            "[]",
            r#"{"Statement":[{"Effect":"Maybe","Principal":"*","Action":"*"}]}"#,
            r#"{"Statement":[{"Effect":"Allow","Principal":{"Service":"x"},"Action":"*"}]}"#,
            r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":[1]}]}"#,
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
