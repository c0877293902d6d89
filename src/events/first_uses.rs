//! Requests of a kind that a user didn't make lately: a flood of one kind that uses up the user's limit doesn't hide another kind.
//! A kind is an operation, the key and whether it was refused. Each passes once in [`LATELY`]; of each user so many kinds are
//! kept that a flood of kinds costs little, and those beyond have the user's limit alone.

use std::collections::HashMap;

use crate::ids::{KeyId, Timestamp};

/// How long a kind isn't new, in milliseconds.
const LATELY: i64 = 3_600_000;
/// Kinds that are kept of a user.
const KINDS: usize = 256;
/// Users of whom kinds are kept.
const USERS: usize = 1024;

/// What a request did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RequestKind {
    /// The operation.
    pub operation: &'static str,
    /// The key that it used or was about, if there is one.
    pub key: Option<KeyId>,
    /// Whether it was refused.
    pub refused: bool,
}

/// The kinds that users asked for lately, and when.
#[derive(Default)]
pub(super) struct FirstUses(HashMap<u32, HashMap<RequestKind, Timestamp>>);

impl FirstUses {
    /// Whether a user didn't ask for this lately; from now on that was lately.
    pub(super) fn is_first(&mut self, user: u32, kind: RequestKind, now: Timestamp) -> bool {
        // A clock that was set back makes nothing new, nor keeps it old for long.
        let is_late = |at: &Timestamp| (now.0 - at.0).abs() < LATELY;
        if !self.0.contains_key(&user) && self.0.len() >= USERS {
            self.0.retain(|_, kinds| kinds.values().any(is_late));
            if self.0.len() >= USERS {
                return false;
            }
        }
        let kinds = self.0.entry(user).or_default();
        if kinds.get(&kind).is_some_and(is_late) {
            return false;
        }
        if kinds.len() >= KINDS {
            kinds.retain(|_, at| is_late(at));
        }
        let fits = kinds.len() < KINDS;
        if fits {
            kinds.insert(kind, now);
        }
        fits
    }

    /// It was not recorded after all: the next one is the first.
    pub(super) fn forget(&mut self, user: u32, kind: RequestKind) {
        self.0.get_mut(&user).and_then(|kinds| kinds.remove(&kind));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(key: u32) -> RequestKind {
        let key = (key > 0).then(|| KeyId::from_bytes(u128::from(key).to_le_bytes()));
        RequestKind { operation: "Decrypt", key, refused: false }
    }

    #[test]
    fn each_kind_is_first_once_in_an_hour_for_each_user() {
        let (mut uses, now) = (FirstUses::default(), Timestamp(5 * LATELY));
        for user in [0, 1000] {
            assert!(uses.is_first(user, kind(0), now));
            assert!(!uses.is_first(user, kind(0), Timestamp(now.0 + LATELY - 1)));
            assert!(uses.is_first(user, kind(1), now));
            assert!(uses.is_first(user, RequestKind { refused: true, ..kind(1) }, now));
            assert!(uses.is_first(user, RequestKind { operation: "Encrypt", ..kind(1) }, now));
            assert!(uses.is_first(user, kind(0), Timestamp(now.0 + LATELY)));
            assert!(uses.is_first(user, kind(0), now), "the clock was set back by an hour");
        }
        uses.forget(0, kind(1));
        assert!(uses.is_first(0, kind(1), now) && !uses.is_first(1000, kind(1), now));
    }

    #[test]
    fn a_flood_of_kinds_has_an_end_and_hides_no_other_users_first() {
        let (mut uses, now) = (FirstUses::default(), Timestamp(0));
        assert_eq!((0..5000).filter(|n| uses.is_first(1000, kind(*n), now)).count(), KINDS);
        assert!(uses.is_first(1001, kind(1), now));
        assert_eq!((0..5000).filter(|n| uses.is_first(1000, kind(*n), Timestamp(LATELY))).count(), KINDS);
        let users = (2000..5000).filter(|user| uses.is_first(*user, kind(1), Timestamp(LATELY))).count();
        assert_eq!(users, USERS - 1, "the place of the one who is idle is free again");
        let users = (2000..5000).filter(|user| uses.is_first(*user, kind(1), Timestamp(2 * LATELY))).count();
        assert_eq!(users, USERS);
    }
}
