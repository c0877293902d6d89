//! All metrics. Names follow Prometheus' rules: base units, named at the end; `_total` for what only grows while a mount
//! lasts. Names and labels are an interface: one is added, or left, and never changes its meaning.

/// What a metric's values mean to Prometheus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// May rise and fall.
    Gauge,
    /// Only grows; begins at 0 with each mount.
    Counter,
    /// Durations, by upper bound.
    Histogram,
}

impl Kind {
    /// The word of the text format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels, after [`IDENTITY`].
    pub labels: &'static [&'static str],
    /// One sentence for the reader of a dashboard.
    pub help: &'static str,
}

/// The labels that every sample begins with: whose it is. The command sets them, by what the kernel says of the mount.
pub const IDENTITY: [&str; 2] = ["vault", "mountpoint"];

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// All of them, in the order in which they are printed.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    UP: Gauge "rekeyfs_up" []
        "Whether the vault is mounted and its daemon answers.";
    EXPECTED_UP: Gauge "rekeyfs_expected_up" ["path"]
        "Whether what the command was given as a vault that should be mounted is, and its daemon answers.";
    BUILD_INFO: Gauge "rekeyfs_build_info" ["version"]
        "1, with the version of the program that answered.";
    PROCESS_START: Gauge "rekeyfs_process_start_time_seconds" []
        "When the daemon began to serve the mount, in seconds since 1970.";
    READ_ONLY: Gauge "rekeyfs_read_only" []
        "Whether the mount refuses writes.";
    FILES: Gauge "rekeyfs_files" ["key_id" "alias" "version" "use"]
        "Files that hold data, by the key version that wraps them; before a count, those seen since the mount.";
    FILES_STALE: Gauge "rekeyfs_files_stale" []
        "Files that a re-wrap would change: a slot bears another key version than the one where they belong.";
    FILES_UNUSABLE: Gauge "rekeyfs_files_unusable" ["why"]
        "Files that can't be opened for the state of their key version.";
    FILES_COUNTED: Gauge "rekeyfs_files_counted_timestamp_seconds" []
        "When all files were counted, in seconds since 1970; absent before a count.";
    VERSION_CREATED: Gauge "rekeyfs_key_version_created_timestamp_seconds" ["key_id" "alias" "version"]
        "When a key version that is current or wraps files was made, in seconds since 1970.";
    NEXT_ROTATION: Gauge "rekeyfs_key_next_rotation_timestamp_seconds" ["key_id" "alias"]
        "When a key rotates next by itself, in seconds since 1970; absent for keys that don't.";
    DELETION: Gauge "rekeyfs_key_deletion_timestamp_seconds" ["key_id" "alias"]
        "When a key that is pending deletion is deleted, in seconds since 1970; absent for other keys.";
    KEYRING_GENERATION: Gauge "rekeyfs_keyring_generation" []
        "How often the keyring was saved.";
    SLOT_ADDED: Gauge "rekeyfs_unlock_slot_added_timestamp_seconds" []
        "When the newest unlock slot was made, in seconds since 1970.";
    SLOTS: Gauge "rekeyfs_unlock_slots" []
        "Unlock slots.";
    KEY_BACKUP_KNOWN: Gauge "rekeyfs_key_backup_known" []
        "Whether a key backup is known of: one that was exported, or one that is kept.";
    KEY_BACKUP_LAG: Gauge "rekeyfs_key_backup_lag_generations" []
        "Changes of the keyring that the newest key backup lacks; absent where none is known of.";
    KEY_BACKUP_LAG_VERSIONS: Gauge "rekeyfs_key_backup_lag_versions" []
        "Key versions that the newest key backup lacks; absent where none is known of.";
    KEY_BACKUPS_FAILING: Gauge "rekeyfs_key_backups_failing" []
        "Kept key backups that can't be written.";
    REWRAP_QUEUE: Gauge "rekeyfs_rewrap_queue_files" []
        "Stale files that were used and wait for their re-wrap.";
    REWRAPS: Counter "rekeyfs_rewrap_files_total" ["outcome"]
        "Files that a re-wrap, lazy or asked for, looked at.";
    DAMAGE: Counter "rekeyfs_damage_total" ["part"]
        "How often something stored was met that isn't what was written, by its part.";
    REFUSED: Counter "rekeyfs_refused_opens_total" ["reason"]
        "Files whose open, creation or truncation was refused.";
    EVENTS_WAITING: Gauge "rekeyfs_events_waiting" []
        "Events that could not be written to the audit log yet.";
    EVENTS_LOST: Gauge "rekeyfs_events_lost" []
        "Events that could neither be written nor kept, and that no line of the audit log speaks of yet.";
    EVENTS_HELD_BACK: Counter "rekeyfs_events_held_back_total" []
        "Events that a limit kept out of the audit log.";
    REQUEST_DURATION: Histogram "rekeyfs_request_duration_seconds" ["operation"]
        "How long the kernel's requests took to serve, their answer included.";
    REQUEST_ERRORS: Counter "rekeyfs_request_errors_total" ["operation" "errno"]
        "Requests that were answered with an error.";
    READ_BYTES: Counter "rekeyfs_read_bytes_total" []
        "Bytes that the kernel read from files.";
    WRITTEN_BYTES: Counter "rekeyfs_written_bytes_total" []
        "Bytes that the kernel wrote to files.";
    OPEN_FILES: Gauge "rekeyfs_open_files" []
        "Files that are open.";
    INODES: Gauge "rekeyfs_inodes" []
        "Inodes that are kept in memory.";
    LOWER_FREE_BYTES: Gauge "rekeyfs_lower_free_bytes" []
        "Space that the filesystem of the vault has left for users.";
    LOWER_SIZE_BYTES: Gauge "rekeyfs_lower_size_bytes" []
        "Size of the filesystem of the vault.";
    LOWER_FREE_INODES: Gauge "rekeyfs_lower_free_inodes" []
        "Inodes that the filesystem of the vault has left.";
    LOWER_INODES: Gauge "rekeyfs_lower_inodes" []
        "Inodes that the filesystem of the vault has room for; 0 where it has no bound.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The names of a documented table, and what the example alerts use.
    #[test]
    fn the_page_has_each_metric_and_the_alerts_use_no_other() {
        let page = include_str!("../../docs/metrics.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `rekeyfs_")).collect();
        let of_metric = |metric: &Metric| {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
            format!("| `{}` | {} | {labels} | {} |", metric.name, metric.kind.name(), metric.help)
        };
        let expected: Vec<String> = ALL.iter().map(of_metric).collect();
        assert_eq!(rows, expected, "docs/metrics.md is to have this table:\n{}", expected.join("\n"));

        let rules = include_str!("../../packaging/prometheus/rekeyfs.rules.yml");
        let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let used: HashSet<&str> = words.filter(|word| word.starts_with("rekeyfs_")).collect();
        assert!(used.len() > 8, "{used:?}");
        for name in used {
            let known = |metric: &Metric| match metric.kind {
                Kind::Histogram => name.strip_prefix(metric.name).is_some_and(|rest| rest.starts_with('_')),
                Kind::Gauge | Kind::Counter => name == metric.name,
            };
            assert!(ALL.iter().any(known), "the alerts use {name}, which there is not");
        }
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut names = HashSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("rekeyfs_"), "{name}");
            let letters = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(letters(name), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            for suffix in ["_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(suffix), "{name} would be taken for a part of a histogram");
            }
            assert!(metric.labels.iter().all(|label| letters(label) && !IDENTITY.contains(label)), "{name}");
            assert!(!metric.labels.contains(&"le"), "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\']), "{name}");
        }
    }
}
