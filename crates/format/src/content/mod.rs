//! File content as bytes in, bytes out: where a plaintext byte lies in a lower file, and how a block is
//! sealed into a page and opened again. No I/O.

pub mod block;
pub mod layout;
