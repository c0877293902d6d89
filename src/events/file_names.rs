//! The names of the log's files. The file that is written is `events.jsonl`; one that is closed has the sequence number of its
//! last event behind that, so that `ls` has them in their order.

/// The name of the file that is written.
pub const FILE_NAME: &str = "events.jsonl";

/// The name of the closed file whose last event has this sequence number.
pub(super) fn closed_name(last: u64) -> String {
    format!("{FILE_NAME}.{last:010}")
}

/// The sequence number in the name of a closed file.
pub fn closed_at(name: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(name).ok()?.strip_prefix(FILE_NAME)?.strip_prefix('.')?;
    number.parse().ok().filter(|last| closed_name(*last).as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_file_has_one_name() {
        for last in [1, 12, 9_999_999_999, u64::MAX] {
            assert_eq!(closed_at(closed_name(last).as_bytes()), Some(last));
        }
        for other in [
            "events.jsonl",
            "events.jsonl.1",
            "events.jsonl.00000000001",
            "events.jsonl.+000000001",
            "x.0000000001",
        ] {
            assert_eq!(closed_at(other.as_bytes()), None, "{other}");
        }
    }
}
