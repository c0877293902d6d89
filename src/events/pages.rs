//! A page of the log, newest first, for those who can't read the file themselves: some events that a filter takes, whether
//! there are older and newer ones, and how many there are on each day.
//!
//! One reading from the first line to the last gives all of that, and the numbers of lines. Only the events of the page are kept
//! of it, so a log of any size takes the same memory. A page has a bound in bytes, since it is to fit a message; what a
//! hostile log holds is within it too: a line is no longer than an event ([`Lines`](super::Lines)).

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::doubtful::Doubtful;
use super::filter::EventFilter;
use super::lines::Line;
use super::log::EventLog;
use crate::ids::PathText;
use crate::storage::Result;

/// Bytes of the lines of a page. Written again with the plain name of its file, no line takes more than six times its bytes.
const PAGE_BYTES: usize = 128 << 10;
/// The most events of a page.
const PAGE_MAX: u16 = 500;
/// The most days that are counted, the newest.
const DAYS_MAX: usize = 366;
/// Characters of a day in a time.
const DAY: usize = 10;

/// What is asked of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Which events.
    #[serde(default)]
    pub filter: EventFilter,
    /// Where the page is.
    #[serde(default)]
    pub place: PagePlace,
    /// How many events it has at most; more than 500 are never answered.
    pub limit: u16,
}

/// Where a page is among the events that the filter takes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PagePlace {
    /// At the end.
    #[default]
    Newest,
    /// Before this line.
    Before(u64),
    /// Behind this line.
    After(u64),
}

/// A page.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct EventPage {
    /// Its events, newest first.
    pub events: Vec<LoggedEvent>,
    /// Whether there are older ones.
    pub older: bool,
    /// Whether there are newer ones.
    pub newer: bool,
    /// How many events the filter takes in all.
    pub matching: u64,
    /// Lines of the log that are no events.
    pub unreadable: u64,
    /// Of the events that the filter takes, how many happened on which day in UTC, oldest first; none that may be forged.
    pub days: Vec<(String, u64)>,
}

/// An event as the log has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// The number of its line, from 1 on.
    pub line: u64,
    /// It isn't known to be the vault's: anybody may have written it.
    pub doubtful: bool,
    /// The event.
    pub event: Value,
    /// The plain path of its file, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PathText>,
}

impl LoggedEvent {
    /// The path of its file in the vault's directory, if it names one.
    pub fn lower_path(&self) -> Option<&str> {
        self.event["detail"]["lower-path"].as_str()
    }
}

impl EventLog {
    /// A page. `doubtful` are the lines that a check found not to be the vault's.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn page(&self, query: &EventQuery, doubtful: &Doubtful) -> Result<EventPage> {
        self.read_whole(|| Reading::new(query, doubtful), Reading::line).map(Reading::page)
    }
}

/// A reading of the log, and the page as far as it goes.
struct Reading<'a> {
    query: &'a EventQuery,
    doubtful: &'a Doubtful,
    limit: usize,
    line: u64,
    /// Events of the page, oldest first, with the bytes of their lines.
    kept: VecDeque<(LoggedEvent, usize)>,
    bytes: usize,
    days: BTreeMap<String, u64>,
    page: EventPage,
}

impl<'a> Reading<'a> {
    fn new(query: &'a EventQuery, doubtful: &'a Doubtful) -> Self {
        Self {
            query,
            doubtful,
            limit: query.limit.clamp(1, PAGE_MAX).into(),
            line: 0,
            kept: VecDeque::new(),
            bytes: 0,
            days: BTreeMap::new(),
            page: EventPage::default(),
        }
    }

    fn line(&mut self, line: Line<'_>) {
        self.line += 1;
        let Line::Whole(text) = line else {
            self.page.unreadable += 1;
            return;
        };
        let Some(event) = serde_json::from_slice::<Value>(text).ok().filter(Value::is_object) else {
            self.page.unreadable += 1;
            return;
        };
        if !self.query.filter.takes(&event) {
            return;
        }
        let doubtful = self.doubtful.has(self.line);
        self.page.matching += 1;
        if !doubtful {
            self.count_day(&event);
        }
        match self.query.place {
            PagePlace::Before(line) if self.line >= line => self.page.newer = true,
            PagePlace::After(line) if self.line <= line => self.page.older = true,
            place => {
                let event = LoggedEvent { line: self.line, doubtful, event, name: None };
                self.keep(event, text.len(), place);
            }
        }
    }

    /// Keeps an event of the page. Where that is at the end it pushes out the oldest, else it is left out if the page is full.
    fn keep(&mut self, event: LoggedEvent, bytes: usize, place: PagePlace) {
        let fits = self.kept.len() < self.limit && (self.bytes + bytes <= PAGE_BYTES || self.kept.is_empty());
        if matches!(place, PagePlace::After(_)) && (self.page.newer || !fits) {
            self.page.newer = true;
            return;
        }
        self.kept.push_back((event, bytes));
        self.bytes += bytes;
        while self.kept.len() > self.limit || (self.bytes > PAGE_BYTES && self.kept.len() > 1) {
            self.bytes -= self.kept.pop_front().map_or(0, |(_, bytes)| bytes);
            self.page.older = true;
        }
    }

    fn count_day(&mut self, event: &Value) {
        let Some(day) = event["time"].as_str().and_then(|time| time.get(..DAY)) else { return };
        match self.days.get_mut(day) {
            Some(count) => *count += 1,
            None => {
                self.days.insert(day.to_owned(), 1);
                if self.days.len() > DAYS_MAX {
                    self.days.pop_first();
                }
            }
        }
    }

    fn page(self) -> EventPage {
        EventPage {
            events: self.kept.into_iter().rev().map(|(event, _)| event).collect(),
            days: self.days.into_iter().collect(),
            ..self.page
        }
    }
}

#[cfg(test)]
mod tests;
