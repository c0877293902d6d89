//! What all pages have around them: title, navigation, the message of what was done. And the parts of which they are made.

use maud::{DOCTYPE, Markup, html};
use rekeyfs::ids::AliasName;
use rekeyfs::local_time;
use rekeyfs::printable;

use crate::app::{Console, Refusal};
use crate::assets;
use crate::request::{Request, Shown};

pub(crate) const CUSTOMER: &str = "keys";
pub(crate) const SERVICE: &str = "keys?managed=service";
pub(crate) const ACTIVITY: &str = "activity";
pub(crate) const VAULT: &str = "vault";

/// The navigation: paths and names.
const NAVIGATION: [(&str, &str); 4] = [
    (CUSTOMER, "Customer managed keys"),
    (SERVICE, "Service managed keys"),
    (ACTIVITY, "Activity"),
    (VAULT, "Vault"),
];

/// A whole document.
pub(crate) fn document(console: &Console, request: &Request, shown: &Shown) -> Markup {
    let notice = console.sessions.take_notice();
    let inside = html! {
        a.skip href="#main" { "Skip to content" }
        header {
            p.brand { strong { "rekeyfs" } " " span { (text(&console.name)) } }
            @if console.read_only { p.read-only { "Read-only: nothing can be changed here" } }
            nav aria-label="Main" {
                ul {
                    @for (path, name) in NAVIGATION {
                        li {
                            a href=(request.url(path)) aria-current=[(path == shown.place).then_some("page")] { (name) }
                        }
                    }
                    li {
                        form method="post" action=(request.url("sign-out")) {
                            (secret(request))
                            button.quiet type="submit" { "Sign out" }
                        }
                    }
                }
            }
        }
        main #main tabindex="-1" {
            div.notice role="status" { @if let Some(notice) = notice { p { (text(&notice)) } } }
            (shown.main)
        }
    };
    whole(&format!("{} – {}", text(&shown.title), text(&console.name)), &inside)
}

/// A document outside any session.
pub(crate) fn plain(title: &str, sentence: &str) -> Markup {
    whole(title, &html! { main #main { h1 { (title) } p role="alert" { (sentence) } } })
}

fn whole(title: &str, inside: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – rekeyfs" }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.path);
                link rel="stylesheet" href=(assets::STYLE.path);
                script src=(assets::SCRIPT.path) defer {}
            }
            body { (inside) }
        }
    }
}

/// A text that others wrote, on one line: what would show another text than the one it is, is escaped.
pub(crate) fn text(text: &str) -> std::borrow::Cow<'_, str> {
    printable::line(text)
}

/// The way to a page: those above it, and its own name.
pub(crate) fn trail(request: &Request, above: &[(&str, &str)], here: &str) -> Markup {
    html! {
        nav.trail aria-label="Breadcrumb" {
            ol {
                @for (path, name) in above { li { a href=(request.url(path)) { (text(name)) } } }
                li aria-current="page" { (text(here)) }
            }
        }
    }
}

/// An alias as people call it: without the prefix that all have.
pub(crate) fn alias(name: &str) -> std::borrow::Cow<'_, str> {
    text(name.strip_prefix(AliasName::PREFIX).unwrap_or(name))
}

/// A table, which scrolls by itself where it is wider than the page.
pub(crate) fn table(name: &str, columns: &[&str], rows: &Markup) -> Markup {
    html! {
        div.scroll role="group" aria-label={ (name) ", table" } tabindex="0" {
            table aria-label=(name) {
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// The columns of a table whose last one is what can be done, if anything can.
pub(crate) fn with_actions(mut columns: Vec<&str>, changeable: bool) -> Vec<&str> {
    if changeable {
        columns.push("Actions");
    }
    columns
}

/// What each form carries.
pub(crate) fn secret(request: &Request) -> Markup {
    html! { input type="hidden" name=(SECRET) value=(request.form_secret()); }
}

/// The name of the field.
pub(crate) const SECRET: &str = "csrf";

/// Why a form was refused, beside it.
pub(crate) fn alert(refusal: Option<&Refusal>) -> Markup {
    html! {
        @if let Some(refusal) = refusal {
            div.alert role="alert" {
                p { (text(&refusal.message)) }
                @if !refusal.files.is_empty() {
                    ul { @for file in &refusal.files { li { (text(file)) } } }
                }
            }
        }
    }
}

/// A time as the operations write it, in this host's zone. One of the event log may be any text.
pub(crate) fn time(at: &str) -> Markup {
    html! { time datetime=(text(at)) { (text(&local_time::reworded(at, &local_time::zone()))) } }
}

#[cfg(test)]
mod tests;
