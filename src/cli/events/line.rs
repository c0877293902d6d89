//! An event as one line for people: time, what, how it ended, particulars, who.
//!
//! On a terminal a line fits its width: ids have their first eight characters, by which commands take them, and what is too
//! long ends in an ellipsis. Elsewhere, and with `--full`, lines are whole.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use unicode_width::UnicodeWidthChar;

use crate::cli::args::Events;
use crate::cli::exit::one_line;
use crate::printable;

/// Characters of an id that are shown where it is shortened.
const SHORT_ID: usize = 8;
/// Characters of an id.
const ID: usize = 36;

/// How lines are shown.
pub(super) struct Style {
    /// None: as the log has them, in UTC.
    zone: Option<TimeZone>,
    /// Columns that a line has, if it must fit.
    width: Option<usize>,
}

impl Style {
    /// As it was asked for, on this standard output.
    pub(super) fn of(args: &Events) -> Self {
        let stdout = io::stdout();
        let terminal = !args.full && stdout.is_terminal();
        let columns = || rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        Self {
            zone: (!args.utc).then(TimeZone::system),
            width: terminal.then(columns).flatten().filter(|columns| *columns > 0),
        }
    }

    fn time(&self, text: &str) -> String {
        match (&self.zone, text.parse::<Timestamp>()) {
            (Some(zone), Ok(time)) => {
                time.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
            }
            _ => text.to_owned(),
        }
    }

    fn id<'a>(&self, text: &'a str) -> &'a str {
        match text.get(..SHORT_ID) {
            Some(short) if self.width.is_some() && text.len() == ID => short,
            _ => text,
        }
    }

    /// The line, or as much of it as fits.
    pub(super) fn fitted(&self, line: &str) -> String {
        let columns = |c: char| c.width().unwrap_or_default();
        let Some(width) = self.width.filter(|width| line.chars().map(columns).sum::<usize>() > *width) else {
            return line.to_owned();
        };
        let mut left = width.saturating_sub(1);
        let fits = |c: &char| {
            let rest = left.checked_sub(columns(*c));
            left = rest.unwrap_or_default();
            rest.is_some()
        };
        line.chars().take_while(fits).chain(['…']).collect()
    }
}

/// The event, without a line end.
pub(super) fn human(event: &Value, name: Option<&Path>, style: &Style) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let detail = &event["detail"];
    let mut out = format!("{}  {}", style.time(&text(&event["time"])), text(&event["detail-type"]));
    match detail["outcome"].as_str() {
        Some("success") | None => {}
        Some(outcome) => {
            let _ = write!(out, " ({outcome})");
        }
    }
    out.push(':');
    for (field, value) in detail.as_object().into_iter().flatten() {
        match field.as_str() {
            "outcome" | "uid" | "pid" => {}
            _ if value.is_null() => {}
            "lower-path" => {
                let shown = name.map_or_else(|| text(value), |name| format!("\"{}\"", printable::path(name)));
                let _ = write!(out, " file {shown}");
            }
            "last-attempt" => {
                let (time, uid) = (style.time(&text(&value["time"])), text(&value["uid"]));
                let _ = write!(out, " last {time} by uid {uid} pid {}", value["pid"]);
            }
            _ => {
                let _ = write!(out, " {} {}", field.replace('-', " "), style.id(&text(value)));
            }
        }
    }
    let _ = write!(out, " by uid {} pid {}", detail["uid"], detail["pid"]);
    if let Some(more) = event["events-held-back"].as_u64() {
        let classes = event["held-back"].as_object().into_iter().flatten();
        let classes: Vec<String> = classes.map(|(class, count)| format!("{count} {class}")).collect();
        let of = if classes.is_empty() { String::new() } else { format!(": {}", classes.join(", ")) };
        let _ = write!(out, " ({more} more were held back before this{of})");
    }
    one_line(&out)
}

/// How many events were held back, by class, in all lines that were shown.
#[derive(Default)]
pub(super) struct HeldBack(BTreeMap<String, u64>);

impl HeldBack {
    /// Those before this event. Earlier versions didn't say of which class they were.
    pub(super) fn add(&mut self, event: &Value) {
        let Some(all) = event["events-held-back"].as_u64() else { return };
        let mut unknown = all;
        for (class, count) in event["held-back"].as_object().into_iter().flatten() {
            let count = count.as_u64().unwrap_or_default();
            unknown = unknown.saturating_sub(count);
            self.count(class, count);
        }
        self.count("of an unknown class", unknown);
    }

    fn count(&mut self, class: &str, count: u64) {
        if count > 0 {
            let sum = self.0.entry(class.to_owned()).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// A last line that says how many of which class; empty if there were none.
    pub(super) fn summary(&self) -> String {
        let all = self.0.values().copied().fold(0, u64::saturating_add);
        if all == 0 {
            return String::new();
        }
        let classes: Vec<String> = self.0.iter().map(|(class, count)| format!("{count} {class}")).collect();
        let all = printable::counted(all, "event was", "events were");
        format!("{all} held back by the limit of their class: {}\n", one_line(&classes.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn style(zone: Option<TimeZone>, width: Option<usize>) -> Style {
        Style { zone, width }
    }

    fn refused() -> Value {
        json!({
            "time": "2026-11-22T01:02:03.004Z", "detail-type": "File Access Refused", "events-held-back": 7,
            "held-back": {"refusals": 5, "damage": 2},
            "detail": {"event-name": "open", "reason": "key-policy", "lower-path": "tree/AB", "file-id": null,
                       "key-id": "7b0c5f8e-6a1d-4c57-9f2b-3f1d2f0c9a44", "outcome": "refused", "uid": 1000, "pid": 42},
        })
    }

    #[test]
    fn an_event_is_one_line_that_says_what_who_and_which_file() {
        let told = "2026-11-22T01:02:03.004Z  File Access Refused (refused): event name open reason key-policy \
                    file \"a\\nb\" key id 7b0c5f8e-6a1d-4c57-9f2b-3f1d2f0c9a44 by uid 1000 pid 42 \
                    (7 more were held back before this: 5 refusals, 2 damage)";
        assert_eq!(human(&refused(), Some(Path::new("a\nb")), &style(None, None)), told);
        assert!(human(&refused(), None, &style(None, None)).contains(" file tree/AB "));
    }

    #[test]
    fn times_are_local_with_their_offset() {
        let zone = TimeZone::fixed(jiff::tz::offset(-9));
        let shown = human(&refused(), None, &style(Some(zone), None));
        assert!(shown.starts_with("2026-11-21T16:02:03.004-09:00  File Access"), "{shown}");
        assert_eq!(style(Some(TimeZone::UTC), None).time("no time"), "no time");
    }

    #[test]
    fn a_line_fits_a_terminal() {
        let narrow = style(None, Some(80));
        let shown = human(&refused(), Some(Path::new("世界")), &narrow);
        assert!(shown.contains(" key id 7b0c5f8e by uid"), "{shown}");
        for width in [0, 1, 2, 40, 80, 400] {
            let fitted = style(None, Some(width)).fitted(&shown);
            let columns: usize = fitted.chars().map(|c| c.width().unwrap_or_default()).sum();
            assert!(columns <= width.max(1) && (width > 300) == (fitted == shown), "{width}: {fitted}");
        }
    }

    #[test]
    fn what_was_held_back_is_summed_by_class() {
        let mut held_back = HeldBack::default();
        assert_eq!(held_back.summary(), "");
        held_back.add(&refused());
        held_back.add(&refused());
        held_back.add(&json!({"events-held-back": 1, "detail": {}}));
        let told = "15 events were held back by the limit of their class: 4 damage, 1 of an unknown class, 10 refusals\n";
        assert_eq!(held_back.summary(), told);
    }
}
