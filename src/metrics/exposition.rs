//! Prometheus' text format, version 0.0.4: the one that node_exporter's textfile collector reads.
//!
//! The crate `prometheus-client` isn't used: it writes OpenMetrics, which the collector doesn't take (a counter's
//! HELP and TYPE lines lack `_total`, and `# EOF` follows), and it owns the values, while these come from other
//! processes.
//!
//! node_exporter drops a whole file for one line that it can't read or has read before, and so all mounts for one. So a
//! sample that isn't of its metric's shape, and one whose labels another has had, is left out.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use super::catalogue::{ALL, IDENTITY, Kind, Metric};
use super::report::{MetricsReport, Sample, Value};
use super::requests::{BOUNDS_US, BUCKETS};
use crate::printable;

/// Whose samples they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The vault's id; empty where it isn't known.
    pub vault: String,
    /// Where it is mounted; empty where it isn't.
    pub mountpoint: String,
}

impl Source {
    /// The samples of a vault of which nothing is known.
    pub fn unknown() -> Self {
        Self { vault: String::new(), mountpoint: String::new() }
    }

    /// The samples of a vault that is or was mounted at `mountpoint`.
    pub fn mounted(vault: String, mountpoint: &Path) -> Self {
        Self { vault, mountpoint: printable::path(mountpoint) }
    }
}

/// All samples, those of one metric together.
pub fn render(reports: &[(Source, MetricsReport)]) -> String {
    let mut out = String::new();
    for metric in ALL {
        let mut seen = HashSet::new();
        for (source, report) in reports {
            for Sample(labels, value) in report.samples(metric) {
                if !fits(metric, labels, value) {
                    continue;
                }
                let names = IDENTITY.iter().chain(metric.labels);
                let values = [&source.vault, &source.mountpoint].into_iter().chain(labels);
                let labels: Vec<String> =
                    names.zip(values).map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
                let labels = labels.join(",");
                if seen.is_empty() {
                    let Metric { name, kind, help, .. } = metric;
                    // Writing to a string can't fail.
                    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
                }
                if !seen.contains(&labels) {
                    sample(&mut out, metric, &labels, value);
                    seen.insert(labels);
                }
            }
        }
    }
    out
}

fn fits(metric: &Metric, labels: &[String], value: &Value) -> bool {
    labels.len() == metric.labels.len()
        && match value {
            Value::Number(_) => metric.kind != Kind::Histogram,
            Value::Durations { counts, .. } => metric.kind == Kind::Histogram && counts.len() == BUCKETS,
        }
}

fn sample(out: &mut String, metric: &Metric, labels: &str, value: &Value) {
    let name = metric.name;
    let _ = match value {
        Value::Number(number) => writeln!(out, "{name}{{{labels}}} {number}"),
        Value::Durations { counts, sum_ns } => {
            let mut under = 0_u64;
            for (at, count) in counts.iter().enumerate() {
                under = under.saturating_add(*count);
                // Microseconds, none of which needs more digits than a double has.
                let bound =
                    BOUNDS_US.get(at).map_or_else(|| "+Inf".into(), |us| (*us as f64 / 1e6).to_string());
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {under}");
            }
            let (seconds, rest) = (sum_ns / 1_000_000_000, sum_ns % 1_000_000_000);
            let _ = writeln!(out, "{name}_sum{{{labels}}} {seconds}.{rest:09}");
            writeln!(out, "{name}_count{{{labels}}} {under}")
        }
    };
}

/// A label's value: on one line, and safe on a terminal.
fn escaped(value: &str) -> String {
    printable::line(value).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalogue as all;

    fn source(mountpoint: &str) -> Source {
        Source { vault: "v".into(), mountpoint: mountpoint.into() }
    }

    #[test]
    fn samples_of_several_mounts_stand_together_under_one_head() {
        let mut one = MetricsReport::default();
        one.add(&all::UP, &[], 1);
        one.add(&all::DAMAGE, &["page"], 3);
        let mut two = MetricsReport::default();
        two.add(&all::UP, &[], 0);
        let text = render(&[(source("/a"), one), (source("/b"), two)]);
        let expected = format!(
            "# HELP rekeyfs_up {}\n# TYPE rekeyfs_up gauge\n\
             rekeyfs_up{{vault=\"v\",mountpoint=\"/a\"}} 1\nrekeyfs_up{{vault=\"v\",mountpoint=\"/b\"}} 0\n\
             # HELP rekeyfs_damage_total {}\n# TYPE rekeyfs_damage_total counter\n\
             rekeyfs_damage_total{{vault=\"v\",mountpoint=\"/a\",part=\"page\"}} 3\n",
            all::UP.help,
            all::DAMAGE.help
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn buckets_add_up_and_bounds_are_seconds() {
        let mut report = MetricsReport::default();
        let mut counts = vec![0; BUCKETS];
        (counts[0], counts[1], counts[BUCKETS - 1]) = (2, 3, 1);
        report.add_value(
            &all::REQUEST_DURATION,
            &["read"],
            Value::Durations { counts, sum_ns: 12_000_000_345 },
        );
        let text = render(&[(source("/a"), report)]);
        let labels = "vault=\"v\",mountpoint=\"/a\",operation=\"read\"";
        for line in [
            format!("rekeyfs_request_duration_seconds_bucket{{{labels},le=\"0.000004\"}} 2\n"),
            format!("rekeyfs_request_duration_seconds_bucket{{{labels},le=\"0.000008\"}} 5\n"),
            format!("rekeyfs_request_duration_seconds_bucket{{{labels},le=\"1.048576\"}} 5\n"),
            format!("rekeyfs_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 6\n"),
            format!("rekeyfs_request_duration_seconds_sum{{{labels}}} 12.000000345\n"),
            format!("rekeyfs_request_duration_seconds_count{{{labels}}} 6\n"),
        ] {
            assert!(text.contains(&line), "{line} isn't in\n{text}");
        }
    }

    /// Another user's daemon can say what it likes.
    #[test]
    fn what_a_daemon_says_beside_the_catalogue_spoils_no_line() {
        let text = r#"{"families":[
            {"name":"node_load1","samples":[[[],7]]},
            {"name":"rekeyfs_up","samples":[[[],1],[[],2],[["more"],3],[[],{"counts":[],"sum_ns":1}]]},
            {"name":"rekeyfs_up","samples":[[[],4]]},
            {"name":"rekeyfs_request_duration_seconds","samples":[[["read"],{"counts":[1],"sum_ns":1}],[["read"],5]]},
            {"name":"rekeyfs_damage_total","samples":[[["a\"} 1\nb\\\u001b[31m"],1]]}
        ]}"#;
        let report: MetricsReport = serde_json::from_str(text).unwrap();
        let text = render(&[(source("/a"), report)]);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "rekeyfs_up{vault=\"v\",mountpoint=\"/a\"} 1",
                "rekeyfs_damage_total{vault=\"v\",mountpoint=\"/a\",part=\"a\\\"} 1\\\\nb\\\\\\\\u{1b}[31m\"} 1",
            ]
        );
    }
}
