//! What others wrote is text in every part of a page.

use std::path::Path;
use std::time::Instant;

use hyper::StatusCode;
use rekeyfs::console::ServePages;
use rekeyfs::control::VaultLocation;
use rekeyfs::ids::{PathText, VaultId};

use super::*;
use crate::form::Form;
use crate::session::Sessions;

const HOSTILE: &str = "\"><script>alert('x')</script>&amp;\u{202e}\x1b[31m\n";
const SHOWN: &str = "&quot;&gt;&lt;script&gt;alert('x')&lt;/script&gt;&amp;amp;\\u{202e}\\u{1b}[31m\\n";

fn console(read_only: bool) -> (Console, Request) {
    let location = VaultLocation { vault_id: VaultId::random(), dev: 1, ino: 1 };
    let vault = PathText(Path::new(HOSTILE).to_owned());
    let serve = ServePages { location, owner: 0, vault, listen: "127.0.0.1:0".parse().unwrap(), read_only };
    let now = Instant::now();
    let (sessions, token) = Sessions::begin(now);
    let opened = sessions.login(token.text(), now).ok().unwrap();
    let visit = sessions.enter(opened.path.text(), [opened.cookie.text()].into_iter(), now).unwrap();
    (Console::of(&serve, sessions), Request::new(visit, None, Form::default(), Form::default()))
}

fn shown(console: &Console, request: &Request) -> String {
    let refusal =
        Refusal { files: vec![HOSTILE.to_owned()], ..Refusal::new(StatusCode::BAD_REQUEST, HOSTILE) };
    let rows = html! { tr { td { (text(HOSTILE)) } } };
    let main = html! {
        (trail(request, &[("keys", HOSTILE)], HOSTILE))
        (alert(Some(&refusal)))
        (table("Keys", &["Alias"], &rows))
        (alias(HOSTILE))
    };
    console.sessions.leave_notice(HOSTILE.to_owned());
    let shown = Shown { status: StatusCode::OK, title: HOSTILE.to_owned(), place: CUSTOMER, main };
    document(console, request, &shown).into_string()
}

#[test]
fn what_others_wrote_is_text_wherever_it_stands() {
    let (console, request) = console(false);
    let page = shown(&console, &request);
    // The title and the path in it, the path, the notice, the way to the page, the refusal, its file, the cell, the alias.
    assert_eq!(page.matches(SHOWN).count(), 10, "{page}");
    assert_eq!(page.matches("<script").count(), 1, "the console's own");
    assert!(!page.contains(['\u{202e}', '\x1b', '\n']), "{page}");
}

#[test]
fn a_page_has_nothing_that_its_policy_forbids() {
    let (console, request) = console(true);
    let page = shown(&console, &request);
    for forbidden in
        [" style=", "<style", " onclick", " onload", "javascript:", "<base", "<iframe", "http://", "https://"]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("Read-only"));
}
