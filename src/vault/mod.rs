//! What a filesystem does, without knowing FUSE: inodes, directories, handles, file content.

mod error;
mod types;

pub use error::{Damage, Error, Result};
pub use types::{
    Attr, Caller, DirEntry, FallocMode, FileKind, HeaderInfo, OpenFlags, SetAttr, StatFs, Whence, XattrMode,
};
