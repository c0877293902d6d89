//! Fault injection for tests. A plan fails the n-th call that changes something, once or with every later call, or ends
//! a write early; it records the order of calls. A daemon under test can be made to panic in a call.
//!
//! Compiled in with `cfg(test)` and the feature `fault-injection` only; otherwise `point` is an empty inline function.

#[cfg(test)]
mod injected;
mod op;
#[cfg(any(test, feature = "fault-injection"))]
mod plan;
#[cfg(any(test, feature = "fault-injection"))]
mod short_write;

#[cfg(test)]
pub(crate) use injected::InjectedFault;
pub use op::Op;
#[cfg(any(test, feature = "fault-injection"))]
pub use plan::{After, Faults, Plan, ProcessScope, ThreadScope};
#[cfg(any(test, feature = "fault-injection"))]
pub use short_write::ShortWrite;

use super::errno::Result;

/// Fails if a plan in force has this call fail; the call isn't made then.
#[cfg(any(test, feature = "fault-injection"))]
pub(super) fn point(op: Op) -> Result<()> {
    plan::point(op)
}

/// Nothing: fault injection isn't compiled in.
#[cfg(not(any(test, feature = "fault-injection")))]
#[inline(always)]
pub(super) fn point(_op: Op) -> Result<()> {
    Ok(())
}

/// [`point`] of a write of `len` bytes at `offset`: how many of them are to be written now.
#[cfg(any(test, feature = "fault-injection"))]
pub(super) fn write_point(offset: u64, len: usize) -> Result<usize> {
    plan::write_point(offset, len)
}

/// All of them: fault injection isn't compiled in.
#[cfg(not(any(test, feature = "fault-injection")))]
#[inline(always)]
pub(super) fn write_point(_offset: u64, len: usize) -> Result<usize> {
    Ok(len)
}
