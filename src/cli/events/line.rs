//! An event as one line for people: time, what, how it ended, particulars, who, and ids.
//!
//! On a terminal a line fits its width: a key's id has its first eight characters, by which commands take it, and what doesn't
//! fit is left out from the end, where ids that no command takes stand; an ellipsis says so. Elsewhere, and with `--full`,
//! lines are whole, and their times have milliseconds.

use std::cell::Cell;
use std::fmt::Write;
use std::path::Path;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::cli::args::Events;
use crate::cli::exit::one_line;
use crate::cli::fit::{columns, cut_end};
use crate::cli::short_ids::{SHORT, WHOLE};
use crate::cli::terminal;
use crate::local_time::{self, Precision};
use crate::printable;

/// A text that doesn't fit is cut within, if this much of it can be shown; else it is left out.
const WORTH_SHOWING: usize = 8;

/// How lines are shown.
pub(super) struct Style {
    /// None: as the log has them, in UTC.
    zone: Option<TimeZone>,
    /// Columns that a line has, if it must fit.
    width: Option<usize>,
    ellipsis: &'static str,
    /// Whether a line didn't fit since that was asked last.
    cut: Cell<bool>,
}

/// A piece of a line.
enum Part {
    /// Its beginning says something too.
    Text(String),
    /// An id or a number: half of it is another one.
    Whole(String),
}

impl Part {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Whole(text) => text,
        }
    }

    /// What a value of the log is told by.
    fn of(value: &Value, text: String) -> Self {
        if value.is_string() { Self::Text(text) } else { Self::Whole(text) }
    }
}

impl Style {
    /// As it was asked for, on this standard output.
    pub(super) fn of(args: &Events) -> Self {
        Self {
            zone: (!args.utc).then(local_time::zone),
            width: if args.full { None } else { terminal::columns() },
            ellipsis: terminal::ellipsis(),
            cut: Cell::new(false),
        }
    }

    /// What is to be said of lines that were cut, once.
    pub(super) fn hint(&self) -> Option<&'static str> {
        let hint = "lines that end in an ellipsis are cut to the terminal's width; --full shows them whole";
        self.cut.take().then_some(hint)
    }

    fn time(&self, text: &str) -> String {
        let precision = if self.width.is_some() { Precision::Minute } else { Precision::Millisecond };
        self.zone.as_ref().map_or_else(|| text.to_owned(), |zone| local_time::told(text, zone, precision))
    }

    fn id<'a>(&self, text: &'a str) -> &'a str {
        match text.get(..SHORT) {
            Some(short) if self.width.is_some() && text.len() == WHOLE => short,
            _ => text,
        }
    }

    fn doubt(&self, number: u64) -> String {
        match self.width {
            Some(_) => format!("line {number} may be forged: "),
            None => format!("line {number} doesn't follow the one before it, so it may be forged: "),
        }
    }

    /// The parts as a line, or as many of them as fit.
    fn fitted(&self, parts: &[Part]) -> String {
        let mut line = String::new();
        for (at, part) in parts.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            let text = one_line(part.text());
            let ends = at + 1 == parts.len();
            let Some(width) = self.width else {
                let _ = write!(line, "{space}{text}");
                continue;
            };
            let left = width.saturating_sub(columns(&line) + space.len());
            // Behind what isn't the last an ellipsis must have its place too.
            let reserved = if ends { 0 } else { 1 + columns(self.ellipsis) };
            if columns(&text) + reserved <= left {
                let _ = write!(line, "{space}{text}");
                continue;
            }
            self.cut.set(true);
            let shown = match part {
                Part::Text(_) if at == 0 || left >= WORTH_SHOWING => {
                    cut_end(&(text + &" ".repeat(reserved)), left, self.ellipsis)
                }
                _ => self.ellipsis.to_owned(),
            };
            let _ = write!(line, "{space}{shown}");
            break;
        }
        line
    }
}

/// The event as a line without its end. One that may be forged is told with its line's number.
pub(super) fn human(event: &Value, name: Option<&Path>, forged: Option<u64>, style: &Style) -> String {
    let detail = &event["detail"];
    let doubt = forged.map(|number| style.doubt(number)).unwrap_or_default();
    let mut what = format!("{doubt}{}  {}", style.time(&text(&event["time"])), text(&event["detail-type"]));
    match detail["outcome"].as_str() {
        Some("success") | None => {}
        // As "File Access Refused" says already.
        Some(outcome) if what.to_lowercase().ends_with(outcome) => {}
        Some(outcome) => {
            let _ = write!(what, " ({outcome})");
        }
    }
    what.push(':');
    let none = Map::new();
    let fields = detail.as_object().unwrap_or(&none);
    let (mut parts, mut keys, mut ids) = (vec![Part::Text(what)], Vec::new(), Vec::new());
    for (field, value) in fields {
        let words = field.replace('-', " ");
        match field.as_str() {
            "outcome" | "uid" | "pid" => {}
            _ if value.is_null() => {}
            // What it was is told with what it is.
            _ if is_previous(fields, field) => {}
            "event-name" | "reason" | "error-code" => parts.push(Part::of(value, text(value))),
            "lower-path" => {
                let shown = name.map_or_else(|| text(value), |name| format!("\"{}\"", printable::path(name)));
                parts.push(Part::Text(format!("file {shown}")));
            }
            "last-attempt" => {
                let (time, uid) = (style.time(&text(&value["time"])), text(&value["uid"]));
                parts.push(Part::Text(format!("last {time} by uid {uid} pid {}", value["pid"])));
            }
            "key-id" => keys.push(Part::Whole(format!("key {}", changed(fields, field, value, style)))),
            _ if value.is_boolean() => {
                let not = if value == &Value::Bool(false) { "not " } else { "" };
                parts.push(Part::Whole(format!("{not}{words}")));
            }
            _ if is_id(field) => ids.push(Part::Whole(format!("{words} {}", style.id(&text(value))))),
            _ => parts.push(Part::of(value, format!("{words} {}", changed(fields, field, value, style)))),
        }
    }
    parts.extend(keys);
    parts.extend(["uid", "pid"].map(|who| Part::Whole(format!("{who} {}", text(&detail[who])))));
    if let Some(more) = event["events-held-back"].as_u64() {
        let classes = event["held-back"].as_object().into_iter().flatten();
        let classes: Vec<String> = classes.map(|(class, count)| format!("{count} {class}")).collect();
        let of = if classes.is_empty() { String::new() } else { format!(": {}", classes.join(", ")) };
        parts.push(Part::Text(format!("({more} more were held back before this{of})")));
    }
    parts.extend(ids);
    style.fitted(&parts)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a field has what another one was before.
fn is_previous(fields: &Map<String, Value>, field: &str) -> bool {
    field.strip_prefix("previous-").is_some_and(|now| fields.contains_key(now))
}

/// A value, with an arrow from what it was before if that is known.
fn changed(fields: &Map<String, Value>, field: &str, value: &Value, style: &Style) -> String {
    let now = text(value);
    match fields.get(&format!("previous-{field}")).filter(|before| !before.is_null()) {
        Some(before) => format!("{} -> {}", style.id(&text(before)), style.id(&now)),
        None => style.id(&now).to_owned(),
    }
}

/// Whether a field only tells things apart, and no command takes its value from a line of the log: ids of files and slots,
/// inodes, hashes, the generation that a change of keys made.
fn is_id(field: &str) -> bool {
    field.ends_with("-id") || matches!(field, "generation" | "inode" | "sha256" | "previous-mac")
}

#[cfg(test)]
mod tests;
