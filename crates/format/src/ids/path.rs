//! A path in JSON.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path as JSON has it: text, or `{"base64": …}` where it isn't UTF-8, so that no byte is lost.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PathText(pub PathBuf);

impl PathText {
    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl From<&Path> for PathText {
    fn from(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathRepr {
    Text(String),
    Bytes { base64: String },
}

impl Serialize for PathText {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => s.serialize_str(text),
            None => PathRepr::Bytes { base64: BASE64.encode(self.0.as_os_str().as_bytes()) }.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for PathText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = match PathRepr::deserialize(d)? {
            PathRepr::Text(text) => text.into_bytes(),
            PathRepr::Bytes { base64 } => BASE64.decode(base64).map_err(serde::de::Error::custom)?,
        };
        if bytes.contains(&0) {
            return Err(serde::de::Error::custom("a path holds no NUL"));
        }
        Ok(Self(OsString::from_vec(bytes).into()))
    }
}
