//! A key: a section for each thing that can be seen and done. A form of the page that is refused is shown again on it, with
//! what was typed.

use maud::{Markup, html};
use rekeyfs::kms::Call;

use super::key_view::{Change, KeyView, Refused, section};
use super::layout::{self, alert, secret, text};
use super::{aliases, keys, policy, rotation, tags, usable, versions};
use crate::app::{Console, Refusal};
use crate::request::{Outcome, Page, Request};

/// Makes an alias.
pub(super) async fn create_alias(console: &Console, request: &Request) -> Outcome {
    change(console, request, "aliases", aliases::creation(request)).await
}

/// Switches automatic rotation on or off, or changes its period.
pub(super) async fn schedule_rotation(console: &Console, request: &Request) -> Outcome {
    let now = KeyView::of(console, request.key()?).await?.key.rotation_period_days;
    change(console, request, "rotation", rotation::schedule(request, now)).await
}

/// Rotates it.
pub(super) async fn rotate(console: &Console, request: &Request) -> Outcome {
    change(console, request, "rotate", rotation::now(request)).await
}

/// Adds a tag.
pub(super) async fn add_tag(console: &Console, request: &Request) -> Outcome {
    change(console, request, "tags", tags::added(request)).await
}

/// Removes a tag.
pub(super) async fn remove_tag(console: &Console, request: &Request) -> Outcome {
    change(console, request, "tags/remove", tags::removed(request)).await
}

/// Makes it usable.
pub(super) async fn enable(console: &Console, request: &Request) -> Outcome {
    change(console, request, "enable", usable::enabling(request)).await
}

/// Takes its deletion back.
pub(super) async fn cancel_deletion(console: &Console, request: &Request) -> Outcome {
    change(console, request, "deletion/cancel", usable::keeping(request)).await
}

/// Does what the form asks for, which has its name by its address.
async fn change(console: &Console, request: &Request, form: &str, asked: Result<Change, Refusal>) -> Outcome {
    let key = request.key()?;
    let done = match asked {
        Ok(Change { call: Some(call), notice }) => console.kms(call).await.map(|_| notice),
        Ok(Change { call: None, notice }) => Ok(notice),
        Err(why) => Err(why),
    };
    match done {
        Ok(notice) => Ok(Page::done(format!("keys/{key}"), notice)),
        Err(why) => refused(console, request, form, &why).await,
    }
}

/// The page with a form that was refused.
pub(super) async fn refused(console: &Console, request: &Request, form: &str, why: &Refusal) -> Outcome {
    let view = KeyView::of(console, request.key()?).await?;
    let main = sections(request, &view, Some(&Refused { form, why }));
    Ok(Page::again(view.place(), view.name(), main, why))
}

/// Shows a key.
pub(super) async fn show(console: &Console, request: &Request) -> Outcome {
    let view = KeyView::of(console, request.key()?).await?;
    let main = sections(request, &view, None);
    Ok(Page::shown(view.place(), view.name(), main))
}

fn sections(request: &Request, view: &KeyView, refused: Option<&Refused<'_>>) -> Markup {
    let name = view.name();
    html! {
        (layout::trail(request, &[if view.key.service_managed {
            (layout::SERVICE, "Service managed keys")
        } else {
            (layout::CUSTOMER, "Customer managed keys")
        }], &name))
        h1 { (name) }
        @if view.key.service_managed { p { "rekeyfs manages this key itself. Nothing of it can be changed here." } }
        (general(request, view))
        (aliases::section(request, view, refused))
        (policy::section(request, view))
        (rotation::section(request, view, refused))
        (versions::section(request, view, refused))
        (tags::section(request, view, refused))
        (usable::section(request, view, refused))
    }
}

fn general(request: &Request, view: &KeyView) -> Markup {
    let field = |name: &str| view.metadata[name].as_str().unwrap_or_default();
    let description = field("Description");
    let content = html! {
        dl {
            dt { "Key ID" } dd { code { (view.key.key_id) } }
            dt { "ARN" } dd { code { (text(field("Arn"))) } }
            dt { "Status" }
            dd {
                (keys::state(&view.key.state))
                @if let Some(at) = view.date("DeletionDate") { " It is deleted at " (at) "." }
            }
            dt { "Description" }
            dd {
                @if description.is_empty() { span.none { "none" } } @else { (text(description)) }
                @if view.changeable { " " a href=(request.url(&view.path("/description"))) { "Edit description" } }
            }
            dt { "Created" } dd { (view.date("CreationDate").unwrap_or_default()) }
            dt { "Origin" } dd { (text(field("Origin"))) }
            dt { "Usage" } dd { (text(field("KeyUsage"))) }
        }
    };
    section("general", "General configuration", &content)
}

/// Asks for a description.
pub(super) async fn describe_form(console: &Console, request: &Request) -> Outcome {
    let view = KeyView::of(console, request.key()?).await?;
    if !view.changeable {
        return Err(Refusal::not_found());
    }
    let now = view.metadata["Description"].as_str().unwrap_or_default();
    Ok(Page::shown(view.place(), DESCRIBE, description_fields(request, &view, now, None)))
}

/// Changes the description.
pub(super) async fn describe(console: &Console, request: &Request) -> Outcome {
    let key = request.key()?;
    let description = request.form.text("description").to_owned();
    let call = Call::UpdateKeyDescription { key_id: key.to_string(), description };
    let Err(why) = console.kms(call).await else {
        return Ok(Page::done(format!("keys/{key}"), "The description was changed."));
    };
    let view = KeyView::of(console, key).await?;
    let main = description_fields(request, &view, request.form.text("description"), Some(&why));
    Ok(Page::again(view.place(), DESCRIBE, main, &why))
}

const DESCRIBE: &str = "Edit description";

fn description_fields(request: &Request, view: &KeyView, now: &str, why: Option<&Refusal>) -> Markup {
    html! {
        (view.trail(request, DESCRIBE))
        h1 { (DESCRIBE) }
        section aria-label=(DESCRIBE) {
            (alert(why))
            form.fields method="post" action=(request.url(&view.path("/description"))) {
                (secret(request))
                div {
                    label for="description" { "Description" }
                    textarea #description name="description" rows="3" { "\n" (now) }
                }
                div.actions {
                    button type="submit" { "Save changes" }
                    a.button.quiet href=(request.url(&view.path(""))) { "Cancel" }
                }
            }
        }
    }
}
