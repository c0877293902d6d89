//! Points in time as the keyring and the event log keep them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01 UTC, leap seconds not counted. Shown as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// What the system clock says; 1970 if it is set before that.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// A time as the AWS CLI takes it: seconds since 1970, with a fraction or without, or RFC 3339, of which the
    /// time of day (midnight) and the zone (UTC) can be left out. Years 1970 to 9999.
    pub fn parse(text: &str) -> Option<Self> {
        let latest = Self(253_402_300_799_999);
        let found =
            if text.contains(['-', 'T']) { Self::parse_date(text)? } else { Self::parse_seconds(text)? };
        (0..=latest.0).contains(&found.0).then_some(found)
    }

    fn parse_seconds(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        number(whole)?.checked_mul(1000)?.checked_add(millis(fraction)?).map(Self)
    }

    fn parse_date(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
        let [year, month, day] = fields(date, '-', [4, 2, 2])?;
        let days = days_from_civil(year, month, day);
        if civil(days) != (year, month, day) {
            return None;
        }
        let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
        let (clock, zone) = time.split_at_checked(zone_at)?;
        let offset = match zone {
            "" | "Z" => 0,
            zone => {
                let [hours, minutes] = fields(zone.get(1..)?, ':', [2, 2])?;
                let minutes = (hours * 60 + minutes) * 60_000;
                if zone.starts_with('-') { -minutes } else { minutes }
            }
        };
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let [hour, minute, second] = fields(clock, ':', [2, 2, 2])?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let ms = ((hour * 60 + minute) * 60 + second) * 1000 + millis(fraction)?;
        Some(Self(days * 86_400_000 + ms - offset))
    }
}

/// Decimal digits and nothing else.
fn number(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The milliseconds of a fraction of a second, whose digits these are.
fn millis(digits: &str) -> Option<i64> {
    number(digits)?;
    number(&format!("{digits:0<3}")[..3])
}

/// Numbers of so many digits each.
fn fields<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut out = [0; N];
    let mut parts = text.split(separator);
    for (value, digits) in out.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *value = number(part)?;
    }
    parts.next().is_none().then_some(out)
}

/// The count of days since 1970-01-01 of which [`civil`] gives this date, if there is such a date.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
    }
}

/// Year, month and day of a count of days since 1970-01-01, in the proleptic Gregorian calendar
/// (the years begin in March here, so that the leap day is the last one of its year).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
