//! The AWS CLI's shorthand for parameters that have a structure: `TagKey=a,TagValue=b`.
//!
//! ```text
//! parameter = pair *("," pair)
//! pair      = key ("=" / "@=") values          @= takes the content of a file that a value names
//! key       = *(letter / digit / one of -_.#/:)
//! values    = list / hash / first *("," more)  several without brackets are a list
//! list      = "[" [item *("," item)] "]"
//! hash      = "{" [key ("=" / "@=") item *("," ...)] "}"
//! item      = list / hash / first
//! first     = quoted / *(character but , ] } ' ")
//! more      = quoted / 1*(character but , = ' ")
//! ```
//!
//! Where a list without brackets ends, is where its next item would be a key: `a=1,2,b=3` is `a` with two items and `b`.
//! In quotes of either sort `\` is an escape for the quote and for itself, outside it is one for a comma. White space around
//! commas and equal signs doesn't count. All values are texts; what they mean is for the caller to know.

use serde_json::{Map, Value};

/// How deep lists and hashes may be nested.
const DEPTH_MAX: usize = 32;

/// Why a text is no shorthand.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum ShorthandError<F> {
    /// Another character was expected.
    #[error("Expected: '{expected}', received: '{found}' at character {at} of {text}")]
    Syntax { expected: &'static str, found: String, at: usize, text: String },
    /// A key stands there twice.
    #[error(
        "Second instance of key \"{key}\" in {text}; where several are meant, a space parts them, not a comma"
    )]
    Twice { key: String, text: String },
    /// It is nested too deep.
    #[error("more than {DEPTH_MAX} lists and hashes in each other")]
    Deep,
    /// A file can't be had.
    #[error("{0}")]
    File(F),
}

/// Parses a text; `resolve` gives what `@=` asks for.
///
/// # Errors
/// [`ShorthandError`].
pub(super) fn parse<F>(
    text: &str,
    resolve: &dyn Fn(&str) -> Result<String, F>,
) -> Result<Map<String, Value>, ShorthandError<F>> {
    Parser { text, chars: text.chars().collect(), at: 0, depth: 0, from_file: false, resolve }.parameter()
}

struct Parser<'a, F> {
    text: &'a str,
    chars: Vec<char>,
    at: usize,
    depth: usize,
    /// Values are those of a pair with `@=`.
    from_file: bool,
    resolve: &'a dyn Fn(&str) -> Result<String, F>,
}

type Parsed<T, F> = Result<T, ShorthandError<F>>;

impl<F> Parser<'_, F> {
    fn parameter(&mut self) -> Parsed<Map<String, Value>, F> {
        let mut pairs = Map::new();
        loop {
            let key = self.key_and_sign()?;
            let value = self.values()?;
            self.add(&mut pairs, key, value)?;
            if self.peek().is_none() {
                return Ok(pairs);
            }
            self.expect(',', ",")?;
        }
    }

    fn add(&self, pairs: &mut Map<String, Value>, key: String, value: Value) -> Parsed<(), F> {
        if pairs.contains_key(&key) {
            return Err(ShorthandError::Twice { key, text: self.text.to_owned() });
        }
        pairs.insert(key, value);
        Ok(())
    }

    fn key_and_sign(&mut self) -> Parsed<String, F> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || "-_.#/:".contains(c)) {
            self.at += 1;
        }
        let key = self.chars[start..self.at].iter().collect();
        self.skip_space();
        self.from_file = self.peek() == Some('@');
        if self.from_file {
            self.at += 1;
        }
        self.expect('=', "=")?;
        Ok(key)
    }

    fn values(&mut self) -> Parsed<Value, F> {
        match self.peek() {
            None => Ok("".into()),
            Some('[') => self.list(),
            Some('{') => self.hash(),
            Some(_) => self.values_without_brackets(),
        }
    }

    fn values_without_brackets(&mut self) -> Parsed<Value, F> {
        let mut values = vec![self.first()?];
        loop {
            self.skip_space();
            if self.peek() != Some(',') {
                break;
            }
            let comma = self.at;
            self.expect(',', ",")?;
            // What comes is a value, unless it is the next key.
            let value = self.more();
            self.skip_space();
            match value {
                Ok(value) if matches!(self.peek(), None | Some(',')) => values.push(value),
                Err(error) if self.peek().is_none() || matches!(error, ShorthandError::File(_)) => {
                    return Err(error);
                }
                _ => {
                    self.at = comma;
                    break;
                }
            }
        }
        Ok(if values.len() == 1 { values.remove(0) } else { values.into() })
    }

    fn deeper(&mut self) -> Parsed<(), F> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(ShorthandError::Deep) } else { Ok(()) }
    }

    fn list(&mut self) -> Parsed<Value, F> {
        self.deeper()?;
        self.expect('[', "[")?;
        let mut items = Vec::new();
        while self.peek() != Some(']') {
            items.push(self.item()?);
            self.end_of_item(']')?;
        }
        self.at += 1;
        self.depth -= 1;
        Ok(items.into())
    }

    fn hash(&mut self) -> Parsed<Value, F> {
        self.deeper()?;
        self.expect('{', "{")?;
        let mut pairs = Map::new();
        while self.peek() != Some('}') {
            let key = self.key_and_sign()?;
            let value = self.item()?;
            self.add(&mut pairs, key, value)?;
            self.end_of_item('}')?;
        }
        self.at += 1;
        self.depth -= 1;
        Ok(pairs.into())
    }

    fn end_of_item(&mut self, close: char) -> Parsed<(), F> {
        self.skip_space();
        if self.peek() == Some(close) { Ok(()) } else { self.expect(',', ",") }
    }

    fn item(&mut self) -> Parsed<Value, F> {
        match self.peek() {
            Some('[') => self.list(),
            Some('{') => self.hash(),
            _ => self.first(),
        }
    }

    fn first(&mut self) -> Parsed<Value, F> {
        match self.quoted()? {
            Some(text) => self.value(text),
            None => {
                let word = self.word(|c| !"\"',]}".contains(c));
                self.value(word.unwrap_or_default())
            }
        }
    }

    fn more(&mut self) -> Parsed<Value, F> {
        match self.quoted()? {
            Some(text) => self.value(text),
            None => match self.word(|c| !"\"',=".contains(c)) {
                Some(word) => self.value(word),
                None => Err(self.unexpected("a value")),
            },
        }
    }

    /// A word without quotes, whose characters but the first `follows` takes.
    fn word(&mut self, follows: impl Fn(char) -> bool) -> Option<String> {
        let starts = |c: char| !c.is_whitespace() && !"\"',=[{".contains(c);
        let mut word = String::new();
        while let Some(next) = self.peek() {
            let escaped = next == '\\' && self.chars.get(self.at + 1) == Some(&',');
            let fits = if word.is_empty() { starts(next) } else { follows(next) };
            if !escaped && !fits {
                break;
            }
            word.push(if escaped { ',' } else { next });
            self.at += if escaped { 2 } else { 1 };
        }
        (!word.is_empty()).then(|| word.trim_end().to_owned())
    }

    fn quoted(&mut self) -> Parsed<Option<String>, F> {
        let Some(quote @ ('\'' | '"')) = self.peek() else { return Ok(None) };
        let rest = &self.chars[self.at + 1..];
        let mut text = String::new();
        let mut at = 0;
        while let Some(&next) = rest.get(at) {
            match (next, rest.get(at + 1)) {
                // A backslash at the very end of what is quoted stands for itself.
                ('\\', Some(&after)) if after == quote && rest[at + 2..].contains(&quote) => {
                    text.push(quote);
                    at += 2;
                }
                ('\\', Some('\\')) => {
                    text.push('\\');
                    at += 2;
                }
                _ if next == quote => {
                    self.at += at + 2;
                    return Ok(Some(text));
                }
                _ => {
                    text.push(next);
                    at += 1;
                }
            }
        }
        self.at = self.chars.len();
        Err(self.unexpected(if quote == '"' { "\"" } else { "'" }))
    }

    fn value(&self, text: String) -> Parsed<Value, F> {
        if !self.from_file {
            return Ok(text.into());
        }
        (self.resolve)(&text).map(Value::from).map_err(ShorthandError::File)
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// The character, with white space around it.
    fn expect(&mut self, wanted: char, name: &'static str) -> Parsed<(), F> {
        self.skip_space();
        if self.peek() != Some(wanted) {
            return Err(self.unexpected(name));
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn unexpected(&self, expected: &'static str) -> ShorthandError<F> {
        let found = self.peek().map_or_else(|| "EOF".to_owned(), |c| c.to_string());
        ShorthandError::Syntax { expected, found, at: self.at + 1, text: self.text.to_owned() }
    }
}

#[cfg(test)]
mod tests;
