//! Style, script and icon. They are in the program, and their addresses have its version, so that a browser may keep them.

use crate::reply::Reply;

/// One of them.
pub(crate) struct Asset {
    pub(crate) path: &'static str,
    kind: &'static str,
    content: &'static str,
}

macro_rules! asset {
    ($file:literal, $kind:literal) => {
        Asset {
            path: concat!("/assets/", env!("CARGO_PKG_VERSION"), "/", $file),
            kind: $kind,
            content: include_str!(concat!("../assets/", $file)),
        }
    };
}

pub(crate) const STYLE: Asset = asset!("style.css", "text/css; charset=utf-8");
pub(crate) const SCRIPT: Asset = asset!("console.js", "text/javascript; charset=utf-8");
pub(crate) const ICON: Asset = asset!("icon.svg", "image/svg+xml");

/// The asset of this address.
pub(crate) fn at(path: &str) -> Option<Reply> {
    let found = [STYLE, SCRIPT, ICON].into_iter().find(|asset| asset.path == path)?;
    Some(Reply::asset(found.kind, found.content))
}
