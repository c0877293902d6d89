//! The codec of the keyring's sealed body: bincode 2, and the only file that names it. Little-endian,
//! integers at their full width, no padding: lengths and counts u64, enum variants u32, options u8 (0, 1),
//! ids and byte arrays raw. Decoding is limited in size and must use up every byte.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::enc::write::SizeWriter;
use zeroize::Zeroizing;

use super::model::KeyringBody;

/// The largest body, in bytes: some 700,000 versions.
pub(in crate::keyring) const MAX_LEN: usize = 64 << 20;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<MAX_LEN>> =
    bincode::config::legacy().with_limit::<MAX_LEN>();

/// A body that can't be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub(in crate::keyring) enum BodyError {
    /// Larger than [`MAX_LEN`].
    #[error("the keyring has grown beyond 64 MiB; retire and trim old key versions")]
    TooLarge,
    /// Not what this format says.
    #[error("{0}")]
    Malformed(String),
}

/// Encodes a body into one buffer of the right size: one that grows would leave copies of secrets behind.
///
/// # Errors
/// [`BodyError::TooLarge`].
pub(in crate::keyring) fn encode(body: &KeyringBody) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let malformed = |e: bincode::error::EncodeError| BodyError::Malformed(e.to_string());
    let mut size = SizeWriter::default();
    bincode::serde::encode_into_writer(body, &mut size, CONFIG).map_err(malformed)?;
    if size.bytes_written > MAX_LEN {
        return Err(BodyError::TooLarge);
    }
    let mut out = Zeroizing::new(vec![0; size.bytes_written]);
    bincode::serde::encode_into_slice(body, &mut out, CONFIG).map_err(malformed)?;
    Ok(out)
}

/// Decodes a body and checks that it makes sense.
///
/// # Errors
/// [`BodyError`]; never a panic, whatever the bytes.
pub(in crate::keyring) fn decode(bytes: &[u8]) -> Result<KeyringBody, BodyError> {
    if bytes.len() > MAX_LEN {
        return Err(BodyError::TooLarge);
    }
    let (mut body, used): (KeyringBody, usize) =
        bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|e| BodyError::Malformed(e.to_string()))?;
    if used != bytes.len() {
        return Err(BodyError::Malformed("bytes after its end".to_owned()));
    }
    body.read_gaps()
        .and_then(|()| body.check())
        .and_then(|()| body.check_line())
        .and_then(|()| body.check_untagged())
        .and_then(|()| body.check_slot_labels())
        .and_then(|()| body.check_data_use())
        .map_err(|what| BodyError::Malformed(what.to_owned()))?;
    Ok(body)
}
