//! Which registers of a TPM (PCRs) a key is bound to.

use super::protocol::{Kind, Refusal};

/// How many a TPM reads in one command.
const MAX: usize = 8;
/// Registers 0 to 23 are what every TPM of a PC has.
const LAST: u8 = 23;

/// The numbers in a text: `7`, `7+11`, or `none`; each once, in their order.
///
/// # Errors
/// [`Kind::NotFound`] for anything else.
pub fn parse_pcrs(text: &str) -> Result<Vec<u8>, Refusal> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let number = |part: &str| {
        let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u8>().ok().filter(|number| plain && *number <= LAST)
    };
    let numbers: Option<Vec<u8>> = text.split('+').map(number).collect();
    let mut numbers = numbers.unwrap_or_default();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.is_empty() || numbers.len() > MAX {
        let cause = "pcrs are up to 8 numbers from 0 to 23 with + between them, as in 7+11, or none";
        return Err(Refusal::new(Kind::NotFound, cause));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_numbers_with_plus_between_them() {
        assert_eq!(parse_pcrs("7").unwrap(), [7]);
        assert_eq!(parse_pcrs("11+7+11+0").unwrap(), [0, 7, 11]);
        assert_eq!(parse_pcrs("none").unwrap(), [0u8; 0]);
        for wrong in ["", "24", "7,11", "7+", "+7", "-1", "7 ", "none+7", "0+1+2+3+4+5+6+7+8"] {
            assert_eq!(parse_pcrs(wrong).unwrap_err().kind(), Kind::NotFound, "{wrong:?}");
        }
    }
}
