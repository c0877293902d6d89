//! Names at the edge. AWS's clients want ARNs of the partition `aws` with a region and an account; a vault has neither. So
//! an ARN of the endpoint's region and account stands for the vault's own, in the parameters that name a key, and in the
//! fields of answers and in messages.
//!
//! Nothing else is touched. Descriptions, tags and policies pass as they were written, so that a client reads what it
//! stored; in a policy, a Resource is `*` or the ARN that `rekeyfs kms` shows.

use rekeyfs::console::{ARN_PREFIX as OWN, AccountId, Region};
use serde_json::Value;

/// Parameters that name a key.
const KEYS: [&str; 4] = ["KeyId", "TargetKeyId", "SourceKeyId", "DestinationKeyId"];
/// Fields of answers that may be an ARN.
const ARNS: [&str; 5] = ["Arn", "KeyArn", "AliasArn", "KeyId", "SourceKeyId"];
const ACCOUNT: &str = "AWSAccountId";

/// The names that clients see.
pub(crate) struct Names {
    prefix: String,
    account: String,
}

impl Names {
    pub(crate) fn of(region: &Region, account: &AccountId) -> Self {
        Self { prefix: format!("arn:aws:kms:{region}:{account}:"), account: account.to_string() }
    }

    /// Makes a request's ARNs the vault's. Those of other regions and accounts stay, and name no key.
    pub(crate) fn inward(&self, parameters: &mut Value) {
        for name in KEYS {
            if let Some(Value::String(text)) = parameters.get_mut(name)
                && let Some(rest) = text.strip_prefix(&self.prefix)
            {
                *text = format!("{OWN}{rest}");
            }
        }
    }

    /// Makes an answer's ARNs those that clients see.
    pub(crate) fn outward(&self, answer: &mut Value) {
        match answer {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if name == ACCOUNT => text.clone_from(&self.account),
                        Value::String(text) if ARNS.contains(&name.as_str()) => {
                            if let Some(rest) = text.strip_prefix(OWN) {
                                *text = format!("{}{rest}", self.prefix);
                            }
                        }
                        value => self.outward(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.outward(item)),
            _ => {}
        }
    }

    /// The same in a message.
    pub(crate) fn in_message(&self, message: &str) -> String {
        message.replace(OWN, &self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    fn names() -> Names {
        Names::of(&"eu-west-1".parse().unwrap(), &"123456789012".parse().unwrap())
    }

    #[test]
    fn an_answer_has_the_endpoints_arns_and_nothing_else_changes() {
        let own = format!("{OWN}key/{ID}");
        let mut answer = json!({
            "KeyMetadata": {"AWSAccountId": "000000000000", "Arn": own, "KeyId": ID, "Description": own},
            "Keys": [{"KeyArn": own}], "Aliases": [{"AliasArn": format!("{OWN}alias/a"), "AliasName": "alias/a"}],
            "Policy": format!("{{\"Resource\":\"{own}\"}}"), "Tags": [{"TagKey": own, "TagValue": own}],
        });
        names().outward(&mut answer);
        let theirs = format!("arn:aws:kms:eu-west-1:123456789012:key/{ID}");
        assert_eq!(
            answer,
            json!({
                "KeyMetadata": {"AWSAccountId": "123456789012", "Arn": theirs, "KeyId": ID, "Description": own},
                "Keys": [{"KeyArn": theirs}],
                "Aliases": [{"AliasArn": "arn:aws:kms:eu-west-1:123456789012:alias/a", "AliasName": "alias/a"}],
                "Policy": format!("{{\"Resource\":\"{own}\"}}"), "Tags": [{"TagKey": own, "TagValue": own}],
            })
        );
        assert_eq!(names().in_message(&format!("{own} is disabled.")), format!("{theirs} is disabled."));
    }

    #[test]
    fn only_arns_of_this_region_and_account_name_keys() {
        for (asked, meant) in [
            (format!("arn:aws:kms:eu-west-1:123456789012:key/{ID}"), format!("{OWN}key/{ID}")),
            ("arn:aws:kms:eu-west-1:123456789012:alias/a".to_owned(), format!("{OWN}alias/a")),
            (
                format!("arn:aws:kms:us-east-1:123456789012:key/{ID}"),
                format!("arn:aws:kms:us-east-1:123456789012:key/{ID}"),
            ),
            (
                format!("arn:aws:kms:eu-west-1:000000000000:key/{ID}"),
                format!("arn:aws:kms:eu-west-1:000000000000:key/{ID}"),
            ),
            (ID.to_owned(), ID.to_owned()),
            ("alias/a".to_owned(), "alias/a".to_owned()),
        ] {
            for name in KEYS {
                let mut parameters = json!({ name: asked, "Description": asked });
                names().inward(&mut parameters);
                assert_eq!(parameters, json!({ name: meant, "Description": asked }));
            }
        }
    }

    proptest! {
        /// What comes out names the same key when it comes in again.
        #[test]
        fn names_survive_the_way_out_and_in(rest in "[a-z/0-9-]{0,40}", region in "[a-z0-9-]{1,32}", account in "[0-9]{12}") {
            let names = Names::of(&region.parse().unwrap(), &account.parse().unwrap());
            let own = format!("{OWN}{rest}");
            let mut value = json!({"KeyId": own});
            names.outward(&mut value);
            prop_assert_ne!(&value["KeyId"], &json!(own));
            names.inward(&mut value);
            prop_assert_eq!(&value["KeyId"], &json!(own));
        }
    }
}
