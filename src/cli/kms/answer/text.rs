//! `--output text`: a line for each object, its values by the order of their names, parted by tabs; what is nested follows on
//! lines of its own, which begin with its name in capitals.

use serde_json::{Map, Value};

use super::plain::{fields, plain};
use crate::printable;

/// Columns that AWS's page on manual rotation doesn't show: its lines of ALIASES end in the key id, and grep and cut go by
/// that. A query has them.
const NOT_SHOWN: [(&str, &str); 2] = [("ALIASES", "CreationDate"), ("ALIASES", "LastUpdatedDate")];

/// Whether an answer is printed as it came, or what a query made of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    ByTheOperation,
    ByAQuery,
}

/// An answer, or a page of one.
pub(super) fn text(answer: &Value, made: Made) -> String {
    let mut lines = Lines { out: String::new(), made };
    lines.value(None, answer, None);
    lines.out
}

struct Lines {
    out: String,
    made: Made,
}

impl Lines {
    /// `columns` are those of the list that it is in: each of its objects has all of them.
    fn value(&mut self, name: Option<&str>, value: &Value, columns: Option<&[&str]>) {
        match value {
            Value::Object(object) => self.object(name, object, columns),
            Value::Array(items) => self.list(name, items),
            // By itself, and so with its lines: a policy goes into a file as it is.
            Value::String(text) => self.line(None, std::slice::from_ref(text)),
            scalar => self.line(None, &[plain(scalar)]),
        }
    }

    fn object(&mut self, name: Option<&str>, object: &Map<String, Value>, columns: Option<&[&str]>) {
        let own: Vec<&str>;
        let columns = match columns {
            Some(columns) => columns,
            None => {
                own = self.columns(name, std::iter::once(object));
                &own
            }
        };
        if !columns.is_empty() {
            let cell = |field: &&str| object.get(*field).map(|value| cell(field, value)).unwrap_or_default();
            let values: Vec<String> = columns.iter().map(cell).collect();
            self.line(name, &values);
        }
        for field in fields(std::iter::once(object)).1 {
            self.value(Some(&field.to_uppercase()), &object[field], None);
        }
    }

    fn list(&mut self, name: Option<&str>, items: &[Value]) {
        if items.iter().any(Value::is_object) {
            let columns = self.columns(name, items.iter().filter_map(Value::as_object));
            for item in items {
                self.value(name, item, Some(&columns));
            }
            return;
        }
        let (lists, scalars): (Vec<&Value>, Vec<&Value>) = items.iter().partition(|item| item.is_array());
        let scalars: Vec<String> = scalars.into_iter().map(plain).collect();
        match name {
            Some(_) => scalars.into_iter().for_each(|scalar| self.line(name, &[scalar])),
            None if scalars.is_empty() => {}
            None => self.line(None, &scalars),
        }
        for list in lists {
            self.value(name, list, None);
        }
    }

    /// The names of the scalar fields that any of them has and that are shown, sorted.
    fn columns<'a>(
        &self,
        name: Option<&str>,
        objects: impl Iterator<Item = &'a Map<String, Value>>,
    ) -> Vec<&'a str> {
        let mut scalars = fields(objects).0;
        if self.made == Made::ByTheOperation {
            scalars.retain(|field| !NOT_SHOWN.iter().any(|(n, f)| name == Some(*n) && f == field));
        }
        scalars
    }

    fn line(&mut self, name: Option<&str>, values: &[String]) {
        if let Some(name) = name {
            self.out.push_str(&printable::line(name));
            self.out.push('\t');
        }
        self.out.push_str(&values.join("\t"));
        self.out.push('\n');
    }
}

/// A field's value, on one line but for a policy.
fn cell(field: &str, value: &Value) -> String {
    match value {
        Value::String(policy) if field == "Policy" => policy.clone(),
        value => plain(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(answer: &Value) -> String {
        text(answer, Made::ByTheOperation)
    }

    #[test]
    fn text_is_what_the_aws_cli_prints() {
        let alias = |name: &str, key: &str| json!({ "AliasName": name, "AliasArn": format!("arn:{name}"), "TargetKeyId": key, "CreationDate": 1.5 });
        let list = json!({ "Aliases": [alias("alias/a", "k1"), alias("alias/b", "k2")] });
        let expected = "ALIASES\tarn:alias/a\talias/a\tk1\nALIASES\tarn:alias/b\talias/b\tk2\n";
        assert_eq!(of(&list), expected);
        let queried = "ALIASES\tarn:alias/a\talias/a\t1.5\tk1\nALIASES\tarn:alias/b\talias/b\t1.5\tk2\n";
        assert_eq!(text(&list, Made::ByAQuery), queried);
        let key = json!({ "KeyMetadata": { "KeyId": "k", "Enabled": true, "EncryptionAlgorithms": ["S"] } });
        assert_eq!(of(&key), "KEYMETADATA\tTrue\tk\nENCRYPTIONALGORITHMS\tS\n");
    }

    /// As awscli 1.46.3 prints these values.
    #[test]
    fn lists_scalars_and_what_is_nested_are_as_the_aws_cli_prints_them() {
        for (value, expected) in [
            (json!(null), "None\n"),
            (json!(true), "True\n"),
            (json!("a\nb"), "a\nb\n"),
            (json!({}), ""),
            (json!([]), ""),
            (json!(["a", "b", 3]), "a\tb\t3\n"),
            (json!([["a", "b"], ["c", null]]), "a\tb\nc\tNone\n"),
            (json!(["x", ["a", "b"], "y"]), "x\ty\na\tb\n"),
            (json!([{ "b": 1, "a": 2 }, { "c": 3 }, "s"]), "2\t1\t\n\t\t3\ns\n"),
            (
                json!({ "Names": ["x", "y"], "One": { "b": 1, "a": { "c": [1.5] } } }),
                "NAMES\tx\nNAMES\ty\nONE\t1\nC\t1.5\n",
            ),
            (json!({ "NextToken": { "NextToken": "t" } }), "NEXTTOKEN\tt\n"),
            (json!({ "b": "line\nfeed", "a": 1 }), "1\tline\\nfeed\n"),
            (json!({ "PolicyName": "default", "Policy": "{\n}" }), "{\n}\tdefault\n"),
        ] {
            assert_eq!(text(&value, Made::ByAQuery), expected, "{value}");
        }
    }
}
