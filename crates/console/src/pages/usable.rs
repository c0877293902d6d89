//! Whether a key can be used: disabling and enabling it, scheduling its deletion and taking that back, removing imported
//! material. What takes files away is asked for first.

use maud::{Markup, html};
use rekeyfs::kms::Call;
use rekeyfs::printable;

use super::key_view::{Change, KeyView, Refused, section as whole};
use super::keys;
use super::layout::{alert, secret, text, time};
use super::question::Question;
use crate::app::{Console, Refusal};
use crate::request::{Outcome, Page, Request};

/// Days until a key is deleted where nothing else is said, as AWS has it.
const USUAL_DAYS: &str = "30";

pub(super) fn section(request: &Request, view: &KeyView, refused: Option<&Refused<'_>>) -> Markup {
    let refused = refused.filter(|refused| matches!(refused.form, "enable" | "deletion/cancel"));
    let state = view.key.state.as_str();
    let pending = view.status.pending_deletions.iter().find(|pending| pending.key_id == view.key.key_id);
    let asks = |below: &str, name: &str| {
        html! { form method="get" action=(request.url(&view.path(below))) { button.quiet type="submit" { (name) } } }
    };
    let does = |below: &str, name: &str| {
        html! {
            form method="post" action=(request.url(&view.path(below))) {
                (secret(request))
                button type="submit" { (name) }
            }
        }
    };
    let content = html! {
        p { (keys::state(state)) " " @if !view.key.service_managed { (meaning(state)) } }
        @if let Some(pending) = pending {
            p {
                "It is deleted at " (time(&pending.date)) "."
                @if let Some(why) = &pending.blocked { " That is held up: " (text(why)) "." }
            }
        }
        @if view.changeable {
            (alert(refused.map(|refused| refused.why)))
            div.actions {
                @if state == "PendingDeletion" {
                    (does("/deletion/cancel", "Cancel key deletion"))
                } @else {
                    @if state == "Enabled" { (asks("/disable", "Disable key")) }
                    @if state == "Disabled" { (does("/enable", "Enable key")) }
                    (asks("/deletion", "Schedule key deletion"))
                    @if has_material(view) { (asks("/material", "Delete key material")) }
                }
            }
        }
    };
    whole("status", "Status", &content)
}

/// What a state means for files.
fn meaning(state: &str) -> &'static str {
    match state {
        "Enabled" => "Files can be created, written and read under this key.",
        "PendingDeletion" => "No file under this key can be opened. The key can be kept until it is deleted.",
        "PendingImport" => "No file can be opened under this key until its key material is imported.",
        _ => "No file under this key can be opened.",
    }
}

/// Whether there is imported material that could be deleted.
fn has_material(view: &KeyView) -> bool {
    view.metadata["Origin"] == "EXTERNAL" && view.key.versions.iter().any(|version| version.has_material)
}

/// Makes the key usable.
///
/// # Errors
/// The request names no key.
pub(super) fn enabling(request: &Request) -> Result<Change, Refusal> {
    let call = Call::EnableKey { key_id: request.key()?.to_string() };
    Ok(Change { call: Some(call), notice: "The key is enabled: its files can be used again.".to_owned() })
}

/// Takes a deletion back.
///
/// # Errors
/// The request names no key.
pub(super) fn keeping(request: &Request) -> Result<Change, Refusal> {
    let call = Call::CancelKeyDeletion { key_id: request.key()?.to_string() };
    Ok(Change {
        call: Some(call),
        notice: "The key will not be deleted. It is disabled: enable it to use its files.".to_owned(),
    })
}

/// Asks whether the key is to be disabled.
pub(super) async fn disable_form(console: &Console, request: &Request) -> Outcome {
    ask(console, request, disabling).await
}

/// Disables it.
pub(super) async fn disable(console: &Console, request: &Request) -> Outcome {
    let call = Call::DisableKey { key_id: request.key()?.to_string() };
    let notice = "The key is disabled: its files can't be opened until it is enabled.";
    answer(console, request, disabling, call, notice).await
}

/// Asks whether the key is to be deleted, and when.
pub(super) async fn deletion_form(console: &Console, request: &Request) -> Outcome {
    ask(console, request, deleting).await
}

/// Schedules its deletion. The daemon counts the files first.
pub(super) async fn schedule_deletion(console: &Console, request: &Request) -> Outcome {
    let call = Call::ScheduleKeyDeletion {
        key_id: request.key()?.to_string(),
        // What is no number is out of its range.
        pending_window_in_days: Some(
            request.form.word("days").and_then(|days| days.parse().ok()).unwrap_or(0),
        ),
        force: None,
    };
    let notice = "The deletion of the key is scheduled. Until then it can be cancelled here.";
    answer(console, request, deleting, call, notice).await
}

/// Asks whether imported material is to be deleted.
pub(super) async fn material_form(console: &Console, request: &Request) -> Outcome {
    ask(console, request, forgetting).await
}

/// Deletes it.
pub(super) async fn delete_material(console: &Console, request: &Request) -> Outcome {
    let call = Call::DeleteImportedKeyMaterial { key_id: request.key()?.to_string(), key_material_id: None };
    let notice =
        "The key material was deleted. Its files can be used once the same material is imported again.";
    answer(console, request, forgetting, call, notice).await
}

type Asks = fn(&Request, &KeyView) -> Question;

async fn ask(console: &Console, request: &Request, question: Asks) -> Outcome {
    let view = KeyView::of(console, request.key()?).await?;
    if !view.changeable {
        return Err(Refusal::not_found());
    }
    let question = question(request, &view);
    Ok(Page::shown(view.place(), question.title, question.asked(request, &view, None)))
}

async fn answer(console: &Console, request: &Request, question: Asks, call: Call, notice: &str) -> Outcome {
    let key = request.key()?;
    let Err(why) = console.kms(call).await else {
        return Ok(Page::done(format!("keys/{key}"), notice));
    };
    let view = KeyView::of(console, key).await?;
    let question = question(request, &view);
    let main = question.asked(request, &view, Some(&why));
    Ok(Page::again(view.place(), question.title, main, &why))
}

fn disabling(_: &Request, view: &KeyView) -> Question {
    Question {
        title: "Disable key",
        consequences: html! {
            p {
                (view.files()) ". While the key is disabled, files under it can't be opened or created. Enabling it brings them "
                "back."
            }
        },
        path: "/disable",
        fields: html! {},
        button: "Disable key",
    }
}

fn deleting(request: &Request, view: &KeyView) -> Question {
    let days = request.form.get("days").unwrap_or(USUAL_DAYS);
    Question {
        title: "Schedule key deletion",
        consequences: html! {
            p {
                (view.files()) ". Until the key is deleted, files under it can't be opened, and after that never again. So all "
                "files are counted first, which takes a while in a large vault, and the deletion is refused if one needs the key."
            }
            p {
                "A key that encrypted data outside of files, or that files need, is deleted only with an unlock secret, which "
                "no browser is asked for: "
                code {
                    "rekeyfs kms schedule-key-deletion --key-id " (view.key.key_id)
                    " --vault " (printable::shell(view.status.vault.as_path())) " --force"
                }
            }
        },
        path: "/deletion",
        fields: html! {
            div {
                label for="days" { "Waiting period (days)" }
                input #days type="number" name="days" value=(days) aria-describedby="days-help";
                p.help #days-help { "7 to 30 days, in which the deletion can be cancelled" }
            }
        },
        button: "Schedule key deletion",
    }
}

fn forgetting(_: &Request, view: &KeyView) -> Question {
    Question {
        title: "Delete key material",
        consequences: html! {
            p {
                (view.files()) ". Files under it can't be opened until the same key material is imported again, which rekeyfs "
                "keeps nowhere else."
            }
        },
        path: "/material",
        fields: html! {},
        button: "Delete key material",
    }
}
