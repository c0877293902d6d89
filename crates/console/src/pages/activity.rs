//! The audit log, newest first: filtered as `rekeyfs events` filters it, page by page, with a chart of its days, and its
//! verification. All of it comes from the daemon, which knows the plain names of files and which lines are the vault's.

use std::fmt::Display;
use std::str::FromStr;

use hyper::StatusCode;
use maud::{Markup, html};
use rekeyfs::ids::{AliasName, KeyId};
use rekeyfs::printable::{self, counted};
use rekeyfs::service::{
    EventFilter, EventPage, EventQuery, LoggedEvent, Operations, PagePlace, Verification,
};
use serde_json::{Map, Value};

use super::chart;
use super::layout::{self, alert, text, time};
use crate::app::{Console, Refusal};
use crate::form::{Form, with_query};
use crate::request::{Outcome, Page, Request};

/// Events of a page.
const EVENTS: u16 = 50;
/// The filters' names, their labels, and what is to be said of each.
const FIELDS: [(&str, &str, &str); 5] = [
    ("event", "Event", "Words of its type or operation: rotation, DisableKey"),
    ("key", "Key", "Alias, key ID, or 4 or more characters from its beginning"),
    ("who", "Who", "A uid, or admin"),
    ("from", "From", "In UTC: 2026-11-22 or 2026-11-22T09:30"),
    ("to", "To", "In UTC, to the end of that day or minute"),
];

/// Shows events, and the result of a verification if one is asked for.
pub(super) async fn show(console: &Console, request: &Request) -> Outcome {
    let form = &request.query;
    let aliases = match form.word("key").filter(|key| key.parse::<KeyId>().is_err()) {
        Some(_) => console.ask(|client| client.status()).await?.aliases,
        None => Vec::new(),
    };
    let target = |name: &str| {
        let named = aliases.iter().find(|alias| alias.alias.as_str() == name);
        named.map(|alias| alias.key_id.to_string())
    };
    let found = match query_of(form, target) {
        Ok(query) => console.ask(move |client| client.events(&query)).await,
        Err(why) => Err(why),
    };
    let verified = match form.get("verify") {
        Some(_) => Some(console.ask(|client| client.verify_events()).await?),
        None => None,
    };
    let main = |content: Markup| {
        html! {
            div.heading {
                h1 { "Activity" }
                form method="get" action=(request.url(layout::ACTIVITY)) {
                    input type="hidden" name="verify" value="1";
                    button.quiet type="submit" { "Verify the log" }
                }
            }
            @if let Some(verified) = &verified { (verdict(verified)) }
            (fields(request, found.as_ref().err()))
            (content)
        }
    };
    Ok(match &found {
        Ok(page) => Page::shown(layout::ACTIVITY, "Activity", main(events(request, page))),
        Err(why) => Page::again(layout::ACTIVITY, "Activity", main(html! {}), why),
    })
}

/// What is asked for.
///
/// # Errors
/// What was typed in a field is none of what it takes.
fn query_of(form: &Form, alias: impl Fn(&str) -> Option<String>) -> Result<EventQuery, Refusal> {
    // As pages show aliases, and as they are written. What is both an alias and the beginning of an id is the alias.
    let key = match form.word("key") {
        Some(name) if name.starts_with(AliasName::PREFIX) => Some(alias(name).ok_or_else(|| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("Key: there is no {name}; a key that is gone has its ID in the log"),
            )
        })?),
        Some(word) => Some(alias(&format!("{}{word}", AliasName::PREFIX)).unwrap_or_else(|| word.to_owned())),
        None => None,
    };
    let filter = EventFilter {
        since: parsed("From", form.word("from"))?,
        until: parsed("To", form.word("to"))?,
        event: parsed("Event", form.word("event"))?,
        key: parsed("Key", key.as_deref())?,
        who: parsed("Who", form.word("who"))?,
    };
    let line = |name| form.get(name).and_then(|line| line.parse().ok());
    let place = match (line("before"), line("after")) {
        (Some(line), _) => PagePlace::Before(line),
        (None, Some(line)) => PagePlace::After(line),
        (None, None) => PagePlace::Newest,
    };
    Ok(EventQuery { filter, place, limit: EVENTS })
}

fn parsed<T: FromStr<Err: Display>>(label: &str, word: Option<&str>) -> Result<Option<T>, Refusal> {
    let value = word.map(str::parse).transpose();
    value.map_err(|why| Refusal::new(StatusCode::BAD_REQUEST, format!("{label}: {why}")))
}

fn fields(request: &Request, why: Option<&Refusal>) -> Markup {
    html! {
        (alert(why))
        form.filters role="search" method="get" action=(request.url(layout::ACTIVITY)) {
            @for (name, label, help) in FIELDS {
                div {
                    label for=(name) { (label) }
                    input id=(name) type="text" name=(name) value=(request.query.text(name)) autocomplete="off"
                        aria-describedby={ (name) "-help" };
                    p.help id={ (name) "-help" } { (help) }
                }
            }
            div.actions {
                button type="submit" { "Filter" }
                a.button.quiet href=(request.url(layout::ACTIVITY)) { "Show all" }
            }
        }
    }
}

fn events(request: &Request, page: &EventPage) -> Markup {
    html! {
        p.count role="status" {
            (counted(page.matching, "event", "events"))
            @if page.unreadable > 0 {
                "; " (counted(page.unreadable, "line isn't an event", "lines aren't events")) ": verify the log"
            }
        }
        (chart::days(&page.days))
        @if !page.events.is_empty() {
            (layout::table("Events", &["Time", "Event", "Key", "Who", "Details"], &html! {
                @for event in &page.events { (row(request, event)) }
            }))
        }
        (paging(request, page))
    }
}

fn paging(request: &Request, page: &EventPage) -> Markup {
    let to = |name: &str, line: Option<u64>| {
        let line = line.unwrap_or_default().to_string();
        let kept = FIELDS.iter().filter_map(|(field, ..)| Some((*field, request.query.word(field)?)));
        request.url(&with_query(layout::ACTIVITY, kept.chain([(name, line.as_str())])))
    };
    let (newest, oldest) = (page.events.first(), page.events.last());
    html! {
        @if page.newer || page.older {
            nav.paging aria-label="Pages" {
                @if page.newer { a href=(to("after", newest.map(|event| event.line))) rel="prev" { "Newer" } }
                @if page.older { a href=(to("before", oldest.map(|event| event.line))) rel="next" { "Older" } }
            }
        }
    }
}

/// What stands in a column of its own, or says nothing that the others don't.
const TOLD: [&str; 6] = ["event-name", "key-id", "uid", "pid", "principal", "outcome"];

fn row(request: &Request, logged: &LoggedEvent) -> Markup {
    let (event, detail) = (&logged.event, &logged.event["detail"]);
    let key = detail["key-id"].as_str();
    let outcome = detail["outcome"].as_str().filter(|outcome| *outcome != "success");
    html! {
        tr {
            td { @if let Some(at) = event["time"].as_str() { (time(at)) } }
            td {
                (text(&value(&event["detail-type"])))
                @if let Some(name) = detail["event-name"].as_str() { span.line { (text(name)) } }
                @if let Some(outcome) = outcome { span.state.bad { (text(outcome)) } }
                @if logged.doubtful {
                    span.state.bad { "may be forged: line " (logged.line) " doesn't follow the one before it" }
                }
            }
            td {
                @if let Some(key) = key {
                    a href=(request.url(&with_query(layout::ACTIVITY, [("key", key)]))) { code { (text(key)) } }
                }
            }
            td { (who(detail)) }
            td {
                ul.details {
                    @for (name, told) in details(logged) { li { (text(&name)) ": " (text(&told)) } }
                }
            }
        }
    }
}

fn who(detail: &Value) -> Markup {
    html! {
        @if !detail["uid"].is_null() { span.line { "uid " (text(&value(&detail["uid"]))) } }
        @if !detail["pid"].is_null() { span.line { "pid " (text(&value(&detail["pid"]))) } }
        @if let Some(principal) = detail["principal"].as_str() { span.line { "on behalf of " (text(principal)) } }
    }
}

/// The other fields, in the log's order.
fn details(logged: &LoggedEvent) -> Vec<(String, String)> {
    let none = Map::new();
    let fields = logged.event["detail"].as_object().unwrap_or(&none);
    let told = fields.iter().filter(|(name, value)| !TOLD.contains(&name.as_str()) && !value.is_null());
    let mut details: Vec<(String, String)> = told
        .map(|(name, field)| match (name.as_str(), &logged.name) {
            ("lower-path", Some(path)) => ("file".to_owned(), printable::path(path.as_path())),
            _ => (name.replace('-', " "), value(field)),
        })
        .collect();
    if let Some(more) = logged.event["events-held-back"].as_u64() {
        details.push(("events held back before this".to_owned(), more.to_string()));
    }
    details
}

fn value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn verdict(found: &Verification) -> Markup {
    let lines = found.summary();
    html! {
        @match found.tampering() {
            Some(why) => div.alert role="alert" { p { "The log is not as it was written: " (why) "." } (list(&lines)) },
            None => div.notice { div role="status" { p { "The log is intact." } (list(&lines)) } },
        }
    }
}

fn list(lines: &str) -> Markup {
    html! { ul { @for line in lines.lines() { li { (line) } } } }
}

#[cfg(test)]
mod tests {
    use rekeyfs::ids::PathText;
    use serde_json::json;

    use super::*;
    use crate::pages::testing;

    #[test]
    fn fields_are_parsed_as_the_command_parses_them_and_what_is_wrong_is_named() {
        let query = |text: &str| {
            let known = ["alias/a", "alias/cafe"];
            let alias = |name: &str| known.contains(&name).then(|| "7b0c5f8e".to_owned());
            query_of(&Form::parse(text.as_bytes()), alias)
        };
        let all = query("event=+&key=&who=&from=&to=").unwrap();
        assert_eq!(
            all,
            EventQuery { filter: EventFilter::default(), place: PagePlace::Newest, limit: EVENTS }
        );
        assert_eq!(query("before=7&after=9").unwrap().place, PagePlace::Before(7));
        assert_eq!(query("after=9").unwrap().place, PagePlace::After(9));
        for named in ["alias/a", "a", "cafe"] {
            assert_eq!(
                query(&format!("key={named}")).unwrap().filter.key,
                "7b0c5f8e".parse().ok(),
                "{named}"
            );
        }
        assert_eq!(query("key=cafe0").unwrap().filter.key, "cafe0".parse().ok());
        for (text, said) in [
            ("from=nonsense", "From: 'nonsense' is no time; write it as"),
            ("to=tomorrow", "To: 'tomorrow' is no time"),
            ("key=xyz", "Key: 'xyz' is no id"),
            ("key=alias/b", "Key: there is no alias/b"),
            ("who=root", "Who: 'root' is no principal"),
        ] {
            let why = query(text).unwrap_err();
            assert!(why.message.starts_with(said), "{why:?}");
            assert_eq!(why.status, StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn an_event_is_shown_whole_and_as_text_alone() {
        let hostile = "<script>alert(1)</script>\u{202e}\"'";
        let logged = LoggedEvent {
            line: 7,
            doubtful: true,
            event: json!({"time": hostile, "detail-type": hostile, "events-held-back": 3,
                "detail": {"event-name": hostile, "key-id": hostile, "lower-path": "tree/x", "uid": 7, "pid": hostile,
                    "principal": hostile, "outcome": "refused", hostile: {"a": hostile}, "file-id": null}}),
            name: Some(PathText(format!("a\n{hostile}").into())),
        };
        let shown = row(&testing::request(""), &logged).into_string();
        assert!(!shown.contains("<script>") && !shown.contains('\u{202e}'), "{shown}");
        assert!(shown.contains("file: a\\n&lt;script&gt;") && shown.contains("line 7"), "{shown}");
        assert!(shown.contains("events held back before this: 3") && !shown.contains("file id"), "{shown}");
        let nothing = LoggedEvent { line: 1, doubtful: false, event: json!({"detail": 7}), name: None };
        assert!(row(&testing::request(""), &nothing).into_string().contains("<tr>"));
    }

    #[test]
    fn pages_keep_the_filter() {
        let event = |line| LoggedEvent { line, doubtful: false, event: json!({}), name: None };
        let page =
            EventPage { events: vec![event(9), event(4)], older: true, newer: true, ..EventPage::default() };
        let shown = paging(&testing::request("event=a%26b&after=3&verify=1"), &page).into_string();
        let links: Vec<&str> =
            shown.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(links[0].ends_with("/activity?event=a%26b&amp;after=9"), "{links:?}");
        assert!(links[1].ends_with("/activity?event=a%26b&amp;before=4"), "{links:?}");
        let whole = EventPage { newer: false, older: false, ..page };
        assert_eq!(paging(&testing::request(""), &whole).into_string(), "");
    }

    #[test]
    fn a_verdict_alarms_only_where_something_was_done_to_the_log() {
        let good = Verification { good: 3, ..Verification::default() };
        let shown = verdict(&good).into_string();
        assert!(shown.contains("The log is intact.") && shown.contains("3 events in order"), "{shown}");
        assert!(!shown.contains("role=\"alert\""));
        let broken = Verification { breaks: 1, first_break: Some(2), ..good };
        let shown = verdict(&broken).into_string();
        assert!(shown.contains("role=\"alert\"") && shown.contains("line 2 doesn't follow"), "{shown}");
    }
}
