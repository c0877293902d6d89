//! Times for people, the same in all commands and pages: in this machine's zone (`TZ`, else /etc/localtime), with the offset from UTC,
//! `2026-11-22 03:00 +01:00`. They are told to the minute; lines that aren't cut to a terminal's width have milliseconds.
//! Programs get UTC, as it is in JSON. The crate is jiff: std and the crate `time` can't tell the offset of a date in a process with
//! threads; without a zone that is known, it is UTC.

use jiff::tz::TimeZone;

use crate::ids::Timestamp;

/// The zone of this machine.
pub fn zone() -> TimeZone {
    TimeZone::system()
}

/// How much of a time is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// The day alone.
    Day,
    /// To the minute.
    Minute,
    /// To the millisecond.
    Millisecond,
}

impl Precision {
    const fn format(self) -> &'static str {
        match self {
            Self::Day => "%Y-%m-%d",
            Self::Minute => "%Y-%m-%d %H:%M %:z",
            Self::Millisecond => "%Y-%m-%d %H:%M:%S%.3f %:z",
        }
    }
}

/// A time as the operations write it, to the minute; another text as it is.
pub fn reworded(text: &str, zone: &TimeZone) -> String {
    told(text, zone, Precision::Minute)
}

/// The same, as precise as asked. A time that is in no calendar stays as it is.
pub fn told(text: &str, zone: &TimeZone, precision: Precision) -> String {
    let at = Timestamp::parse(text).and_then(|at| jiff::Timestamp::from_millisecond(at.0).ok());
    at.map_or_else(
        || text.to_owned(),
        |at| at.to_zoned_datetime(zone.clone()).strftime(precision.format()).to_string(),
    )
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
        let late = Timestamp(i64::MAX).to_string();
        assert_eq!(reworded(&late, &zone), late);
        let exact = |precision| told("2026-06-30T22:30:01.020Z", &zone, precision);
        assert_eq!(exact(Precision::Millisecond), "2026-07-01 00:30:01.020 +02:00");
        assert_eq!(exact(Precision::Day), "2026-07-01");
    }
}
