//! A page that asks before something is done that takes files away from their users: what it will do, in files, and of when
//! their number is.

use maud::{Markup, html};

use super::key_view::KeyView;
use super::keys;
use super::layout::{alert, secret};
use crate::app::Refusal;
use crate::request::Request;

/// What is asked.
pub(super) struct Question {
    pub(super) title: &'static str,
    /// What it will do.
    pub(super) consequences: Markup,
    /// Where the answer goes, below the key's page.
    pub(super) path: &'static str,
    /// What else is to be told.
    pub(super) fields: Markup,
    /// What the button says: the action.
    pub(super) button: &'static str,
}

impl Question {
    /// The page, after a refusal with the reason.
    pub(super) fn asked(&self, request: &Request, view: &KeyView, why: Option<&Refusal>) -> Markup {
        html! {
            (view.trail(request, self.title))
            h1 { (self.title) }
            section aria-label=(self.title) {
                (alert(why))
                p { "Key: " strong { (view.name()) } }
                (self.consequences)
                p.aside { (keys::counted_at(&view.status)) }
                form.fields method="post" action=(request.url(&view.path(self.path))) {
                    (secret(request))
                    (self.fields)
                    div.actions {
                        button.danger type="submit" { (self.button) }
                        a.button.quiet href=(request.url(&view.path(""))) { "Cancel" }
                    }
                }
            }
        }
    }
}
