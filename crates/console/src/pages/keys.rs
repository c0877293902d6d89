//! The lists of keys: those of the vault's owner, and the one that rekeyfs manages itself.

use std::collections::HashMap;

use maud::{Markup, html};
use rekeyfs::ids::KeyId;
use rekeyfs::printable::counted;
use rekeyfs::service::{KeyStatus, Operations, Status};

use super::chart;
use super::layout::{self, text, time};
use crate::app::Console;
use crate::request::{Outcome, Page, Request};

const COLUMNS: [&str; 7] =
    ["Alias", "Key ID", "Status", "Rotation", "Current version", "Next rotation", "Files"];

/// A list of keys, or those of it that a filter lets through.
pub(super) async fn list(console: &Console, request: &Request) -> Outcome {
    let service = request.query.get("managed") == Some("service");
    let filter = request.query.word("filter").unwrap_or_default().to_owned();
    let wanted = filter.to_lowercase();
    let status = console.ask(|client| client.status()).await?;
    let keys = matching(&status, service, &wanted);
    let (place, title) = if service {
        (layout::SERVICE, "Service managed keys")
    } else {
        (layout::CUSTOMER, "Customer managed keys")
    };
    let main = html! {
        div.heading {
            h1 { (title) }
            @if !service && !console.read_only { a.button href=(request.url("keys/create")) { "Create key" } }
        }
        @if service {
            p { "rekeyfs manages these keys itself: they protect the names, links and attributes in the vault." }
        }
        form.filter role="search" method="get" action=(request.url("keys")) {
            @if service { input type="hidden" name="managed" value="service"; }
            label for="filter" { "Filter keys" }
            input #filter type="search" name="filter" value=(filter) autocomplete="off" aria-describedby="filter-help"
                data-replaces="#keys";
            button type="submit" { "Filter" }
            p #filter-help { "By alias, key ID, description or tag" }
        }
        div #keys { (table(request, &status, &keys, &filter)) }
    };
    Ok(Page::shown(place, title, main))
}

/// The keys that the filter lets through, those with an alias first.
fn matching(status: &Status, service: bool, wanted: &str) -> Vec<KeyStatus> {
    let names = AliasNames::of(status);
    let listed =
        |key: &&KeyStatus| key.service_managed == service && is_like(key, names.of_key(key.key_id), wanted);
    let mut keys: Vec<KeyStatus> = status.keys.iter().filter(listed).cloned().collect();
    keys.sort_by_cached_key(|key| {
        let first = names.of_key(key.key_id).first().copied().map(str::to_owned);
        (first.is_none(), first)
    });
    keys
}

fn is_like(key: &KeyStatus, names: &[&str], wanted: &str) -> bool {
    let id = key.key_id.to_string();
    let tags = key.tags.iter().flat_map(|tag| [tag.key.as_str(), &tag.value]);
    let mut texts = [id.as_str(), &key.description].into_iter().chain(names.iter().copied()).chain(tags);
    texts.any(|text| text.to_lowercase().contains(wanted))
}

/// The aliases of all keys, of which there may be many thousands.
pub(super) struct AliasNames<'a>(HashMap<KeyId, Vec<&'a str>>);

impl<'a> AliasNames<'a> {
    pub(super) fn of(status: &'a Status) -> Self {
        let mut names: HashMap<KeyId, Vec<&str>> = HashMap::new();
        for alias in &status.aliases {
            names.entry(alias.key_id).or_default().push(alias.alias.as_str());
        }
        names.values_mut().for_each(|names| names.sort_unstable());
        Self(names)
    }

    /// Those of a key, by name.
    pub(super) fn of_key(&self, key: KeyId) -> &[&'a str] {
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }
}

/// Keys of a list, at most: a vault may have many thousands, and the filter finds the others.
const SHOWN: usize = 500;

fn table(request: &Request, status: &Status, keys: &[KeyStatus], filter: &str) -> Markup {
    let found = counted(keys.len() as u64, "key", "keys");
    let most = status.versions.iter().map(|seen| seen.files).max().unwrap_or_default();
    let names = AliasNames::of(status);
    html! {
        p.count role="status" {
            (found)
            @if !filter.is_empty() { " for “" (text(filter)) "”" }
        }
        @if !keys.is_empty() {
            (layout::table("Keys", &COLUMNS, &html! {
                @for key in keys.iter().take(SHOWN) { (row(request, status, key, names.of_key(key.key_id), most)) }
            }))
            @if keys.len() > SHOWN { p.aside { "The first " (SHOWN) " are shown; the filter finds others." } }
            p.aside { (counted_at(status)) }
        }
    }
}

fn row(request: &Request, status: &Status, key: &KeyStatus, names: &[&str], most: u64) -> Markup {
    let page = request.url(&format!("keys/{}", key.key_id));
    html! {
        tr {
            td {
                @if names.is_empty() { span.none { "none" } }
                @for name in names { a.line href=(page) { (layout::alias(name)) } }
            }
            td { a href=(page) { code { (key.key_id) } } }
            td { (state(&key.state)) }
            td { (rotation(key)) }
            td.number { (key.current) }
            td { @if let Some(next) = &key.next_rotation { (time(next)) } @else { span.none { "none" } } }
            td { (files(status, key, most)) }
        }
    }
}

/// A key's state, marked.
pub(super) fn state(state: &str) -> Markup {
    let class = match state {
        "Enabled" => "good",
        "PendingDeletion" | "Unavailable" => "bad",
        _ => "off",
    };
    html! { span class={ "state " (class) } { (text(state_name(state))) } }
}

/// A key's state in words.
pub(super) fn state_name(state: &str) -> &str {
    match state {
        "PendingDeletion" => "Pending deletion",
        "PendingImport" => "Pending import",
        other => other,
    }
}

/// How often it rotates by itself.
fn rotation(key: &KeyStatus) -> String {
    key.rotation_period_days
        .map_or_else(|| "off".to_owned(), |days| format!("every {}", counted(days, "day", "days")))
}

/// Versions of a key that a list of keys tells apart.
const TOLD_APART: usize = 5;

/// Its files, by version: the newest ones that have some, and the others together. Bars compare all keys, of whose versions one has
/// the most.
fn files(status: &Status, key: &KeyStatus, most: u64) -> Markup {
    let mut seen: Vec<_> =
        status.versions.iter().filter(|seen| seen.key_id == key.key_id && seen.files > 0).collect();
    seen.sort_unstable_by_key(|seen| seen.version);
    let (older, newest) = seen.split_at(seen.len().saturating_sub(TOLD_APART));
    html! {
        @if seen.is_empty() { span.none { "none" } }
        @if !older.is_empty() {
            @let files = older.iter().map(|seen| seen.files).fold(0, u64::saturating_add);
            span.line { (counted(older.len() as u64, "older version", "older versions")) ": " (chart::files(files)) }
        }
        @for seen in newest {
            span.line { "version " (seen.version) ": " (chart::files(seen.files)) }
            (chart::bar(seen.files, most))
        }
    }
}

/// Of when the numbers of files are, and what they are.
pub(super) fn counted_at(status: &Status) -> Markup {
    html! {
        @if let Some(at) = &status.counts_as_of {
            "Files were counted at " (time(at)) "; they may have changed since."
        } @else if let Some(at) = &status.counted {
            "Files were counted at " (time(at)) "; changes since then are included."
        } @else {
            "Only files used since the vault was mounted are counted; there may be others."
        }
        @if status.files_unknown > 0 {
            " " (counted(status.files_unknown, "file or directory is", "files or directories are"))
            " in none of these numbers: it isn't known which key they need."
        }
    }
}

#[cfg(test)]
mod tests {
    use rekeyfs::ids::{PathText, VaultId};
    use serde_json::json;

    use super::*;
    use crate::pages::testing;

    #[test]
    fn a_filter_finds_keys_by_alias_id_description_and_tag() {
        let key = |n: usize| {
            json!({
                "key_id": format!("00000000-0000-0000-0000-{n:012}"), "description": format!("Number {n}"), "service_managed": n == 0,
                "state": "Enabled", "current": 1, "min_decryption": 1, "rotation_period_days": null, "next_rotation": null, "versions": [],
                "tags": [{"key": "Team", "value": format!("<team {}>", n % 10)}],
            })
        };
        let alias = |n: usize| json!({"alias": format!("alias/app-{n}"), "key_id": key(n)["key_id"], "version": 1, "state": "Enabled"});
        // Of unoptimized code on a loaded machine: seconds would be a cost of all aliases for each key.
        const KEYS: usize = 5000;
        let status: Status = serde_json::from_value(json!({
            "vault_id": VaultId::random(), "vault": PathText("/v".into()), "suite": "aes-256-gcm", "mount": null,
            "aliases": (0..KEYS).map(alias).collect::<Vec<_>>(), "keys": (0..KEYS).map(key).collect::<Vec<_>>(),
            "versions": [], "files_seen": 0, "files_stale": 0, "pending_rewraps": 0,
        }))
        .unwrap();
        let began = std::time::Instant::now();
        let found = |wanted: &str| matching(&status, false, wanted).len();
        assert_eq!(found(""), KEYS - 1);
        assert_eq!((found("alias/app-4321"), found("number 77"), found("team 7>")), (1, 11, KEYS / 10));
        assert_eq!((found("-000000004999"), found("nothing")), (1, 0));
        assert!(table(&testing::request(""), &status, &status.keys, "").into_string().contains("app-499<"));
        assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
        assert_eq!(matching(&status, true, "app-0")[0].description, "Number 0");
    }

    #[test]
    fn files_whose_key_is_not_known_are_told_beside_what_was_counted() {
        let mut status: Status = serde_json::from_value(json!({
            "vault_id": VaultId::random(), "vault": PathText("/v".into()), "suite": "aes-256-gcm", "mount": null, "aliases": [],
            "versions": [], "files_seen": 0, "files_stale": 0, "pending_rewraps": 0, "counted": "2026-11-22T02:00:00.000Z",
        }))
        .unwrap();
        assert!(!counted_at(&status).into_string().contains("none of these numbers"));
        status.files_unknown = 2;
        let told = counted_at(&status).into_string();
        assert!(told.contains(" 2 files or directories are in none of these numbers"), "{told}");
    }

    #[test]
    fn a_list_of_very_many_keys_has_the_first_ones_and_says_so() {
        let status: Status = serde_json::from_value(json!({
            "vault_id": VaultId::random(), "vault": PathText("/v".into()), "suite": "aes-256-gcm", "mount": null, "aliases": [],
            "versions": [], "files_seen": 0, "files_stale": 0, "pending_rewraps": 0,
        }))
        .unwrap();
        let key: KeyStatus = serde_json::from_value(json!({
            "key_id": "9ed05d81-fa93-4692-a3d4-d22149c2ab78", "description": "", "service_managed": false, "state": "Enabled",
            "current": 1, "min_decryption": 1, "rotation_period_days": null, "next_rotation": null, "versions": [],
        }))
        .unwrap();
        let shown =
            |count: usize| table(&testing::request(""), &status, &vec![key.clone(); count], "").into_string();
        let rows = |page: &str| page.matches("<tr").count() - 1;
        let (whole, part) = (shown(SHOWN), shown(SHOWN + 1));
        assert_eq!((rows(&whole), rows(&part)), (SHOWN, SHOWN));
        assert!(!whole.contains("are shown") && part.contains("The first 500 are shown"));
        assert!(part.contains("501 keys"));
    }
}
