//! What the properties of src/fuzzing.rs see of the protocol.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::{MAX_REQUEST, Reply, Request};
use super::wire::{LineReader, WireError, decode, encode};

/// See [`crate::fuzzing::control_message`].
pub(crate) fn message_comes_back(data: &[u8]) {
    if let Ok(line) = LineReader::new(data, MAX_REQUEST).next_line() {
        assert!(data.starts_with(&line) && data.get(line.len()) == Some(&b'\n'));
    }
    let line = data.split(|b| *b == b'\n').next().unwrap_or_default();
    same::<Request>(line);
    same::<Reply>(line);
}

fn same<T: DeserializeOwned + Serialize + PartialEq + Debug>(line: &[u8]) {
    let Ok(message) = decode::<T>(line) else { return };
    match encode(&message, MAX_REQUEST) {
        Ok(written) => match decode::<T>(&written) {
            Ok(again) => assert_eq!(again, message),
            Err(error) => panic!("{message:?} is written but not read: {error}"),
        },
        // Written at length it may be beyond the limit.
        Err(error) => {
            assert!(matches!(error, WireError::TooLong(_)) && line.len() * 8 > MAX_REQUEST, "{error}")
        }
    }
}
