//! The vault: where it is mounted and how, what unlocks it, its key backups, the room below, what is damaged or can't be opened, and how
//! far its files have moved to the versions where they belong.

use maud::{Markup, html};
use rekeyfs::control::Client;
use rekeyfs::ids::Timestamp;
use rekeyfs::metrics::catalogue::{self, Metric};
use rekeyfs::metrics::{MetricsReport, Sample, Value};
use rekeyfs::printable::{self, counted};
use rekeyfs::service::{
    KeptState, KeyBackupStatus, MountStatus, Operations, SlotStatus, Status, VersionState, VersionStatus,
};

use super::chart::{self, Part};
use super::key_view::section;
use super::keys::{self, AliasNames};
use super::layout::{self, text, time};
use crate::app::{Answer, Console};
use crate::request::{Outcome, Page, Request};

/// Parts of the chart that have names of their own; the rest is told together.
const PARTS: usize = 11;
/// Versions of the table: those with the most files. Headers that somebody forged may name any number of others.
const SHOWN: usize = 500;

/// What the page shows.
struct View {
    status: Status,
    metrics: MetricsReport,
    slots: Vec<SlotStatus>,
}

impl View {
    fn ask(client: &Client) -> Answer<Self> {
        Ok(Self { status: client.status()?, metrics: client.metrics()?, slots: client.slots()? })
    }
}

/// Shows it.
pub(super) async fn show(console: &Console, request: &Request) -> Outcome {
    let view = console.ask(View::ask).await?;
    let main = html! {
        h1 { "Vault" }
        (section("mount", "Mount", &mount(&view.status)))
        (section("migration", "Files by key version", &migration(request, &view.status)))
        (section("slots", "Unlock slots", &slots(&view.slots)))
        (section("key-backup", "Key backups", &key_backup(view.status.key_backup.as_ref())))
        (section("room", "Room", &room(&view.metrics)))
        (section("damage", "Damage and files that can't be opened", &damage(&view.metrics)))
    };
    Ok(Page::shown(layout::VAULT, "Vault", main))
}

fn mount(status: &Status) -> Markup {
    html! {
        dl {
            dt { "Vault ID" } dd { code { (status.vault_id) } }
            dt { "Directory" } dd { (printable::path(status.vault.as_path())) }
            dt { "Cipher of new files" } dd { (text(&status.suite)) }
            @if let Some(mount) = &status.mount {
                dt { "Mountpoint" } dd { (printable::path(mount.mountpoint.as_path())) }
                dt { "Process" } dd { (mount.pid) }
                dt { "Options" } dd { (options(mount)) }
            }
        }
    }
}

fn options(mount: &MountStatus) -> String {
    let access = match (mount.read_only, mount.always_read_only) {
        (false, _) => "writable",
        (true, true) => "read-only from the start",
        (true, false) => "read-only; a remount makes it writable",
    };
    let rewrap =
        if mount.lazy_rewrap { "stale files are re-wrapped when they are used" } else { "stale files stay" };
    let detached = if mount.detached { "; detached: no path leads to it any more" } else { "" };
    format!("{access}; {rewrap}{detached}")
}

fn migration(request: &Request, status: &Status) -> Markup {
    let mut seen: Vec<&VersionStatus> = status.versions.iter().filter(|seen| seen.files > 0).collect();
    seen.sort_by_key(|seen| std::cmp::Reverse(seen.files));
    let names = AliasNames::of(status);
    html! {
        (chart::stacked("migration-chart", "Files by key version", &parts(&names, &seen)))
        p {
            (counted(status.files_stale, "file is", "files are"))
            " to be re-wrapped: another version wraps what is written where they belong now."
        }
        @if !seen.is_empty() {
            (layout::table("Files by key version", &["Key", "Version", "State", "Files"], &html! {
                        @for seen in seen.iter().take(SHOWN) {
                            tr {
                                td { a href=(request.url(&format!("keys/{}", seen.key_id))) { (name(&names, seen)) } }
                                td { (seen.version) }
                                td { (seen.state.map(|state| state.to_string()).unwrap_or_default()) }
                                td { (seen.files) }
                            }
                        }
            }))
            @if seen.len() > SHOWN { p.aside { "The " (SHOWN) " with the most files are shown." } }
        }
        p.aside { (keys::counted_at(status)) }
    }
}

/// What a version's key is called.
fn name(names: &AliasNames<'_>, seen: &VersionStatus) -> String {
    let alias = names.of_key(seen.key_id).first().map(|alias| layout::alias(alias).into_owned());
    alias.unwrap_or_else(|| seen.key_id.to_string())
}

fn parts(names: &AliasNames<'_>, seen: &[&VersionStatus]) -> Vec<Part> {
    let (named, rest) = seen.split_at(seen.len().min(PARTS));
    let mut parts: Vec<Part> = named
        .iter()
        .map(|seen| Part {
            name: format!("{} version {}{}", name(names, seen), seen.version, marked(seen.state)),
            count: seen.files,
        })
        .collect();
    if !rest.is_empty() {
        let count = rest.iter().map(|seen| seen.files).fold(0, u64::saturating_add);
        parts.push(Part { name: counted(rest.len() as u64, "other version", "other versions"), count });
    }
    parts
}

fn marked(state: Option<VersionState>) -> String {
    state.map(|state| format!(" ({state})")).unwrap_or_default()
}

fn slots(slots: &[SlotStatus]) -> Markup {
    html! {
        (layout::table("Unlock slots", &["Slot", "Kind", "Label", "Created"], &html! {
                    @for slot in slots {
                        tr {
                            td { @if let Some(id) = slot.id { code { (id) } } @else { span.none { "none" } } }
                            td {
                                (text(&slot.kind))
                                @if let Some(name) = &slot.custodian { span.line { (name) } }
                            }
                            td { @if let Some(label) = &slot.label { (text(label.as_str())) } @else { span.none { "none" } } }
                            td { @if let Some(at) = &slot.created { (time(at)) } }
                        }
                    }
        }))
        p.aside { "Slots are added and removed with rekeyfs unlock, which asks for a secret of the vault." }
    }
}

fn key_backup(known: Option<&KeyBackupStatus>) -> Markup {
    let Some(known) = known else { return html! { p { "The keyring can't be asked for its key backups." } } };
    html! {
        dl {
            dt { "Exported" }
            dd { @if let Some(at) = &known.exported { (time(at)) (age(at, Timestamp::now())) } @else { "never exported" } }
            dt { "The newest lacks" }
            dd {
                @match (known.behind_versions, known.behind_generations) {
                    (Some(versions), Some(changes)) => {
                        (counted(versions, "key version", "key versions")) ", "
                        (counted(changes, "change of the keyring", "changes of the keyring"))
                    },
                    _ => "all keys: no key backup is known",
                }
            }
        }
        @if !known.kept.is_empty() {
            (layout::table("Kept key backups", &["Kept at", "State", "Lacks"], &html! {
                        @for kept in &known.kept {
                            tr {
                                td { (printable::path(kept.to.as_path())) }
                                td {
                                    @match kept.state {
                                        KeptState::Current => span.state.good { "current" },
                                        KeptState::Behind => span.state.off { "about to be written" },
                                        KeptState::Failed => span.state.bad { "failed" },
                                    }
                                    @if let Some(why) = &kept.problem { span.line { (text(why)) } }
                                }
                                td {
                                    @match kept.behind {
                                        Some(versions) => (counted(versions, "key version", "key versions")),
                                        None => "not known",
                                    }
                                }
                            }
                        }
            }))
        }
    }
}

/// How long ago a time is, in the largest unit that has passed.
fn age(at: &str, now: Timestamp) -> String {
    let passed = Timestamp::parse(at).map_or(0, |at| u64::try_from(now.0 - at.0).unwrap_or_default());
    let told = match passed / 60_000 {
        minutes @ 0..60 => counted(minutes, "minute", "minutes"),
        minutes @ 60..1440 => counted(minutes / 60, "hour", "hours"),
        minutes => counted(minutes / 1440, "day", "days"),
    };
    format!(", {told} ago")
}

/// The numbers of a metric, each with its last label.
fn numbers<'a>(report: &'a MetricsReport, metric: &'a Metric) -> impl Iterator<Item = (&'a str, u64)> {
    report.samples(metric).filter_map(|Sample(labels, value)| match value {
        Value::Number(number) => Some((labels.last().map_or("", String::as_str), *number)),
        Value::Durations { .. } => None,
    })
}

fn number(report: &MetricsReport, metric: &Metric) -> Option<u64> {
    numbers(report, metric).next().map(|(_, number)| number)
}

fn room(report: &MetricsReport) -> Markup {
    let both = |free, all| number(report, free).zip(number(report, all));
    html! {
        dl {
            @if let Some((free, size)) = both(&catalogue::LOWER_FREE_BYTES, &catalogue::LOWER_SIZE_BYTES) {
                dt { "Space" } dd { (bytes(free)) " of " (bytes(size)) " free" (chart::bar(size.saturating_sub(free), size)) }
            }
            @if let Some((free, all)) = both(&catalogue::LOWER_FREE_INODES, &catalogue::LOWER_INODES).filter(|(_, all)| *all > 0) {
                dt { "Inodes" } dd { (free) " of " (all) " free" (chart::bar(all.saturating_sub(free), all)) }
            }
        }
        p.aside { "Of the filesystem that holds the vault. The bar shows what is in use." }
    }
}

fn damage(report: &MetricsReport) -> Markup {
    let some = |metric: &'static Metric| numbers(report, metric).filter(|(_, count)| *count > 0);
    let (damaged, unusable) = (some(&catalogue::DAMAGE), some(&catalogue::FILES_UNUSABLE));
    let damaged: Vec<_> = damaged.collect();
    let unusable: Vec<_> = unusable.collect();
    html! {
        dl {
            dt { "Damage met since the mount" }
            dd {
                @if damaged.is_empty() { "none" }
                @for (part, count) in &damaged { span.line { (text(part)) ": " (counted(*count, "time", "times")) } }
            }
            dt { "Files that can't be opened" }
            dd {
                @if unusable.is_empty() { "none known" }
                @for (why, count) in &unusable { span.line { (text(&why.replace('-', " "))) ": " (chart::files(*count)) } }
            }
        }
        p.aside { "rekeyfs fsck reads all files and finds all damage." }
    }
}

/// A size for people: three digits or more, of the largest unit that has them.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(unit) = (1..=UNITS.len()).rev().find(|unit| count >> (10 * unit) > 0) else {
        return counted(count, "byte", "bytes");
    };
    let tenths = (u128::from(count) * 10) >> (10 * unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        let told = [0, 1, 1023, 1024, 1536, 5 << 30, u64::MAX].map(bytes);
        assert_eq!(told, ["0 bytes", "1 byte", "1023 bytes", "1.0 KiB", "1.5 KiB", "5.0 GiB", "15.9 EiB"]);
    }

    #[test]
    fn damage_and_unusable_files_are_told_by_part_and_reason() {
        let mut report = MetricsReport::default();
        let none = damage(&report).into_string();
        assert!(none.contains("<dd>none</dd>") && none.contains("<dd>none known</dd>"), "{none}");
        report.add(&catalogue::DAMAGE, &["<page>"], 1);
        report.add(&catalogue::DAMAGE, &["header"], 0);
        report.add(&catalogue::FILES_UNUSABLE, &["pending-deletion"], 12);
        let shown = damage(&report).into_string();
        assert!(
            shown.contains("&lt;page&gt;: 1 time") && shown.contains("pending deletion: 12 files"),
            "{shown}"
        );
        assert!(!shown.contains("header"));
    }

    #[test]
    fn room_is_told_and_drawn_also_where_inodes_have_no_bound() {
        let mut report = MetricsReport::default();
        report.add(&catalogue::LOWER_FREE_BYTES, &[], 1 << 30);
        report.add(&catalogue::LOWER_SIZE_BYTES, &[], 4 << 30);
        report.add(&catalogue::LOWER_FREE_INODES, &[], 0);
        report.add(&catalogue::LOWER_INODES, &[], 0);
        let shown = room(&report).into_string();
        assert!(shown.contains("1.0 GiB of 4.0 GiB free") && !shown.contains("Inodes"), "{shown}");
        assert!(shown.contains("width=\"450\""), "{shown}");
    }

    #[test]
    fn a_key_backup_is_as_old_as_its_date() {
        let at = "2026-11-22T02:00:00.000Z";
        let began = Timestamp::parse(at).unwrap().0;
        let after = |minutes: i64| age(at, Timestamp(began + minutes * 60_000 + 59_999));
        assert_eq!(
            [-5, 0, 59, 60, 1439, 1440, 90 * 1440].map(after),
            ["0 minutes", "0 minutes", "59 minutes", "1 hour", "23 hours", "1 day", "90 days"]
                .map(|told| format!(", {told} ago"))
        );
        let known = KeyBackupStatus { exported: Some(at.to_owned()), ..KeyBackupStatus::default() };
        let shown = key_backup(Some(&known)).into_string();
        assert!(shown.contains("</time>, ") && shown.contains(" ago"), "{shown}");
    }

    #[test]
    fn a_vault_without_a_key_backup_says_so() {
        let shown = key_backup(Some(&KeyBackupStatus::default())).into_string();
        assert!(shown.contains("never exported") && shown.contains("no key backup is known"), "{shown}");
    }
}
