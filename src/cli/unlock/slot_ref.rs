//! Which unlock slot is meant: it is named by its id, by the beginning of one, or by its label.

use crate::cli::errors;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::ids::{self, NotOne, SlotId};
use crate::keyring::{KeyringError, LabelError, Opened, SlotLabel};
use crate::printable;
use crate::unlock::SlotInfo;

/// What can be known of a slot that is named.
pub(super) struct KnownSlot {
    pub(super) info: SlotInfo,
    pub(super) label: Option<SlotLabel>,
}

impl KnownSlot {
    /// The slots, in their order, with their labels.
    pub(super) fn all(slots: Vec<SlotInfo>, labels: &[(SlotId, SlotLabel)]) -> Vec<Self> {
        let label_of = |info: &SlotInfo| {
            let found = labels.iter().find(|(slot, _)| info.id == Some(*slot));
            found.map(|(_, label)| label.clone())
        };
        slots.into_iter().map(|info| Self { label: label_of(&info), info }).collect()
    }

    /// As it is named in messages: its id, what it is, its label.
    pub(super) fn name(&self) -> String {
        let id = self.info.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let label = self.label.as_ref().map(|label| format!(", {label}")).unwrap_or_default();
        printable::line(&format!("{id} ({}{label})", self.info.kind)).into_owned()
    }
}

/// The slot that `asked` names. A whole id needn't be that of a slot: what is done with it finds out.
///
/// # Errors
/// [`Exit::Usage`]: none is named so, or several.
pub(super) fn find(asked: &str, slots: &[KnownSlot]) -> Outcome<SlotId> {
    let begins = match ids::named(asked, slots.iter().filter_map(|slot| slot.info.id)) {
        Ok(Ok(slot)) => vec![slot],
        Ok(Err(NotOne::Several(slots))) => slots,
        Ok(Err(NotOne::None)) | Err(_) => Vec::new(),
    };
    let labelled = slots
        .iter()
        .filter(|slot| slot.label.as_ref().is_some_and(|label| label.as_str() == asked))
        .filter_map(|slot| slot.info.id);
    let mut found: Vec<SlotId> = begins.into_iter().chain(labelled).collect();
    found.sort_unstable();
    found.dedup();
    let failed = |cause: String| Failure::new(Exit::Usage, format!("unlock slot {asked:?}"), cause);
    match found[..] {
        [] => Err(failed(
            "no slot has this label, or an id that begins so; `rekeyfs unlock list` shows them".to_owned(),
        )),
        [one] => Ok(one),
        _ => {
            let several = slots.iter().filter(|slot| slot.info.id.is_some_and(|id| found.contains(&id)));
            let names: Vec<String> = several.map(KnownSlot::name).collect();
            Err(failed(format!("several slots are named so, give more of an id: {}", names.join("; "))))
        }
    }
}

/// The slots, as they are on disk now.
///
/// # Errors
/// The keyring can't be read.
pub(super) fn known_slots(opened: &Opened) -> Outcome<Vec<KnownSlot>> {
    let failed = |error: KeyringError| errors::keyring(&error);
    let slots = opened.keys.slots().map_err(failed)?;
    Ok(KnownSlot::all(slots, &opened.keys.slot_labels().map_err(failed)?))
}

/// The label that was typed, if one was.
///
/// # Errors
/// [`Exit::Usage`]: it can't be one.
pub(super) fn parse_label(text: Option<&str>) -> Outcome<Option<SlotLabel>> {
    let label = text.map(str::parse).transpose();
    label.map_err(|error: LabelError| Failure::new(Exit::Usage, "label of an unlock slot", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots() -> Vec<KnownSlot> {
        let slot = |first: u8, second: u8, label: Option<&str>| {
            let mut id = [7; 16];
            id[..2].copy_from_slice(&[first, second]);
            KnownSlot {
                info: SlotInfo {
                    id: Some(SlotId::from_bytes(id)),
                    kind: "passphrase".into(),
                    created: None,
                    kdf: None,
                    custody: None,
                },
                label: label.map(|label| label.parse().unwrap()),
            }
        };
        vec![
            slot(0xab, 0xcd, Some("laptop")),
            slot(0xab, 0xce, Some("safe")),
            slot(0x12, 0x34, Some("safe")),
            slot(0x56, 0x78, Some("abcd")),
        ]
    }

    #[test]
    fn a_slot_is_named_by_id_beginning_or_label() {
        let slots = slots();
        let id = |at: usize| slots[at].info.id.unwrap();
        let found = |asked: &str| find(asked, &slots);
        assert_eq!(found(&id(1).to_string()), Ok(id(1)));
        assert_eq!(found("ABCE"), Ok(id(1)));
        assert_eq!(found("1234"), Ok(id(2)));
        assert_eq!(found("laptop"), Ok(id(0)));
        let unknown = SlotId::from_bytes([9; 16]);
        assert_eq!(found(&unknown.to_string()), Ok(unknown));
    }

    #[test]
    fn a_name_of_none_or_several_is_refused() {
        let slots = slots();
        let refused = |asked: &str| find(asked, &slots).unwrap_err().to_string();
        assert!(refused("123").contains("no slot"), "too short");
        assert!(refused("nobody").contains("no slot") && refused("").contains("no slot"));
        let several = refused("safe");
        assert!(several.contains("abce") && several.contains("1234") && !several.contains("laptop"));
        assert!(refused("abcd").contains("several"), "one's label and another's id");
    }
}
