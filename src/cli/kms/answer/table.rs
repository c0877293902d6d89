//! `--output table`: boxes as the AWS CLI draws them. Each object or list of objects is a section under its name; sections
//! are nested by a bar on either side, and all end at one column. A table that is wider than the terminal has the fields of
//! single objects under each other. Every text is safe for a terminal before it is laid out: a table may be coloured, and is
//! printed as it is.

use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

use super::paint::Paint;
use super::plain::{fields, is_nested, plain};
use crate::printable;

/// Columns of each side of a cell, and of a section.
const CELL_PADDING: usize = 4;
const BORDERS: usize = 2;

/// The table of an answer, for a terminal of so many columns; empty if there is nothing to draw.
pub(super) fn table(title: &str, answer: &Value, columns: usize, paint: Paint) -> String {
    let mut table = Table::default();
    if !table.add(Some(title), answer, 0) {
        return String::new();
    }
    if table.width() > columns {
        table.sections.iter_mut().for_each(Section::turn);
    }
    let width = table.width();
    let mut out = format!("{}\n", "-".repeat(width));
    for section in &table.sections {
        section.draw(width.saturating_sub(section.depth * 2), paint, &mut out);
    }
    out
}

#[derive(Default)]
struct Table {
    sections: Vec<Section>,
}

impl Table {
    /// Adds sections for a value. Returns whether there was something to add.
    fn add(&mut self, title: Option<&str>, value: &Value, depth: usize) -> bool {
        let is_nothing = match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::Array(items) => items.is_empty(),
            Value::Object(object) => object.is_empty(),
            Value::Bool(true) => false,
        };
        if is_nothing {
            return false;
        }
        if let Some(title) = title {
            self.sections.push(Section::new(title, depth));
        }
        match value {
            Value::Array(items) if items[0].is_object() => self.add_objects(title, items, depth),
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::Array(cells) if cells.iter().any(is_nested) => {
                            self.add(None, item, 0);
                        }
                        Value::Array(cells) => self.row(cells.iter().map(plain).collect()),
                        Value::Object(_) => {
                            self.add(None, item, depth);
                        }
                        scalar => self.row(vec![plain(scalar)]),
                    }
                }
            }
            Value::Object(object) => self.add_object(object, depth),
            _ => {}
        }
        true
    }

    fn add_object(&mut self, object: &Map<String, Value>, depth: usize) {
        let (headers, nested) = fields(std::iter::once(object));
        match headers[..] {
            [] => {}
            [only] => self.row(vec![printable::line(only).into_owned(), plain(&object[only])]),
            _ => {
                self.headers(&headers);
                self.row(headers.iter().map(|field| plain(&object[*field])).collect());
            }
        }
        for field in nested {
            self.add(Some(field), &object[field], depth + 1);
        }
    }

    fn add_objects(&mut self, title: Option<&str>, items: &[Value], depth: usize) {
        let (headers, nested) = fields(items.iter().filter_map(Value::as_object));
        self.headers(&headers);
        for (index, object) in items.iter().filter_map(Value::as_object).enumerate() {
            if index > 0 && !nested.is_empty() {
                self.sections.push(Section::new(title.unwrap_or_default(), depth));
                self.headers(&headers);
            }
            let cell = |field: &&str| object.get(*field).map(plain).unwrap_or_default();
            self.row(headers.iter().map(cell).collect());
            for field in &nested {
                if let Some(value) = object.get(*field) {
                    self.add(Some(field), value, depth + 1);
                }
            }
        }
    }

    fn headers(&mut self, headers: &[&str]) {
        if let Some(section) = self.sections.last_mut() {
            section.headers = headers.iter().map(|header| printable::line(header).into_owned()).collect();
        }
    }

    /// A row of another width than those before begins a section without a title.
    fn row(&mut self, cells: Vec<String>) {
        let Some(last) = self.sections.last_mut() else { return };
        if last.count().is_none_or(|count| count == cells.len()) {
            last.rows.push(cells);
        } else {
            let mut next = Section::new("", last.depth);
            next.rows.push(cells);
            self.sections.push(next);
        }
    }

    fn width(&self) -> usize {
        self.sections.iter().map(Section::width).max().unwrap_or_default()
    }
}

struct Section {
    title: String,
    depth: usize,
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Section {
    fn new(title: &str, depth: usize) -> Self {
        Self { title: printable::line(title).into_owned(), depth, headers: Vec::new(), rows: Vec::new() }
    }

    fn count(&self) -> Option<usize> {
        self.rows.first().map(Vec::len).or_else(|| (!self.headers.is_empty()).then_some(self.headers.len()))
    }

    /// Fields of a single row under each other.
    fn turn(&mut self) {
        if let ([row], false) = (&self.rows[..], self.headers.is_empty()) {
            let fields = std::mem::take(&mut self.headers);
            self.rows = fields.into_iter().zip(row.clone()).map(|(field, cell)| vec![field, cell]).collect();
        }
    }

    /// The columns that each cell of a row needs.
    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.count().unwrap_or_default()];
        for row in self.rows.iter().chain(std::iter::once(&self.headers)) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        widths.into_iter().map(|width| width + CELL_PADDING).collect()
    }

    fn width(&self) -> usize {
        let cells = self.widths().iter().sum::<usize>() + BORDERS;
        cells.max(self.title.width() + BORDERS) + 2 * self.depth
    }

    /// The same, spread over all columns of the section: in proportion, what is left over or missing one by one.
    fn spread(&self, columns: usize) -> Vec<usize> {
        let mut widths = self.widths();
        let sum: usize = widths.iter().sum();
        if sum == 0 {
            return widths;
        }
        let scale = columns as f64 / sum as f64;
        widths.iter_mut().for_each(|width| *width = (scale * *width as f64).round_ties_even() as usize);
        let (count, total) = (widths.len(), widths.iter().sum::<usize>());
        for step in 0..total.saturating_sub(columns) {
            widths[step % count] = widths[step % count].saturating_sub(1);
        }
        for step in 0..columns.saturating_sub(total) {
            widths[count - 1 - step % count] += 1;
        }
        widths
    }

    fn draw(&self, columns: usize, paint: Paint, out: &mut String) {
        let bars = paint.bars(self.depth);
        let mut line = |text: String| out.push_str(&format!("{bars}{text}{bars}\n"));
        if !self.title.is_empty() {
            line(centred(&self.title, columns, "|"));
            if self.headers.is_empty() && self.rows.is_empty() {
                line(format!("+{}+", "-".repeat(columns.saturating_sub(BORDERS))));
            }
        }
        let widths = self.spread(columns);
        let rule = || {
            let dashes = |(index, width): (usize, &usize)| {
                let edges = if index == 0 { 2 } else { 1 };
                format!("{}{}+", if index == 0 { "+" } else { "" }, "-".repeat(width.saturating_sub(edges)))
            };
            widths.iter().enumerate().map(dashes).collect::<String>()
        };
        let cells = |row: &[String], cell: &dyn Fn(&str, usize, &str) -> String| {
            let edges = std::iter::once("|").chain(std::iter::repeat(""));
            row.iter()
                .zip(&widths)
                .zip(edges)
                .map(|((text, width), edge)| cell(text, *width, edge))
                .collect::<String>()
        };
        if !self.headers.is_empty() {
            line(rule());
            line(cells(&self.headers, &centred));
        }
        if !self.rows.is_empty() && !widths.is_empty() {
            line(rule());
            let cell = |text: &str, width, edge: &str| to_the_left(text, width, edge, paint);
            self.rows.iter().for_each(|row| line(cells(row, &cell)));
            line(rule());
        }
    }
}

/// A text in the middle of so many columns, edges included.
fn centred(text: &str, columns: usize, left: &str) -> String {
    let before = (columns / 2).saturating_sub(text.width() / 2).saturating_sub(1);
    let after = columns.saturating_sub(left.len() + before + text.width() + 1);
    format!("{left}{}{text}{}|", " ".repeat(before), " ".repeat(after))
}

fn to_the_left(text: &str, columns: usize, left: &str, paint: Paint) -> String {
    let before = if columns > text.width() + 2 + left.len() { 2 } else { 0 };
    let after = columns.saturating_sub(left.len() + before + text.width() + 1);
    format!("{left}{}{}{}|", " ".repeat(before), paint.cell(text), " ".repeat(after))
}

#[cfg(test)]
mod tests;
