//! Lists in pages, as the AWS CLI walks them: all of a list unless `--max-items` stops it, with a token then that continues
//! it. `--limit` and `--marker` are the service's own: with either, as with `--no-paginate`, there is one call and its
//! answer as it comes.
//!
//! The token is the AWS CLI's: the service's marker as JSON, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::args;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::kms::Page;

/// Items on a page of the service's, if it isn't told how many.
const PAGE: u64 = 100;

/// What is asked for of a list.
pub(super) enum Paging {
    /// One of the service's pages, as it comes.
    One(Page),
    /// All of it, or what begins and ends where is said.
    All(Part),
}

/// A part of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Part {
    /// At most so many items.
    max_items: Option<u64>,
    /// The service's marker of where it begins; none: at the list's beginning.
    marker: Option<String>,
    /// Items to a call.
    page_size: Option<i64>,
}

impl Paging {
    /// What the options ask for.
    ///
    /// # Errors
    /// A starting token that is none; options that ask for both.
    pub(super) fn of(typed: &args::Part) -> Outcome<Self> {
        if typed.no_paginate || typed.limit.is_some() || typed.marker.is_some() {
            let given = [
                (typed.starting_token.is_some(), "--starting-token"),
                (typed.page_size.is_some(), "--page-size"),
                (typed.max_items.is_some(), "--max-items"),
            ];
            let given: Vec<&str> = given.iter().filter(|(given, _)| *given).map(|(_, name)| *name).collect();
            if !given.is_empty() {
                let given = given.join(", ");
                let line = format!("Cannot specify --no-paginate along with pagination arguments: {given}");
                return Err(Failure::line(Exit::Usage, line));
            }
            return Ok(Self::One(Page { limit: typed.limit, marker: typed.marker.clone() }));
        }
        let marker = typed.starting_token.as_deref().map(marker_of).transpose()?.flatten();
        Ok(Self::All(Part { max_items: typed.max_items, marker, page_size: typed.page_size }))
    }
}

/// An answer that came in pages.
#[derive(PartialEq, Debug)]
pub(super) struct Pages {
    /// Each as the service gave it; one at least.
    pub(super) pages: Vec<Value>,
    /// What continues the list, if it goes on.
    pub(super) next_token: Option<String>,
}

impl Pages {
    /// The whole list, and what continues it.
    pub(super) fn whole(&self) -> Value {
        let mut whole = json!({});
        for page in &self.pages {
            let Some((name, items)) = items(page) else { continue };
            match whole[name].as_array_mut() {
                Some(all) => all.extend(items.iter().cloned()),
                None => whole[name] = items.clone().into(),
            }
        }
        if let Some(token) = &self.next_token {
            whole["NextToken"] = token.clone().into();
        }
        whole
    }

    /// Each page's part of the list, without the service's marks.
    pub(super) fn parts(&self) -> impl Iterator<Item = Value> {
        self.pages.iter().filter_map(|page| items(page).map(|(name, items)| json!({ name: items })))
    }
}

/// The list of a page, and its name.
fn items(page: &Value) -> Option<(&str, &Vec<Value>)> {
    page.as_object()?.iter().find_map(|(name, value)| Some((name.as_str(), value.as_array()?)))
}

/// Walks a list. `page_size` is used where none was asked for.
///
/// # Errors
/// Those of `ask`; a service that doesn't come to an end.
pub(super) fn walk(
    part: &Part,
    page_size: Option<i64>,
    mut ask: impl FnMut(Page) -> Outcome<Value>,
) -> Outcome<Pages> {
    let page_size = part.page_size.or(page_size);
    let mut left = part.max_items;
    let mut marker = part.marker.clone();
    let mut pages = Vec::new();
    loop {
        // A page of none can't be asked for: one item says whether there is more.
        let fits = left.map(|left| i64::try_from(left.clamp(1, PAGE)).unwrap_or(1));
        let limit = match (page_size, fits) {
            (Some(size), Some(fits)) => Some(size.min(fits)),
            (size, fits) => size.or(fits),
        };
        let mut page = ask(Page { limit, marker: marker.clone() })?;
        let next = page.get("NextMarker").and_then(Value::as_str).map(str::to_owned);
        let count = items(&page).map_or(0, |(_, items)| items.len() as u64);
        if left == Some(0) {
            page.as_object_mut()
                .into_iter()
                .flatten()
                .filter_map(|(_, value)| value.as_array_mut())
                .for_each(Vec::clear);
            pages.push(page);
            return Ok(Pages { pages, next_token: (count > 0).then(|| token_of(marker.as_deref())) });
        }
        left = left.map(|left| left.saturating_sub(count));
        pages.push(page);
        let Some(next) = next else { return Ok(Pages { pages, next_token: None }) };
        if left == Some(0) {
            return Ok(Pages { pages, next_token: Some(token_of(Some(&next))) });
        }
        if marker.as_ref() == Some(&next) {
            let cause = format!("the same marker was received twice, {next}");
            return Err(Failure::new(Exit::Other, "list", cause));
        }
        marker = Some(next);
    }
}

/// What a token is made of.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Token {
    marker: Option<String>,
}

fn token_of(marker: Option<&str>) -> String {
    BASE64.encode(format!("{{\"Marker\": {}}}", Value::from(marker)))
}

fn marker_of(token: &str) -> Outcome<Option<String>> {
    let json = BASE64.decode(token).ok();
    let read = json.and_then(|json| serde_json::from_slice::<Token>(&json).ok());
    let read = read.ok_or_else(|| {
        let line = format!("Bad starting token: {token}; give the NextToken of the list before, unchanged");
        Failure::line(Exit::Usage, line)
    })?;
    Ok(read.marker)
}

#[cfg(test)]
mod tests;
