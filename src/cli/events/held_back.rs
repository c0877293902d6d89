//! What the limits of the audit log's classes held back, summed over the lines that were shown.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::exit::one_line;
use crate::printable;

/// How many events were held back, by class, in all lines that were shown.
#[derive(Default)]
pub(super) struct HeldBack(BTreeMap<String, u64>);

impl HeldBack {
    /// Those before this event. Earlier versions didn't say of which class they were.
    pub(super) fn add(&mut self, event: &Value) {
        let Some(all) = event["events-held-back"].as_u64() else { return };
        let mut unknown = all;
        for (class, count) in event["held-back"].as_object().into_iter().flatten() {
            let count = count.as_u64().unwrap_or_default();
            unknown = unknown.saturating_sub(count);
            self.count(class, count);
        }
        self.count("of an unknown class", unknown);
    }

    fn count(&mut self, class: &str, count: u64) {
        if count > 0 {
            let sum = self.0.entry(class.to_owned()).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// A last line that says how many of which class; empty if there were none.
    pub(super) fn summary(&self) -> String {
        let all = self.0.values().copied().fold(0, u64::saturating_add);
        if all == 0 {
            return String::new();
        }
        let classes: Vec<String> = self.0.iter().map(|(class, count)| format!("{count} {class}")).collect();
        let all = printable::counted(all, "event was", "events were");
        format!("{all} held back by the limit of their class: {}\n", one_line(&classes.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_held_back_is_summed_by_class() {
        let refused = json!({"events-held-back": 7, "held-back": {"refusals": 5, "damage": 2}, "detail": {}});
        let mut held_back = HeldBack::default();
        assert_eq!(held_back.summary(), "");
        held_back.add(&refused);
        held_back.add(&refused);
        held_back.add(&json!({"events-held-back": 1, "detail": {}}));
        let told = "15 events were held back by the limit of their class: 4 damage, 1 of an unknown class, 10 refusals\n";
        assert_eq!(held_back.summary(), told);
    }
}
