//! Points in time as the keyring and the event log keep them. Calendar and RFC 3339 are the crate `time`'s.

use std::fmt;
use std::num::NonZeroU8;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};
use time::format_description::well_known::{Iso8601, Rfc3339};

/// A point in time: milliseconds since 1970-01-01 UTC, leap seconds not counted. Shown as RFC 3339 in UTC, always with
/// three digits of a second, so that texts sort as the times do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

const NANOS_PER_MILLI: i128 = 1_000_000;
const SHOWN: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: NonZeroU8::new(3) }).encode();

impl Timestamp {
    /// The time of the system clock; 1970 if it is set before that.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// A time as the AWS CLI takes it: seconds since 1970, with a fraction or without, or RFC 3339, of which the
    /// seconds, the time of day (midnight) and the zone (UTC) can be left out. Years 1970 to 9999.
    pub fn parse(text: &str) -> Option<Self> {
        let latest = Self(253_402_300_799_999);
        let found =
            if text.contains(['-', 'T']) { Self::parse_date(text)? } else { Self::parse_seconds(text)? };
        (0..=latest.0).contains(&found.0).then_some(found)
    }

    fn parse_seconds(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let millis = number(fraction).and_then(|_| number(&format!("{fraction:0<3}")[..3]))?;
        number(whole)?.checked_mul(1000)?.checked_add(millis).map(Self)
    }

    fn parse_date(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('T').unwrap_or((text, "00:00"));
        let (time, zone) = time.find(['Z', '+', '-']).map_or((time, "Z"), |at| time.split_at(at));
        let seconds = if time.len() == "12:00".len() { ":00" } else { "" };
        let whole = format!("{date}T{time}{seconds}{zone}");
        let at = OffsetDateTime::parse(&whole, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos().div_euclid(NANOS_PER_MILLI)).ok().map(Self)
    }
}

/// Decimal digits and nothing else.
fn number(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * NANOS_PER_MILLI);
        match at.ok().and_then(|at| at.format(&Iso8601::<SHOWN>).ok()) {
            Some(text) => f.write_str(&text),
            // RFC 3339 has the years 0 to 9999; what is read from a disk can be any number.
            None => write!(f, "{} ms since 1970", self.0),
        }
    }
}
