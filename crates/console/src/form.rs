//! What a form or a query says: names and values, as `application/x-www-form-urlencoded` has them.

/// The type of a form's body.
pub(crate) const URL_ENCODED: &str = "application/x-www-form-urlencoded";

/// Names and values, in their order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// What isn't UTF-8 becomes U+FFFD. Browsers send a line's end as CR LF; it is LF here.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(text);
        Self(pairs.map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n"))).collect())
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of this name as it was typed; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The value without white space around it, if there is more to it.
    pub(crate) fn word(&self, name: &str) -> Option<&str> {
        self.get(name).map(str::trim).filter(|word| !word.is_empty())
    }
}

/// A path with a query.
pub(crate) fn with_query<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let form = Form::parse(b"policy=%7B%0D%0A+%22a%22%3A1%7D&a=+b%20&a=c&d&=e&csrf=%C3%A9&f=%ff%0d");
        assert_eq!(form.text("policy"), "{\n \"a\":1}");
        assert_eq!((form.get("a"), form.word("a")), (Some(" b "), Some("b")));
        assert_eq!((form.get("d"), form.word("d"), form.get("none")), (Some(""), None, None));
        assert_eq!((form.text("csrf"), form.text("f"), form.text("none")), ("é", "\u{fffd}\r", ""));
    }

    #[test]
    fn a_query_holds_what_would_end_it() {
        assert_eq!(with_query("p", []), "p");
        assert_eq!(with_query("p", [("a", "x&y=z#\u{202e}\"")]), "p?a=x%26y%3Dz%23%E2%80%AE%22");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much_for_it(bytes: Vec<u8>) {
            let _ = Form::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read(name in "[^\r]+", value in "[^\r]*") {
            let query = with_query("", [(name.as_str(), value.as_str())]);
            let read = Form::parse(&query.as_bytes()[1..]);
            prop_assert_eq!(read.get(&name), Some(value.as_str()));
        }
    }
}
