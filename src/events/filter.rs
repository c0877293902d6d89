//! Which events are asked for. `rekeyfs events` and the control protocol have these filters, and no others: an event is taken
//! if each one that is given takes it. They go by what an event's JSON says, so that whoever reads the log can apply them;
//! whether a line is the vault's is another question ([`Doubtful`](super::Doubtful)).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::actor::{NoPrincipal, Principal};
use super::event::ARN_PREFIX;
use crate::ids::{IdPrefix, KeyId, NoId};

/// The filters. Without any, all events are taken.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventFilter {
    /// From this time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<LogTime>,
    /// To the end of this time: of the day, if it is a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<LogTime>,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventName>,
    /// The key that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<EventKey>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
}

impl EventFilter {
    /// Whether an event is asked for. One without a time is within all times: nobody wrote it by whom filters can go.
    pub fn takes(&self, event: &Value) -> bool {
        let time = event["time"].as_str();
        let (since, until) = (self.since.as_ref(), self.until.as_ref());
        since.is_none_or(|since| time.is_none_or(|time| time >= since.0.as_str()))
            && until.is_none_or(|until| time.is_none_or(|time| until.has_come_by(time)))
            && self.event.as_ref().is_none_or(|name| name.names(event))
            && self.key.as_ref().is_none_or(|key| key.is_in(&event["detail"]))
            && self.who.is_none_or(|who| who.did(&event["detail"]))
    }
}

/// A time in UTC as the log writes it, or its beginning: a year, a month, a day, a minute.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogTime(String);

/// A text that is no time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{}' is no time; write it as 2026-11-22 or 2026-11-22T09:30, in UTC", .0.escape_debug())]
pub struct NoTime(String);

impl LogTime {
    /// Whether `time` isn't after the end of this one.
    fn has_come_by(&self, time: &str) -> bool {
        time.as_bytes().get(..self.0.len()).unwrap_or(time.as_bytes()) <= self.0.as_bytes()
    }
}

impl FromStr for LogTime {
    type Err = NoTime;

    fn from_str(text: &str) -> Result<Self, NoTime> {
        let pattern = "0000-00-00T00:00:00.000Z";
        let fits =
            |(typed, meant): (char, char)| if meant == '0' { typed.is_ascii_digit() } else { typed == meant };
        let whole = text.len() >= 4 && text.len() <= pattern.len();
        if whole && text.chars().zip(pattern.chars()).all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoTime(text.to_owned()))
        }
    }
}

/// What happened, in words of the log: a part of the event's type or of an operation's name, whatever the case of its letters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventName(String);

/// A text that names no event.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an event is named by some of its words, as in 'Rotation' or 'DisableKey'")]
pub struct NoEventName;

impl EventName {
    fn names(&self, event: &Value) -> bool {
        let names = [&event["detail-type"], &event["detail"]["event-name"]];
        names.iter().filter_map(|name| name.as_str()).any(|name| name.to_lowercase().contains(&self.0))
    }
}

impl FromStr for EventName {
    type Err = NoEventName;

    fn from_str(text: &str) -> Result<Self, NoEventName> {
        match text.trim() {
            "" => Err(NoEventName),
            name => Ok(Self(name.to_lowercase())),
        }
    }
}

/// A key: its id, the beginning of one, or its ARN. The log has no aliases.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EventKey {
    /// This one.
    Whole(KeyId),
    /// All whose ids begin so: one that is deleted can't be looked up any more.
    Prefix(IdPrefix),
}

impl EventKey {
    fn is_in(&self, detail: &Value) -> bool {
        let is = |id: &str| match self {
            Self::Whole(key) => id.parse() == Ok(*key),
            Self::Prefix(prefix) => prefix.begins(id),
        };
        ["key-id", "previous-key-id"].iter().filter_map(|field| detail[field].as_str()).any(is)
    }
}

impl FromStr for EventKey {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let id = text.strip_prefix(ARN_PREFIX).and_then(|rest| rest.strip_prefix("key/")).unwrap_or(text);
        match id.parse() {
            Ok(whole) => Ok(Self::Whole(whole)),
            Err(_) => id.parse().map(Self::Prefix),
        }
    }
}

/// Who did something: a user, by the process that asked or on whose behalf it asked; or who administers the vault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Who(Principal);

impl Who {
    fn did(self, detail: &Value) -> bool {
        let asked = matches!(self.0, Principal::User(uid) if detail["uid"] == uid);
        asked || detail["principal"].as_str().is_some_and(|text| text.parse() == Ok(self.0))
    }
}

/// Also a uid alone.
impl FromStr for Who {
    type Err = NoPrincipal;

    fn from_str(text: &str) -> Result<Self, NoPrincipal> {
        let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if number { format!("uid:{text}").parse() } else { text.parse() }.map(Self)
    }
}

impl fmt::Display for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(key) => key.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! by_its_text {
    ($($name:ident: $error:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

by_its_text!(LogTime: NoTime, EventName: NoEventName, EventKey: NoId, Who: NoPrincipal);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "7b0c5f8e-6a1d-4c57-9f2b-3f1d2f0c9a44";

    fn event() -> Value {
        json!({"time": "2026-11-22T09:30:05.004Z", "detail-type": "KMS Key Operation",
            "detail": {"event-name": "DisableKey", "key-id": KEY, "uid": 1000, "principal": "admin"}})
    }

    fn takes(filter: &Value) -> bool {
        let filter: EventFilter = serde_json::from_value(filter.clone()).unwrap();
        let again: EventFilter = serde_json::from_str(&serde_json::to_string(&filter).unwrap()).unwrap();
        assert_eq!(again, filter);
        filter.takes(&event())
    }

    #[test]
    fn an_event_is_taken_if_each_filter_takes_it() {
        let taken = [
            json!({}),
            json!({"since": "2026-11-22"}),
            json!({"since": "2026-11-22T09:30", "until": "2026-11-22T09:30"}),
            json!({"until": "2026"}),
            json!({"until": "2026-11-22"}),
            json!({"event": "key operation"}),
            json!({"event": "DISABLE"}),
            json!({"key": KEY}),
            json!({"key": "7b0c5f8e"}),
            json!({"key": "7B0C"}),
            json!({"key": format!("{ARN_PREFIX}key/{KEY}")}),
            json!({"who": "1000"}),
            json!({"who": "uid:1000"}),
            json!({"who": "admin"}),
            json!({"since": "2026", "until": "2027", "event": "key", "key": KEY, "who": "1000"}),
        ];
        let left = [
            json!({"since": "2026-11-22T09:31"}),
            json!({"until": "2026-11-21"}),
            json!({"until": "2026-11-22T09:29"}),
            json!({"event": "rotation"}),
            json!({"key": "7b0c5f8f"}),
            json!({"key": "11111111-6a1d-4c57-9f2b-3f1d2f0c9a44"}),
            json!({"who": "100"}),
            json!({"since": "2026", "who": "0"}),
        ];
        for filter in taken {
            assert!(takes(&filter), "{filter}");
        }
        for filter in left {
            assert!(!takes(&filter), "{filter}");
        }
        let moved =
            json!({"detail": {"previous-key-id": KEY, "key-id": "11111111-6a1d-4c57-9f2b-3f1d2f0c9a44"}});
        let by_key = EventFilter { key: KEY.parse().ok(), ..EventFilter::default() };
        assert!(by_key.takes(&moved), "files that left the key are its matter too");
        let by_time = EventFilter { since: "2027".parse().ok(), ..EventFilter::default() };
        assert!(by_time.takes(&json!({})) && !by_key.takes(&json!({"detail": 7})));
    }

    #[test]
    fn times_are_taken_as_the_log_writes_them() {
        for good in ["2026", "2026-11-22", "2026-11-22T09:30", "2026-11-22T09:30:00.000Z"] {
            assert!(good.parse::<LogTime>().is_ok(), "{good}");
        }
        for bad in ["", "22.11.2026", "yesterday", "2026-11-22 09:30", "2026-11-22T09:30:00.000Z+01", "2026é"]
        {
            assert!(bad.parse::<LogTime>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_filters_go_by_has_a_form() {
        for bad in ["", "key", "7b0", "alias/a", "7b0c5f8e-6a1d-4c57-9f2b-3f1d2f0c9a4g"] {
            assert!(bad.parse::<EventKey>().is_err(), "{bad}");
        }
        for bad in ["", "root", "-1", "4294967295", "uid:"] {
            assert!(bad.parse::<Who>().is_err(), "{bad}");
        }
        assert!(" ".parse::<EventName>().is_err());
    }
}
