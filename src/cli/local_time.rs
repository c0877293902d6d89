//! Times for people: in this machine's zone (`TZ`, else /etc/localtime), with the offset from UTC, to the minute. Programs
//! get UTC, as it is in JSON. The crate is jiff: std and the crate `time` can't tell the offset of a date in a process with
//! threads; without a zone that is known, it is UTC.

use jiff::tz::TimeZone;

use crate::ids::Timestamp;

/// The zone of this machine.
pub(super) fn zone() -> TimeZone {
    TimeZone::system()
}

/// A time in a zone; one that is in no calendar as it is.
pub(super) fn shown(at: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(time) => time.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M %:z").to_string(),
        Err(_) => at.to_string(),
    }
}

/// The same for a time as the operations write it; another text as it is.
pub(super) fn reworded(text: &str, zone: &TimeZone) -> String {
    Timestamp::parse(text).map_or_else(|| text.to_owned(), |at| shown(at, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summer_and_winter_have_their_offsets() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(reworded("2026-11-22T02:00:59.999Z", &zone), "2026-11-22 03:00 +01:00");
        assert_eq!(reworded("2026-06-30T22:30:00.000Z", &zone), "2026-07-01 00:30 +02:00");
        assert_eq!(reworded("2026-06-30T22:30:00.000Z", &TimeZone::UTC), "2026-06-30 22:30 +00:00");
        assert_eq!(reworded("soon", &zone), "soon");
        assert!(shown(Timestamp(i64::MAX), &zone).ends_with("ms since 1970"));
    }
}
