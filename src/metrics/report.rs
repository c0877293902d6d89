//! Samples of metrics, as a daemon passes them on.

use serde::{Deserialize, Serialize};

use super::catalogue::Metric;

/// What a vault reports of itself. A metric's name stands once and its labels have none, so that the report of a vault
/// with many keys fits into one message.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct MetricsReport {
    families: Vec<Family>,
}

/// The samples of one metric.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Family {
    name: String,
    samples: Vec<Sample>,
}

/// One value: what its metric's labels are, in their order, and the value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sample(pub Vec<String>, pub Value);

/// A value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Of a gauge or counter.
    Number(u64),
    /// Of a histogram.
    Durations {
        /// How many fell under each bound and above the one before it; the last, above all.
        counts: Vec<u64>,
        /// Their sum, in nanoseconds.
        sum_ns: u64,
    },
}

impl MetricsReport {
    /// Adds a number.
    pub fn add(&mut self, metric: &Metric, labels: &[&str], number: u64) {
        self.add_value(metric, labels, Value::Number(number));
    }

    /// Adds a value.
    pub fn add_value(&mut self, metric: &Metric, labels: &[&str], value: Value) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        let sample = Sample(labels.iter().map(|&label| label.to_owned()).collect(), value);
        match self.families.iter_mut().find(|family| family.name == metric.name) {
            Some(family) => family.samples.push(sample),
            None => self.families.push(Family { name: metric.name.to_owned(), samples: vec![sample] }),
        }
    }

    /// Whether it has samples of a metric.
    pub fn has(&self, metric: &Metric) -> bool {
        self.samples(metric).next().is_some()
    }

    /// The samples of a metric, whatever their shape.
    pub fn samples(&self, metric: &Metric) -> impl Iterator<Item = &Sample> {
        self.families.iter().filter(|family| family.name == metric.name).flat_map(|family| &family.samples)
    }
}
