//! `x-amz-date`: when a request was signed.

use std::fmt;

use rekeyfs::ids::Timestamp;

use super::error::SignatureError;

/// How far a request's date may be from this host's clock, in milliseconds: five minutes, as AWS.
pub(super) const WINDOW: i64 = 5 * 60 * 1000;

/// A date of the form `20150830T123600Z`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AmzDate {
    text: String,
    at: Timestamp,
}

impl AmzDate {
    /// `None` if it is no date of this form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_shaped = bytes.len() == 16
            && bytes.iter().enumerate().all(|(at, byte)| match at {
                8 => *byte == b'T',
                15 => *byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
        if !is_shaped {
            return None;
        }
        let part = |from: usize, to: usize| &text[from..to];
        let (year, month, day) = (part(0, 4), part(4, 6), part(6, 8));
        let (hour, minute, second) = (part(9, 11), part(11, 13), part(13, 15));
        let at = Timestamp::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))?;
        Some(Self { text: text.to_owned(), at })
    }

    /// As in `20150830`.
    pub(crate) fn day(&self) -> &str {
        &self.text[..8]
    }

    /// Checks that it is near this time.
    ///
    /// # Errors
    /// [`SignatureError::OutOfScope`], in words by which SDKs see that their clock is off.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), SignatureError> {
        let of = |millis: i64| basic(Timestamp(millis));
        let (earliest, latest) = (now.0.saturating_sub(WINDOW), now.0.saturating_add(WINDOW));
        let message = if self.at.0 < earliest {
            format!("Signature expired: {self} is now earlier than {} ({} - 5 min.)", of(earliest), of(now.0))
        } else if self.at.0 > latest {
            format!(
                "Signature not yet current: {self} is still later than {} ({} + 5 min.)",
                of(latest),
                of(now.0)
            )
        } else {
            return Ok(());
        };
        Err(SignatureError::OutOfScope(message))
    }
}

impl fmt::Display for AmzDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A time in the form of `x-amz-date`.
fn basic(at: Timestamp) -> String {
    let shown = at.to_string();
    let whole = shown.split('.').next().unwrap_or(&shown);
    format!("{}Z", whole.replace(['-', ':'], ""))
}
