//! Times in an answer. The interface gives seconds since 1970, as AWS's does on the wire; the AWS CLI of version 2 shows
//! ISO 8601 with this machine's offset from UTC, unless its `cli_timestamp_format` is `wire`.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::kms::api::{self, Kind, Member};

/// The fields of answers that are times, by the table of operations.
static TIMES: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let mut times = BTreeSet::new();
    api::operations().for_each(|operation| times_of(operation.answer, &mut times));
    times
});

fn times_of(members: &'static [Member], times: &mut BTreeSet<&'static str>) {
    for member in members {
        match member.kind {
            Kind::Time => {
                times.insert(member.name);
            }
            Kind::Structure(members) | Kind::List(&Kind::Structure(members)) => times_of(members, times),
            _ => {}
        }
    }
}

/// Puts each time of an answer as ISO 8601 in a zone.
pub(super) fn to_iso8601(answer: &mut Value, zone: &TimeZone) {
    match answer {
        Value::Array(items) => items.iter_mut().for_each(|item| to_iso8601(item, zone)),
        Value::Object(object) => {
            for (name, value) in object {
                match iso8601(name, value, zone) {
                    Some(text) => *value = text.into(),
                    None => to_iso8601(value, zone),
                }
            }
        }
        _ => {}
    }
}

/// As Python's `datetime.isoformat`: microseconds, unless there are none.
fn iso8601(name: &str, value: &Value, zone: &TimeZone) -> Option<String> {
    let seconds = value.as_f64().filter(|_| TIMES.contains(name))?;
    // Times are whole milliseconds; a float of seconds is off by less than one.
    let time = jiff::Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok()?;
    let whole = time.as_millisecond() % 1000 == 0;
    let format = if whole { "%Y-%m-%dT%H:%M:%S%:z" } else { "%Y-%m-%dT%H:%M:%S%.6f%:z" };
    Some(time.to_zoned_datetime(zone.clone()).strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_shown_as_the_aws_cli_shows_them() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let answer = json!({ "Aliases": [{ "AliasName": "CreationDate", "CreationDate": 1_764_471_600.123, "LastUpdatedDate": 1_782_855_000.0 }] });
        let shown = |zone: &TimeZone| {
            let mut answer = answer.clone();
            to_iso8601(&mut answer, zone);
            let alias = &answer["Aliases"][0];
            assert_eq!(alias["AliasName"], "CreationDate");
            [&alias["CreationDate"], &alias["LastUpdatedDate"]].map(|time| time.as_str().unwrap().to_owned())
        };
        assert_eq!(shown(&TimeZone::UTC), ["2025-11-30T03:00:00.123000+00:00", "2026-06-30T21:30:00+00:00"]);
        assert_eq!(shown(&zone), ["2025-11-30T04:00:00.123000+01:00", "2026-06-30T23:30:00+02:00"]);
        // What is no time of this calendar stays.
        let mut far = json!({ "ValidTo": 1e300, "Other": 1.5 });
        let before = far.clone();
        to_iso8601(&mut far, &zone);
        assert_eq!(far, before);
    }

    #[test]
    fn the_fields_that_are_times_are_those_of_the_operations() {
        let expected = [
            "CreationDate",
            "DeletionDate",
            "LastUpdatedDate",
            "NextRotationDate",
            "OnDemandRotationStartDate",
            "ParametersValidTo",
            "RotationDate",
            "ValidTo",
        ];
        assert_eq!(TIMES.iter().copied().collect::<Vec<_>>(), expected);
    }

    /// Each millisecond that a float of seconds can stand for comes back as itself.
    #[test]
    fn no_time_is_off_by_a_millisecond() {
        for ms in (1_764_471_600_000_i64..1_764_471_602_000).chain([0, 1, 999, 253_402_207_199_999]) {
            let mut answer = json!({ "ValidTo": ms as f64 / 1000.0 });
            to_iso8601(&mut answer, &TimeZone::UTC);
            let time: jiff::Timestamp = answer["ValidTo"].as_str().unwrap().parse().unwrap();
            assert_eq!(time.as_millisecond(), ms);
        }
    }
}
