//! The key policy: in sentences, as it is written, and to be changed. What is shown as it is written is so to the byte: copied
//! and saved for another key it is the same text.

mod sentences;

use maud::{Markup, html};
use rekeyfs::kms::Call;
use rekeyfs::printable;

use super::key_view::{KeyView, section as whole};
use super::layout::{alert, secret, text};
use crate::app::{Console, Refusal};
use crate::request::{Outcome, Page, Request};

const VIEW: &str = "Key policy";
const EDIT: &str = "Edit key policy";

pub(super) fn section(request: &Request, view: &KeyView) -> Markup {
    let content = html! {
        ul { @for sentence in sentences::told(&view.policy, view.key.key_id) { li { (text(&sentence)) } } }
        p.aside { "The policy is about the use of the key. The vault's owner and root manage it, whatever the policy says." }
        div.actions {
            a.button.quiet href=(request.url(&view.path("/policy"))) { "Switch to policy view" }
            @if view.changeable { a.button.quiet href=(request.url(&view.path("/policy/edit"))) { "Edit" } }
        }
    };
    whole("policy", "Key policy", &content)
}

/// Shows the policy as it is written.
pub(super) async fn show(console: &Console, request: &Request) -> Outcome {
    let view = KeyView::of(console, request.key()?).await?;
    let main = html! {
        (view.trail(request, VIEW))
        h1 { (VIEW) }
        section aria-label=(VIEW) {
            p { "Key: " strong { (view.name()) } }
            pre #policy-text tabindex="0" aria-label="Policy as JSON" { (printable::json(&view.policy)) }
            div.actions {
                @if view.changeable { a.button href=(request.url(&view.path("/policy/edit"))) { "Edit" } }
                button.quiet type="button" hidden data-copies="#policy-text" { "Copy" }
                a.button.quiet href=(request.url(&view.path(""))) { "Switch to default view" }
                span role="status" {}
            }
        }
    };
    Ok(Page::shown(view.place(), VIEW, main))
}

/// Asks for another one.
pub(super) async fn edit_form(console: &Console, request: &Request) -> Outcome {
    let view = KeyView::of(console, request.key()?).await?;
    if !view.changeable {
        return Err(Refusal::not_found());
    }
    let main = fields(request, &view, &view.policy, None);
    Ok(Page::shown(view.place(), EDIT, main))
}

/// Changes it.
pub(super) async fn edit(console: &Console, request: &Request) -> Outcome {
    let key = request.key()?;
    let policy = request.form.text("policy");
    let call = Call::PutKeyPolicy {
        key_id: key.to_string(),
        policy_name: None,
        policy: policy.to_owned(),
        bypass_policy_lockout_safety_check: false,
    };
    let Err(why) = console.kms(call).await else {
        return Ok(Page::done(format!("keys/{key}/policy"), "The key policy was saved."));
    };
    let view = KeyView::of(console, key).await?;
    let main = fields(request, &view, policy, Some(&why));
    Ok(Page::again(view.place(), EDIT, main, &why))
}

fn fields(request: &Request, view: &KeyView, policy: &str, why: Option<&Refusal>) -> Markup {
    html! {
        (view.trail(request, EDIT))
        h1 { (EDIT) }
        section aria-label=(EDIT) {
            p { "Key: " strong { (view.name()) } }
            form.fields.wide method="post" action=(request.url(&view.path("/policy/edit"))) {
                (secret(request))
                div {
                    label for="policy" { "Key policy" }
                    textarea.code #policy name="policy" rows="20" spellcheck="false" aria-invalid=[why.map(|_| "true")]
                        aria-describedby=[why.map(|_| "refusal")] {
                        "\n" (policy)
                    }
                    div #refusal { (alert(why)) }
                }
                div.actions {
                    button type="submit" { "Save changes" }
                    a.button.quiet href=(request.url(&view.path("/policy"))) { "Cancel" }
                }
            }
        }
    }
}
