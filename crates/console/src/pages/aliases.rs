//! The aliases of a key: new ones, pointing one at another key, removing one.

use hyper::StatusCode;
use maud::{Markup, html};
use rekeyfs::ids::AliasName;
use rekeyfs::kms::Call;
use rekeyfs::service::KeyStatus;

use super::key_view::{Change, KeyView, Refused, section as whole};
use super::keys::{self, AliasNames};
use super::layout::{self, alert, secret, text};
use super::question::Question;
use crate::app::{Console, Refusal};
use crate::form::with_query;
use crate::request::{Outcome, Page, Request};

/// An alias as it was typed, with its prefix or without.
///
/// # Errors
/// It can't be one, or is one that users may not make.
pub(super) fn own_name(typed: &str) -> Result<String, Refusal> {
    let prefix = AliasName::PREFIX;
    let whole = if typed.starts_with(prefix) { typed.to_owned() } else { format!("{prefix}{typed}") };
    let refusal = |message: &str| Refusal::new(StatusCode::BAD_REQUEST, message);
    let name: AliasName = whole.parse().map_err(|_| {
        refusal("An alias has letters, digits, / _ and -, and at most 256 characters with its prefix alias/.")
    })?;
    if name.is_reserved() {
        return Err(refusal("Names that begin with alias/aws/ or alias/rekeyfs/ are reserved."));
    }
    Ok(name.to_string())
}

pub(super) fn section(request: &Request, view: &KeyView, refused: Option<&Refused<'_>>) -> Markup {
    let names: Vec<&str> = view.aliases.iter().filter_map(|alias| alias["AliasName"].as_str()).collect();
    let refused = refused.filter(|refused| refused.form == "aliases");
    let content = html! {
        @if names.is_empty() {
            p.none { "This key has no alias." }
        } @else {
            (layout::table("Aliases", &layout::with_actions(vec!["Alias"], view.changeable), &html! {
                @for name in names { (row(request, view, name)) }
            }))
        }
        @if view.changeable {
            h3 { "Create alias" }
            (alert(refused.map(|refused| refused.why)))
            form.fields method="post" action=(request.url(&view.path("/aliases"))) {
                (secret(request))
                div {
                    label for="alias-name" { "Alias name" }
                    input #alias-name name="name" value=(if refused.is_some() { request.form.text("name") } else { "" })
                        autocomplete="off" spellcheck="false" required;
                }
                div { button type="submit" { "Create alias" } }
            }
        }
    };
    whole("aliases", "Aliases", &content)
}

fn row(request: &Request, view: &KeyView, name: &str) -> Markup {
    let page = |below: &str| request.url(&with_query(&view.path(below), [("alias", name)]));
    let shown = layout::alias(name);
    html! {
        tr {
            td { (shown) }
            @if view.changeable {
                td {
                    div.links {
                        a href=(page("/aliases/move")) aria-label={ "Point elsewhere: " (shown) } { "Point elsewhere" }
                        " "
                        a href=(page("/aliases/delete")) aria-label={ "Delete: " (shown) } { "Delete" }
                    }
                }
            }
        }
    }
}

/// The alias that a form asks for.
///
/// # Errors
/// It can't be one.
pub(super) fn creation(request: &Request) -> Result<Change, Refusal> {
    let alias_name = own_name(request.form.text("name").trim())?;
    let notice = format!("{alias_name} points at this key now.");
    Ok(Change {
        call: Some(Call::CreateAlias { alias_name, target_key_id: request.key()?.to_string() }),
        notice,
    })
}

/// Asks where an alias is to point.
pub(super) async fn move_form(console: &Console, request: &Request) -> Outcome {
    let (view, alias) = of_key(console, request, request.query.text("alias")).await?;
    let main = move_fields(request, &view, &alias, "", None);
    Ok(Page::shown(view.place(), MOVE, main))
}

/// Points one at another key.
pub(super) async fn move_to(console: &Console, request: &Request) -> Outcome {
    let (_, alias) = of_key(console, request, request.form.text("alias")).await?;
    let target = request.form.text("key").to_owned();
    let notice = format!("{alias} points at the key {target} now. Files are re-wrapped as they are used.");
    let call = Call::UpdateAlias { alias_name: alias, target_key_id: target };
    let Err(why) = console.kms(call).await else {
        return Ok(Page::done(format!("keys/{}", request.key()?), notice));
    };
    let (view, alias) = of_key(console, request, request.form.text("alias")).await?;
    let main = move_fields(request, &view, &alias, request.form.text("key"), Some(&why));
    Ok(Page::again(view.place(), MOVE, main, &why))
}

/// Asks whether one is to be removed.
pub(super) async fn delete_form(console: &Console, request: &Request) -> Outcome {
    let (view, alias) = of_key(console, request, request.query.text("alias")).await?;
    Ok(Page::shown(view.place(), DELETE, delete_question(request, &view, &alias, None)))
}

/// Removes one.
pub(super) async fn delete(console: &Console, request: &Request) -> Outcome {
    let (_, alias_name) = of_key(console, request, request.form.text("alias")).await?;
    let notice = format!("{alias_name} was deleted.");
    let Err(why) = console.kms(Call::DeleteAlias { alias_name }).await else {
        return Ok(Page::done(format!("keys/{}", request.key()?), notice));
    };
    let (view, alias) = of_key(console, request, request.form.text("alias")).await?;
    let main = delete_question(request, &view, &alias, Some(&why));
    Ok(Page::again(view.place(), DELETE, main, &why))
}

const MOVE: &str = "Point alias elsewhere";
const DELETE: &str = "Delete alias";

/// The key with an alias that is its own. Before something is done it is asked for again: since the page was shown, the alias may
/// have been pointed at another key, of whose files the page said nothing.
async fn of_key(console: &Console, request: &Request, alias: &str) -> Result<(KeyView, String), Refusal> {
    let view = KeyView::of(console, request.key()?).await?;
    if !view.changeable {
        return Err(Refusal::not_found());
    }
    if !view.aliases.iter().any(|known| known["AliasName"] == alias) {
        let message = format!("{alias} doesn't point at this key, or not any more. Nothing was changed.");
        return Err(Refusal::new(StatusCode::NOT_FOUND, message));
    }
    Ok((view, alias.to_owned()))
}

fn move_fields(
    request: &Request,
    view: &KeyView,
    alias: &str,
    chosen: &str,
    why: Option<&Refusal>,
) -> Markup {
    let others = view.status.keys.iter().filter(|key| !key.service_managed && key.key_id != view.key.key_id);
    let (files, names) = (view.files(), AliasNames::of(&view.status));
    html! {
        (view.trail(request, MOVE))
        h1 { (MOVE) }
        section aria-label=(MOVE) {
            (alert(why))
            p {
                "New files under " strong { (layout::alias(alias)) } " will use the key that it points at. Existing files keep their key until "
                "they are used next or re-wrapped: " (files) "."
            }
            form.fields method="post" action=(request.url(&view.path("/aliases/move"))) {
                (secret(request))
                input type="hidden" name="alias" value=(alias);
                div {
                    label for="key" { "Key" }
                    select #key name="key" required {
                        @for other in others {
                            @let id = other.key_id.to_string();
                            option value=(id) selected[id == chosen] { (choice(names.of_key(other.key_id), other)) }
                        }
                    }
                }
                div.actions {
                    button type="submit" { "Point alias at key" }
                    a.button.quiet href=(request.url(&view.path(""))) { "Cancel" }
                }
            }
        }
    }
}

/// A key in a list to choose from.
fn choice(names: &[&str], key: &KeyStatus) -> String {
    let names: Vec<_> = names.iter().map(|name| layout::alias(name)).collect();
    let known = if names.is_empty() { key.description.clone() } else { names.join(", ") };
    let id = key.key_id.to_string();
    let named = if known.is_empty() { id } else { format!("{known} ({id})") };
    let state =
        if key.state == "Enabled" { String::new() } else { format!(", {}", keys::state_name(&key.state)) };
    text(&format!("{named}{state}")).into_owned()
}

fn delete_question(request: &Request, view: &KeyView, alias: &str, why: Option<&Refusal>) -> Markup {
    let question = Question {
        title: DELETE,
        consequences: html! {
            p {
                "This removes the name " strong { (layout::alias(alias)) } " and no key. " (view.files())
                ". Files stay readable. In directories that are under this alias no files can be created until there is an "
                "alias of this name again."
            }
        },
        path: "/aliases/delete",
        fields: html! { input type="hidden" name="alias" value=(alias); },
        button: "Delete alias",
    };
    question.asked(request, view, why)
}
