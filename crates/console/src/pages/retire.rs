//! The end of old versions of a key: retired, they open no file until they are restored; trimmed, never again. The daemon counts
//! the files before, and what it refuses is shown beside the form.

use hyper::StatusCode;
use maud::html;
use rekeyfs::ids::KeyVersion;
use rekeyfs::monitor::Monitor;
use rekeyfs::printable::counted;
use rekeyfs::service::{Operations, Retire, RetireReport, Retirement};

use super::chart;
use super::key;
use super::key_view::KeyView;
use super::question::Question;
use super::versions::{Row, rows};
use crate::app::{Console, Refusal};
use crate::request::{Outcome, Page, Request};

/// What the end of versions means for copies.
const COPIES: &str = "Copies of the vault whose files were not copied again since they were re-wrapped can't be opened with \
    this vault's keys afterwards.";

/// Asks whether versions are to be retired.
pub(super) async fn retire_form(console: &Console, request: &Request) -> Outcome {
    ask(console, request, Retirement::Retire, None).await
}

/// Retires versions.
pub(super) async fn retire(console: &Console, request: &Request) -> Outcome {
    end(console, request, Retirement::Retire).await
}

/// Asks whether versions are to be trimmed.
pub(super) async fn trim_form(console: &Console, request: &Request) -> Outcome {
    ask(console, request, Retirement::Trim, None).await
}

/// Trims versions.
pub(super) async fn trim(console: &Console, request: &Request) -> Outcome {
    end(console, request, Retirement::Trim).await
}

async fn ask(console: &Console, request: &Request, what: Retirement, why: Option<&Refusal>) -> Outcome {
    let view = KeyView::of(console, request.key()?).await?;
    if !view.changeable {
        return Err(Refusal::not_found());
    }
    let question = question(request, &view, what);
    let main = question.asked(request, &view, why);
    Ok(match why {
        None => Page::shown(view.place(), question.title, main),
        Some(why) => Page::again(view.place(), question.title, main, why),
    })
}

fn question(request: &Request, view: &KeyView, what: Retirement) -> Question {
    let current = view.key.current;
    let of_key = |row: &&Row| row.version < current && row.files > 0;
    let (rows, _) = rows(view);
    let old: Vec<&Row> = rows.iter().filter(of_key).collect();
    let sum = old.iter().map(|row| row.files).sum::<u64>();
    let (title, path, button, does) = match what {
        Retirement::Trim => (
            "Trim versions",
            "/versions/trim",
            "Trim versions",
            "The versions open no file any more, and their material is deleted for good: only an older keyring or key backup has it then.",
        ),
        Retirement::Retire | Retirement::Restore => (
            "Retire versions",
            "/versions/retire",
            "Retire versions",
            "The versions open no file any more, until they are restored.",
        ),
    };
    let typed = request.form.get("below").map(str::to_owned).unwrap_or_else(|| current.to_string());
    Question {
        title,
        consequences: html! {
            p { (does) " It is refused while files need one of them; the daemon counts all files before." }
            p {
                @if old.is_empty() { "As far as is known, no file is under a version before " (current) "." }
                @else { (chart::files(sum)) " under versions before " (current) ":" }
            }
            @if !old.is_empty() {
                ul { @for row in &old { li { "version " (row.version) ": " (chart::files(row.files)) } } }
            }
            p { (COPIES) }
        },
        path,
        fields: html! {
            div {
                label for="below" { "Versions before" }
                input #below type="number" name="below" min="2" max=(current) value=(typed) required
                    aria-describedby="below-help";
                p.help #below-help { "The current version, " (current) ", stays in use." }
            }
        },
        button,
    }
}

async fn end(console: &Console, request: &Request, what: Retirement) -> Outcome {
    let below = request.form.text("below").trim().parse().map(KeyVersion).map_err(|_| {
        let message = format!("Versions before: {:?} is no number of a version", request.form.text("below"));
        Refusal::new(StatusCode::BAD_REQUEST, message)
    });
    let done = match below {
        Ok(below) => carry_out(console, request, below, what).await.map(|report| (below, report)),
        Err(why) => Err(why),
    };
    match done {
        Ok((_, report)) => {
            let trimmed = match (what, report.trimmed) {
                (Retirement::Trim, n) => {
                    format!("; of {} the material was deleted", counted(n, "version", "versions"))
                }
                _ => String::new(),
            };
            let notice = format!("Versions before {} are retired{trimmed}.", report.min_decryption);
            Ok(Page::done(format!("keys/{}#versions", request.key()?), notice))
        }
        Err(why) => ask(console, request, what, Some(&why)).await,
    }
}

/// Restores all retired versions.
pub(super) async fn restore(console: &Console, request: &Request) -> Outcome {
    let view = KeyView::of(console, request.key()?).await?;
    match carry_out(console, request, view.key.min_decryption, Retirement::Restore).await {
        Ok(report) => {
            let lost = match report.lost {
                0 => String::new(),
                n => format!("; {} without material, which was trimmed", counted(n, "is", "are")),
            };
            Ok(Page::done(
                format!("keys/{}#versions", request.key()?),
                format!("The versions are open again{lost}."),
            ))
        }
        Err(why) => key::refused(console, request, "versions/restore", &why).await,
    }
}

async fn carry_out(
    console: &Console,
    request: &Request,
    below: KeyVersion,
    what: Retirement,
) -> Result<RetireReport, Refusal> {
    let key_id = request.key()?.to_string();
    let order = Retire { key_id, below, what, force: None, copies: Vec::new() };
    console.ask(move |client| client.retire(&order, &mut Monitor::unattended())).await
}
