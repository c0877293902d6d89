//! Charts as SVG, from numbers alone. Each has a title and a description for those who don't see it, and stands beside a table or a
//! text that says the same: neither a colour nor a length is all there is. Sizes are attributes, since the pages' policy allows
//! no inline style.
//!
//! A count that isn't 0 is seen: its bar has a width. Counts may be as large as they like.

use std::collections::BTreeMap;

use jiff::civil::Date;
use maud::{Markup, html};
use rekeyfs::printable::counted;

use super::layout;

/// Units of a chart's whole width.
const WIDTH: u64 = 600;
/// The least width of a count that isn't 0.
const SEEN: u64 = 4;
/// Units of a bar's height.
const BAR: u64 = 14;
/// Units of the height of a chart of days.
const HEIGHT: u64 = 120;
/// The most days that a chart shows, and how many have room in it at least: a column of one day alone isn't a wall.
const DAYS_MAX: usize = 60;
const DAYS_ROOM: u64 = 30;
/// Parts of a stacked bar have so many looks; more parts repeat them, and are told apart by their edges.
const LOOKS: usize = 6;

/// How much of `whole` units `count` of `most` takes.
fn length(count: u64, most: u64, whole: u64) -> u64 {
    match count {
        0 => 0,
        _ if count >= most => whole,
        // Less than `whole`, as `count` is less than `most`.
        _ => ((u128::from(count) * u128::from(whole) / u128::from(most)) as u64).max(SEEN),
    }
}

/// A bar for the files of a key version, among others of which the longest has `most`. What it is stands beside it.
pub(super) fn bar(count: u64, most: u64) -> Markup {
    html! {
        svg.bar viewBox={ "0 0 " (WIDTH) " " (BAR) } preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect.track x="0" y="0" width=(WIDTH) height=(BAR) {}
            rect.part.look-0 x="0" y="0" width=(length(count, most, WIDTH)) height=(BAR) {}
        }
    }
}

/// A part of a stacked bar.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) count: u64,
}

/// The widths of parts that together are `WIDTH`. Those that would be too narrow to be seen take from the widest; where there are too
/// many for that, the last ones have none.
fn widths(parts: &[Part]) -> Vec<u64> {
    let total: u128 = parts.iter().map(|part| u128::from(part.count)).sum();
    let exact = |part: &Part| match part.count {
        0 => 0,
        count => ((u128::from(count) * u128::from(WIDTH) / total) as u64).max(SEEN),
    };
    let mut widths: Vec<u64> = parts.iter().map(exact).collect();
    let sum = widths.iter().sum::<u64>();
    let widest = widths.iter_mut().max().filter(|widest| **widest > 0);
    if let Some(widest) = widest {
        *widest = (*widest + WIDTH).saturating_sub(sum).max(SEEN);
    }
    let mut left = WIDTH;
    for width in &mut widths {
        *width = (*width).min(left);
        left -= *width;
    }
    widths
}

/// One bar of parts, with their names beside it.
pub(super) fn stacked(id: &str, title: &str, parts: &[Part]) -> Markup {
    let mut at = 0;
    let placed = widths(parts).into_iter().zip(parts).enumerate().filter(|(_, (width, _))| *width > 0);
    let placed: Vec<(usize, u64, u64)> = placed
        .map(|(look, (width, _))| {
            let from = at;
            at += width;
            (look % LOOKS, from, width)
        })
        .collect();
    let names: Vec<String> =
        parts.iter().map(|part| format!("{}: {}", part.name, files(part.count))).collect();
    html! {
        figure.chart {
            svg.stack viewBox={ "0 0 " (WIDTH) " " (BAR * 2) } preserveAspectRatio="none" role="img"
                aria-labelledby={ (id) "-title " (id) "-desc" } {
                title id={ (id) "-title" } { (title) }
                desc id={ (id) "-desc" } { @if names.is_empty() { "No files." } @else { (names.join(", ")) } }
                rect.track x="0" y="0" width=(WIDTH) height=(BAR * 2) {}
                @for (look, from, width) in placed {
                    rect class={ "part look-" (look) } x=(from) y="0" width=(width) height=(BAR * 2) {}
                }
            }
            @if !names.is_empty() {
                figcaption {
                    ul.legend {
                        @for (at, name) in names.iter().enumerate() {
                            li { (swatch(at % LOOKS)) " " (name) }
                        }
                    }
                }
            }
        }
    }
}

/// What a part of a bar looks like, beside its name.
fn swatch(look: usize) -> Markup {
    html! {
        svg.swatch viewBox="0 0 12 12" aria-hidden="true" focusable="false" {
            rect class={ "part look-" (look) } x="0" y="0" width="12" height="12" {}
        }
    }
}

pub(super) fn files(count: u64) -> String {
    counted(count, "file", "files")
}

/// Events of each day: a column for each of the last days that have some, or lie between such, and the same as a table.
pub(super) fn days(counts: &[(String, u64)]) -> Markup {
    let columns = columns(counts);
    let (Some((first, _)), Some((last, _))) = (columns.first(), columns.last()) else { return html! {} };
    let most = columns.iter().map(|(_, count)| *count).max().unwrap_or_default();
    let total: u128 = columns.iter().map(|(_, count)| u128::from(*count)).sum();
    let step = WIDTH / DAYS_ROOM.max(columns.len() as u64);
    let span = if first == last { format!("on {first}") } else { format!("from {first} to {last}") };
    let busiest = columns.iter().max_by_key(|(_, count)| *count);
    html! {
        figure.chart {
            svg.days viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                aria-labelledby="days-title days-desc" {
                title #days-title { "Events per day " (span) }
                desc #days-desc {
                    (total) " in all"
                    @if let Some((day, count)) = busiest { "; the most, " (count) ", on " (day) }
                    ". The table has all days."
                }
                rect.track x="0" y=(HEIGHT - 1) width=(WIDTH) height="1" {}
                @for (at, (day, count)) in columns.iter().enumerate() {
                    @let height = length(*count, most, HEIGHT);
                    rect.part.look-0 x=(at as u64 * step + 1) y=(HEIGHT - height) width=(step.saturating_sub(2).max(1))
                        height=(height) { title { (day) ": " (counted(*count, "event", "events")) } }
                }
            }
            figcaption { "Events per day " (span) ", in UTC; the tallest column has " (most) "." }
            details {
                summary { "Events per day as a table" }
                (layout::table("Events per day", &["Day", "Events"], &html! {
                    @for (day, count) in columns.iter().rev().filter(|(_, count)| *count > 0) {
                        tr { td { (day) } td { (count) } }
                    }
                }))
            }
        }
    }
}

/// The last days, those without events too. What is no day isn't there.
fn columns(counts: &[(String, u64)]) -> Vec<(Date, u64)> {
    let known: BTreeMap<Date, u64> =
        counts.iter().filter_map(|(day, count)| Some((day.parse().ok()?, *count))).collect();
    let Some((last, _)) = known.last_key_value() else { return Vec::new() };
    let mut columns = Vec::new();
    let mut day = Some(*last);
    while let Some(at) = day.filter(|at| known.first_key_value().is_some_and(|(first, _)| at >= first)) {
        columns.push((at, known.get(&at).copied().unwrap_or_default()));
        day = if columns.len() < DAYS_MAX { at.yesterday().ok() } else { None };
    }
    columns.reverse();
    columns
}

#[cfg(test)]
mod tests;
