//! Key policies, held against a second reading of AWS's rules that shares no code with the first.

use serde_json::Value;

use crate::keyring::fuzzing::policy_allows;

/// A policy that is understood allows what a plain reading of its JSON allows; any other text allows nothing.
/// The first bytes are a user's number.
pub fn policy(data: &[u8]) {
    let (uid, text) = super::take::<2>(data);
    let uid = u32::from(u16::from_le_bytes(uid));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let found = policy_allows(text, uid);
    match found.parsed {
        None => {
            assert!(text.is_empty() || found.stored == [false; 6], "{text:?} isn't understood, but allows")
        }
        Some(parsed) => {
            let document: Value = serde_json::from_str(text).expect("it was parsed once");
            let read = [
                "kms:encrypt",
                "kms:decrypt",
                "kms:generatedatakey",
                "kms:generatedatakeywithoutplaintext",
                "kms:reencryptfrom",
                "kms:reencryptto",
            ]
            .map(|action| allows(&document, uid, action));
            assert_eq!(parsed, read, "uid {uid} under {text}");
            assert_eq!(found.stored, read, "uid {uid} under {text}, as stored");
        }
    }
}

fn allows(document: &Value, uid: u32, action: &str) -> bool {
    let statements = document.as_object().map_or(&[][..], |object| many(&object["Statement"]));
    let effects: Vec<&Value> = statements
        .iter()
        .filter(|s| {
            is_principal(&s["Principal"], uid)
                && names(&s["Action"], |p| glob(p.as_bytes(), action.as_bytes()))
        })
        .map(|s| &s["Effect"])
        .collect();
    effects.iter().any(|e| **e == "Allow") && !effects.iter().any(|e| **e == "Deny")
}

fn many(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

fn names(value: &Value, fits: impl Fn(&str) -> bool) -> bool {
    many(value).iter().filter_map(Value::as_str).any(fits)
}

fn is_principal(principal: &Value, uid: u32) -> bool {
    // The account as a whole: the owner, who is root where this is asked.
    let account = |name: &str| name.ends_with(":root") || name.len() == 12 && name.parse::<u64>().is_ok();
    let fits = |name: &str| {
        name == "*"
            || name.strip_prefix("uid:").is_some_and(|n| n.parse() == Ok(uid))
            || uid == 0 && account(name)
    };
    principal == "*" || names(&principal["AWS"], fits)
}

/// Whether `name`, in lower case, is what a pattern says. One row of the table of all prefixes at a time.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    for byte in pattern {
        let mut next = vec![false; name.len() + 1];
        next[0] = row[0] && *byte == b'*';
        for n in 1..=name.len() {
            next[n] = match byte {
                b'*' => row[n] || next[n - 1],
                b'?' => row[n - 1],
                _ => row[n - 1] && byte.to_ascii_lowercase() == name[n - 1],
            };
        }
        row = next;
    }
    row[name.len()]
}
