//! Unlock slots as they are shown.

use jiff::tz::TimeZone;
use serde::Serialize;

use super::slot_ref::KnownSlot;
use crate::cli::fit;
use crate::cli::short_ids::ShortIds;
use crate::crypto::password::KdfParams;
use crate::ids::SlotId;
use crate::keyring::SlotLabel;
use crate::local_time;
use crate::printable;
use crate::unlock::{CustodianName, CustodyParams, SlotInfo};

/// Columns of a kind: of `passphrase`.
const KIND: usize = 10;
/// Columns of a time.
const MADE: usize = 23;

/// An unlock slot.
#[derive(Serialize)]
pub(in crate::cli) struct Row {
    id: Option<SlotId>,
    kind: String,
    label: Option<SlotLabel>,
    created: Option<String>,
    kdf: Option<KdfParams>,
    /// Of a custodian's slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    custodian: Option<CustodianName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<CustodyParams>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<String>,
}

impl From<KnownSlot> for Row {
    fn from(KnownSlot { info, label }: KnownSlot) -> Self {
        let custody = info.custody;
        Self {
            id: info.id,
            kind: info.kind,
            label,
            created: info.created.map(|time| time.to_string()),
            kdf: info.kdf,
            custodian: custody.as_ref().map(|custody| custody.custodian().clone()),
            params: custody.as_ref().map(|custody| custody.params().clone()),
            key_version: custody.as_ref().and_then(|custody| custody.key_version().map(str::to_owned)),
        }
    }
}

/// Slots as they are shown where labels aren't known.
pub(in crate::cli) fn unlabelled(slots: Vec<SlotInfo>) -> Vec<Row> {
    KnownSlot::all(slots, &[]).into_iter().map(Row::from).collect()
}

/// A line for each slot, below a heading; folded where it is wider than asked. Ids are shown as far as they are needed to
/// name a slot, or whole where there is space.
pub(in crate::cli) fn slot_lines(slots: &[Row], width: usize, zone: &TimeZone) -> String {
    let ids = ShortIds::of(slots.iter().filter_map(|slot| slot.id), width);
    let line = |id: &str, kind: &str, made: &str, rest: &str| {
        let before = format!("{id:0$}  {kind:KIND$}  {made:MADE$}  ", ids.columns());
        fit::folded(format!("{before}{rest}").trim_end(), width, before.len())
    };
    let mut out = line("slot", "kind", "made", "label; cost of trying");
    for slot in slots {
        let id = slot.id.map_or_else(|| "-".to_owned(), |id| ids.show(id));
        let made = slot.created.as_deref().map(|at| local_time::reworded(at, zone)).unwrap_or_default();
        let costs = slot.kdf.as_ref().map(costs);
        let notes: Vec<String> = slot
            .label
            .as_ref()
            .map(ToString::to_string)
            .into_iter()
            .chain(costs)
            .chain(custody(slot))
            .collect();
        out.push_str(&line(&id, &printable::line(&slot.kind), &made, &notes.join("; ")));
    }
    out
}

/// The custodian, its parameters as anyone can have written them, and the version of its key.
fn custody(slot: &Row) -> Option<String> {
    let (custodian, params) = (slot.custodian.as_ref()?, slot.params.as_ref()?);
    let params = printable::line(&params.to_line()).into_owned();
    let version =
        slot.key_version.as_deref().map(|version| format!(", version {}", printable::line(version)));
    Some(format!("{custodian} {params}{}", version.unwrap_or_default()))
}

fn costs(kdf: &KdfParams) -> String {
    format!(
        "Argon2id, {} MiB, {}, {}",
        kdf.memory_kib >> 10,
        printable::counted(kdf.passes, "pass", "passes"),
        printable::counted(kdf.lanes, "lane", "lanes")
    )
}
