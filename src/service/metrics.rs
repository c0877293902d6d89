//! What an open vault reports to a monitoring system. Without files, of a vault that isn't mounted: what its keyring says.

use std::collections::BTreeMap;

use super::local::OpenVault;
use crate::ids::{BackingKeyId, KeyId, Timestamp};
use crate::keyring::{KeyInfo, Keys, Manager, UnusableReason, VersionState};
use crate::metrics::{MetricsReport, Requests, catalogue as all};
use crate::storage::StatFs;
use crate::vault::{RewrapCounts, Vault};

/// How files of a version in this state can be used, as [`all::FILES`] has it.
fn use_of(state: VersionState) -> &'static str {
    match state {
        VersionState::Current => "current",
        VersionState::Old => "old",
        VersionState::Unusable { .. } => "unusable",
        VersionState::UnknownKey | VersionState::UnknownVersion | VersionState::Lost => "missing",
    }
}

/// All words of [`why_unusable`]: each has a sample, also where it is 0.
const WHY: [&str; 10] = [
    "disabled",
    "pending-deletion",
    "pending-import",
    "retired",
    "trimmed",
    "no-material",
    "expired",
    "unknown-key",
    "unknown-version",
    "lost",
];

fn why_unusable(state: VersionState) -> Option<&'static str> {
    match state {
        VersionState::Current | VersionState::Old => None,
        VersionState::Unusable { why } => Some(match why {
            UnusableReason::Disabled => "disabled",
            UnusableReason::PendingDeletion => "pending-deletion",
            UnusableReason::PendingImport => "pending-import",
            UnusableReason::Retired => "retired",
            UnusableReason::Trimmed => "trimmed",
            UnusableReason::NoMaterial => "no-material",
            UnusableReason::Expired => "expired",
        }),
        VersionState::UnknownKey => Some("unknown-key"),
        VersionState::UnknownVersion => Some("unknown-version"),
        VersionState::Lost => Some("lost"),
    }
}

/// Seconds since 1970.
fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.0).unwrap_or(0) / 1000
}

/// Free room of the filesystem below.
pub fn report_lower(below: &StatFs, report: &mut MetricsReport) {
    let unit = u64::from(below.frsize);
    report.add(&all::LOWER_FREE_BYTES, &[], below.bavail.saturating_mul(unit));
    report.add(&all::LOWER_SIZE_BYTES, &[], below.blocks.saturating_mul(unit));
    report.add(&all::LOWER_FREE_INODES, &[], below.ffree);
    report.add(&all::LOWER_INODES, &[], below.files);
}

impl OpenVault {
    /// Everything that is known without looking at files.
    pub(super) fn gather_metrics(&self) -> MetricsReport {
        let mut report = MetricsReport::default();
        report.add(&all::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
        let files = self.opened_files();
        report_keys(&self.keys, files.map(|vault| vault.census()), &mut report);
        let backlog = self.keys.events().backlog();
        report.add(&all::EVENTS_WAITING, &[], backlog.waiting);
        report.add(&all::EVENTS_LOST, &[], backlog.lost);
        report.add(&all::EVENTS_HELD_BACK, &[], backlog.held_back);
        if let Some(vault) = files {
            report_files(vault, &mut report);
        }
        if let Some(mount) = &self.mounted {
            report.add(&all::PROCESS_START, &[], seconds(mount.since));
            report.add(&all::READ_ONLY, &[], u64::from(mount.status.read_only));
            Requests::of_this_process().report(&mut report);
        }
        report
    }
}

/// Versions that are current or wrap files; others, of which a key may have thousands, are left out.
fn report_keys(keys: &Keys, census: Option<Vec<(BackingKeyId, u64)>>, report: &mut MetricsReport) {
    let known = keys.keys();
    let mut aliases: BTreeMap<KeyId, Vec<String>> = BTreeMap::new();
    for alias in keys.aliases() {
        aliases.entry(alias.key).or_default().push(alias.name.as_str().to_owned());
    }
    let alias_of = |key: KeyId| {
        let mut names = aliases.get(&key).cloned().unwrap_or_default();
        names.sort();
        names.join(",")
    };
    let counted = census.is_some();
    let mut files: BTreeMap<BackingKeyId, u64> = census.unwrap_or_default().into_iter().collect();
    for key in &known {
        let (id, alias) = (key.id.to_string(), alias_of(key.id));
        let current = BackingKeyId { key: key.id, version: key.current };
        if key.manager != Manager::Service {
            files.entry(current).or_insert(0);
        }
        for version in used_versions(key, &files) {
            let labels = [id.as_str(), &alias, &version.number.to_string()];
            report.add(&all::VERSION_CREATED, &labels, seconds(version.created));
        }
        if let Some(at) = key.next_rotation {
            report.add(&all::NEXT_ROTATION, &[&id, &alias], seconds(at));
        }
    }
    for pending in keys.pending_deletions() {
        let labels = [&*pending.key.to_string(), &alias_of(pending.key)];
        report.add(&all::DELETION, &labels, seconds(pending.date));
    }
    report.add(&all::KEYRING_GENERATION, &[], keys.generation().0);
    if let Ok(slots) = keys.slots() {
        report.add(&all::SLOTS, &[], slots.len() as u64);
        if let Some(newest) = slots.iter().filter_map(|slot| slot.created).max() {
            report.add(&all::SLOT_ADDED, &[], seconds(newest));
        }
    }
    if let Ok(known) = keys.key_backup() {
        let lag = known.lag();
        report.add(&all::KEY_BACKUP_KNOWN, &[], u64::from(lag.is_some()));
        if let Some(lag) = lag {
            report.add(&all::KEY_BACKUP_LAG, &[], lag.generations);
            report.add(&all::KEY_BACKUP_LAG_VERSIONS, &[], lag.versions);
        }
        let failing = known.kept.iter().filter(|kept| kept.problem.is_some()).count();
        report.add(&all::KEY_BACKUPS_FAILING, &[], failing as u64);
    }
    if counted {
        let mut unusable = [0; WHY.len()];
        for (backing, count) in files {
            let state = keys.state_of(backing);
            let (id, alias) = (backing.key.to_string(), alias_of(backing.key));
            report.add(&all::FILES, &[&id, &alias, &backing.version.0.to_string(), use_of(state)], count);
            if let Some(at) = WHY.iter().position(|why| why_unusable(state) == Some(why)) {
                unusable[at] += count;
            }
        }
        for (why, count) in WHY.into_iter().zip(unusable) {
            report.add(&all::FILES_UNUSABLE, &[why], count);
        }
    }
}

fn used_versions<'a>(
    key: &'a KeyInfo,
    files: &'a BTreeMap<BackingKeyId, u64>,
) -> impl Iterator<Item = &'a crate::keyring::VersionInfo> {
    key.versions.iter().filter(|version| {
        version.number == key.current
            || files.contains_key(&BackingKeyId { key: key.id, version: version.number })
    })
}

fn report_files(vault: &Vault, report: &mut MetricsReport) {
    report.add(&all::FILES_STALE, &[], vault.census_of_belonging().0);
    if let Some(at) = vault.census_counted() {
        report.add(&all::FILES_COUNTED, &[], seconds(at));
    }
    report.add(&all::REWRAP_QUEUE, &[], vault.stale_waiting() as u64);
    let RewrapCounts { rewrapped, skipped, failed } = vault.rewrap_counts();
    for (outcome, count) in [("rewrapped", rewrapped), ("skipped", skipped), ("failed", failed)] {
        report.add(&all::REWRAPS, &[outcome], count);
    }
    for (part, count) in vault.damage_counts() {
        report.add(&all::DAMAGE, &[part], count);
    }
    for (reason, count) in vault.refusal_counts() {
        report.add(&all::REFUSED, &[reason.name()], count);
    }
    let held = vault.in_use();
    report.add(&all::OPEN_FILES, &[], held.files as u64);
    report.add(&all::INODES, &[], held.inodes as u64);
    if let Ok(below) = vault.statfs() {
        report_lower(&below, report);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::{Sample, Value};
    use crate::service::Operations;
    use crate::vault::testing::TestVault;

    #[test]
    fn each_state_of_a_version_has_its_word() {
        use UnusableReason::*;
        let reasons = [Disabled, PendingDeletion, PendingImport, Retired, Trimmed, NoMaterial, Expired];
        let mut states: Vec<VersionState> =
            reasons.map(|why| VersionState::Unusable { why }).into_iter().collect();
        states.extend([VersionState::UnknownKey, VersionState::UnknownVersion, VersionState::Lost]);
        let words: Vec<_> = states.iter().filter_map(|state| why_unusable(*state)).collect();
        assert_eq!(words, WHY);
        for state in [VersionState::Current, VersionState::Old] {
            assert_eq!(why_unusable(state), None);
        }
    }

    #[test]
    fn a_rotation_a_re_wrap_and_a_disabled_key_show() {
        let vault = TestVault::new();
        let open = OpenVault::with_files(Arc::clone(&vault.vault));
        let number = |metric, labels: &[&str]| {
            let report = open.metrics().unwrap();
            let mut found = report
                .samples(metric)
                .filter(|Sample(has, _)| labels.iter().all(|l| has.iter().any(|h| h == l)));
            match (found.next(), found.next()) {
                (Some(Sample(_, Value::Number(number))), None) => Some(*number),
                (None, None) => None,
                other => panic!("{other:?}"),
            }
        };
        vault.written("one");
        vault.written("two");
        assert_eq!(number(&all::FILES, &["1", "current", "alias/default"]), Some(2));
        let generation = number(&all::KEYRING_GENERATION, &[]).unwrap();
        let key =
            open.rotate(&crate::service::KeyRef::Alias(crate::ids::AliasName::default_alias())).unwrap().key;
        assert_eq!(number(&all::KEYRING_GENERATION, &[]), Some(generation + 1));
        assert_eq!(number(&all::FILES, &["1", "old"]), Some(2));
        assert_eq!(number(&all::FILES, &["2", "current"]), Some(0));
        assert_eq!(number(&all::FILES_STALE, &[]), Some(2));
        assert_eq!(number(&all::FILES_COUNTED, &[]), None);
        open.rewrap(&Default::default(), &mut crate::monitor::Monitor::unattended()).unwrap();
        assert_eq!(number(&all::REWRAPS, &["rewrapped"]), Some(2));
        assert_eq!(number(&all::FILES, &["2", "current"]), Some(2));
        assert_eq!(
            number(&all::VERSION_CREATED, &[&key.to_string(), "1"]),
            None,
            "it wraps nothing any more"
        );
        assert!(number(&all::VERSION_CREATED, &[&key.to_string(), "2"]).is_some_and(|at| at > 1_600_000_000));
        assert!(number(&all::LOWER_FREE_BYTES, &[]).is_some_and(|bytes| bytes > 0));
        open.keys.disable_key(key).unwrap();
        assert_eq!(number(&all::FILES_UNUSABLE, &["disabled"]), Some(2));
        assert_eq!(number(&all::FILES_UNUSABLE, &["lost"]), Some(0));
    }
}
