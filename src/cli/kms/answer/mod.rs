//! Answers as the AWS CLI of version 2 prints them: times put as it puts them, the query asked, in the form that
//! `--output` names. JSON, YAML and tables are of a whole list; text and the stream of YAML are made page by page, and so
//! is what a query finds for them.

mod paint;
mod plain;
mod query;
mod table;
mod text;
mod times;
mod yaml;

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};

use paint::Paint;
pub(super) use query::Query;
use text::{Made, text};

use super::paging::Pages;
use crate::cli::args::{self, Colour, Output, TimestampFormat};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::{output, terminal};
use crate::local_time;

/// Columns of a table that goes to no terminal, or to one that hasn't said how many it has.
const NO_TERMINAL: usize = 80;

/// How answers are printed.
pub(super) struct Form {
    pub(super) output: Output,
    pub(super) query: Option<Query>,
    pub(super) times: TimestampFormat,
    pub(super) paint: Paint,
}

/// What an operation answered.
pub(super) enum Answer {
    /// In one piece; null where there is none.
    Whole(Value),
    /// A list, of which the pages were asked for.
    Listed(Pages),
}

impl Form {
    /// The form that the options ask for.
    ///
    /// # Errors
    /// A query that is none.
    pub(super) fn of(typed: &args::Form) -> Outcome<Self> {
        let query = typed.query.as_deref().map(Query::parse).transpose()?;
        let paint = match typed.color {
            Colour::On => Paint::Coloured,
            Colour::Auto if terminal::takes_colours() => Paint::Coloured,
            Colour::Auto | Colour::Off => Paint::Plain,
        };
        Ok(Self { output: typed.output, query, times: typed.cli_timestamp_format, paint })
    }

    /// Whether the pages that a list came in can be seen.
    pub(super) fn shows_pages(&self) -> bool {
        matches!(self.output, Output::Text | Output::YamlStream)
    }

    /// Prints what an operation answered.
    ///
    /// # Errors
    /// If the query doesn't take it, or standard output can't be written.
    pub(super) fn print(&self, operation: &str, answer: Answer) -> Outcome {
        let printed = self.printed(operation, answer, || terminal::columns().unwrap_or(NO_TERMINAL))?;
        match self.output {
            Output::Json => output::print_json_text(&printed),
            Output::Table => output::print_painted(&printed),
            _ => output::print(&printed),
        }
    }

    fn printed(&self, operation: &str, mut answer: Answer, columns: impl Fn() -> usize) -> Outcome<String> {
        if self.times == TimestampFormat::Iso8601 {
            let zone = local_time::zone();
            match &mut answer {
                Answer::Whole(whole) => times::to_iso8601(whole, &zone),
                Answer::Listed(list) => list.pages.iter_mut().for_each(|page| times::to_iso8601(page, &zone)),
            }
        }
        // AWS answers an operation that gives nothing with an object of nothing.
        if let Answer::Whole(whole) = &mut answer
            && whole.is_null()
        {
            *whole = json!({});
        }
        match self.output {
            Output::Off => Ok(String::new()),
            Output::Text => self.text(answer),
            Output::YamlStream => {
                let pages = match answer {
                    Answer::Whole(whole) => vec![whole],
                    Answer::Listed(list) => list.pages,
                };
                // A list of one page each: together they are one list.
                pages.iter().map(|page| Ok(yaml::document(&json!([self.found(page)?])))).collect()
            }
            Output::Json | Output::Yaml | Output::Table => {
                let whole = match answer {
                    Answer::Whole(whole) => whole,
                    Answer::Listed(list) => list.whole(),
                };
                let found = self.found(&whole)?;
                if found == json!({}) {
                    return Ok(String::new());
                }
                match self.output {
                    Output::Yaml => Ok(yaml::document(&found)),
                    Output::Table => Ok(table::table(operation, &found, columns(), self.paint)),
                    _ => json(&found),
                }
            }
        }
    }

    fn text(&self, answer: Answer) -> Outcome<String> {
        let made = if self.query.is_some() { Made::ByAQuery } else { Made::ByTheOperation };
        let of = |page: &Value| Ok(text(&self.found(page)?, made));
        match answer {
            Answer::Whole(whole) => of(&whole),
            Answer::Listed(list) => {
                let mut out = list.parts().map(|part| of(&part)).collect::<Outcome<String>>()?;
                if let Some(token) = &list.next_token {
                    out.push_str(&of(&json!({ "NextToken": { "NextToken": token } }))?);
                }
                Ok(out)
            }
        }
    }

    fn found(&self, answer: &Value) -> Outcome<Value> {
        match &self.query {
            Some(query) => query.search(answer),
            None => Ok(answer.clone()),
        }
    }
}

/// Indented JSON.
pub(super) fn json(answer: &Value) -> Outcome<String> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Other, "standard output", error);
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    answer.serialize(&mut serializer).map_err(|error| failed(&error))?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests;
