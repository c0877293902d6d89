//! How a lower call fails: with the number that the kernel gives, which is passed up as it is.

pub use rustix::io::Errno;

/// The result of a lower call.
pub type Result<T> = std::result::Result<T, Errno>;
