//! A key's versions: what each is, and how many files it wraps; what work on all files is under way, and the forms for what can be
//! done. What they lead to is in work.rs and retire.rs.

use maud::{Markup, html};
use rekeyfs::ids::KeyVersion;
use rekeyfs::printable::counted;
use rekeyfs::service::{KeyVersionStatus, VersionState};

use super::chart;
use super::key_view::{self, KeyView, Refused};
use super::keys;
use super::layout::{self, alert, secret, time};
use crate::jobs::{Job, State};
use crate::request::Request;

/// Versions of a table: the newest, and all that have files. A key may have thousands.
const SHOWN: usize = 100;

/// A line of the table.
pub(super) struct Row {
    pub(super) version: KeyVersion,
    /// None for a version that files name and the keyring doesn't have.
    known: Option<KeyVersionStatus>,
    state: Option<VersionState>,
    pub(super) files: u64,
}

/// The versions, newest first, and how many are left out.
pub(super) fn rows(view: &KeyView) -> (Vec<Row>, usize) {
    let of_key = || view.status.versions.iter().filter(|seen| seen.key_id == view.key.key_id);
    let files = |version| of_key().filter(|seen| seen.version == version).map(|seen| seen.files).sum();
    let known = view.key.versions.iter().map(|known| Row {
        version: known.version,
        known: Some(known.clone()),
        state: known.state,
        files: files(known.version),
    });
    let is_known = |version| view.key.versions.iter().any(|known| known.version == version);
    let unknown = of_key().filter(|seen| !is_known(seen.version)).map(|seen| Row {
        version: seen.version,
        known: None,
        state: seen.state,
        files: seen.files,
    });
    let mut rows: Vec<Row> = known.chain(unknown).collect();
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.version));
    let all = rows.len();
    let mut place = 0..;
    rows.retain(|row| place.next().is_some_and(|at| at < SHOWN) || row.files > 0);
    let left_out = all - rows.len();
    (rows, left_out)
}

/// The section of a key's page.
pub(super) fn section(request: &Request, view: &KeyView, refused: Option<&Refused<'_>>) -> Markup {
    let (rows, left_out) = rows(view);
    let most = rows.iter().map(|row| row.files).max().unwrap_or_default();
    let running = view.job.as_ref().filter(|job| job.is_running());
    let why = refused.filter(|refused| FORMS.contains(&refused.form)).map(|refused| refused.why);
    let typed = refused.filter(|refused| refused.form == "rewrap").map(|_| request.form.text("rate"));
    let content = html! {
        (alert(why))
        (layout::table("Key versions", &["Version", "Created", "State", "Files"], &html! {
            @for row in &rows { (line(row, most)) }
        }))
        @if left_out > 0 {
            p.aside { (counted(left_out as u64, "older version", "older versions")) " without files not shown." }
        }
        @for lost in &view.key.lost {
            p.aside { "Versions " (lost) " were in a newer keyring that isn't there any more." }
        }
        p.aside { (keys::counted_at(&view.status)) }
        @if let Some(job) = &view.job { (told(request, view, job)) }
        @if view.changeable && running.is_none() {
            div.actions {
                (action(request, view, "count", "Count files"))
                @if view.key.current > KeyVersion(1) {
                    a.button.quiet href=(request.url(&view.path("/versions/retire"))) { "Retire…" }
                    @if view.key.min_decryption > KeyVersion(1) { (action(request, view, "versions/restore", "Restore")) }
                    a.button.quiet href=(request.url(&view.path("/versions/trim"))) { "Trim…" }
                }
            }
            form.fields method="post" action=(request.url(&view.path("/rewrap"))) {
                (secret(request))
                div {
                    label for="rate" { "Files a second, at most (optional)" }
                    input #rate type="number" name="rate" min="1" max=(u32::MAX) value=[typed] aria-describedby="rate-help";
                    p.help #rate-help {
                        "To re-wrap moves the files of the whole vault to where they belong: to the current versions of their keys."
                    }
                }
                div.actions { button.quiet type="submit" { "Re-wrap files" } }
            }
        }
    };
    key_view::section("versions", "Versions", &content)
}

/// The forms of the section, by the end of their addresses.
const FORMS: [&str; 4] = ["count", "rewrap", "stop", "versions/restore"];

fn line(row: &Row, most: u64) -> Markup {
    let state = row.state.map_or_else(|| "unknown".to_owned(), |state| state.to_string());
    let class = match row.state {
        Some(VersionState::Current) => "good",
        Some(VersionState::Old) => "off",
        _ => "bad",
    };
    html! {
        tr {
            td { (row.version) }
            td {
                @match &row.known {
                    Some(known) => (time(&known.created)),
                    None => span.none { "not in the keyring" },
                }
            }
            td {
                span class={ "state " (class) } { (state) }
                @if let Some(at) = row.known.as_ref().and_then(|known| known.expires.as_ref()) {
                    span.line { "Material expires " (time(at)) }
                }
            }
            td.files { span.line { (chart::files(row.files)) } (chart::bar(row.files, most)) }
        }
    }
}

fn action(request: &Request, view: &KeyView, form: &str, name: &str) -> Markup {
    html! {
        form method="post" action=(request.url(&view.path(&format!("/{form}")))) {
            (secret(request))
            button.quiet type="submit" { (name) }
        }
    }
}

/// The work that is under way, or what came of the last.
fn told(request: &Request, view: &KeyView, job: &Job) -> Markup {
    let name = job.work.name();
    match job.state() {
        State::Running(progress) => html! {
            div.job data-job=(request.url(&format!("jobs?id={}", job.id))) data-page=(request.url(&view.path(""))) {
                p { strong { (name) " under way" } }
                progress aria-label=(name) value=[progress.total.map(|_| progress.seen)]
                    max=[progress.total.map(|total| total.max(progress.seen).max(1))] {}
                p role="status" { (job.work.told(&progress)) }
                div.actions {
                    @if view.changeable { (action(request, view, "stop", "Stop")) }
                    a.button.quiet href=(request.url(&view.path(""))) { "Reload" }
                }
            }
        },
        State::Done(told, at) => {
            html! { p.aside { "Last: " (name) ", " (time(&at.to_string())) ": " (told) "." } }
        }
        State::Failed(why, at) => html! {
            p.aside { "Last: " (name) ", " (time(&at.to_string())) ":" }
            (alert(Some(&why.into())))
        },
    }
}
