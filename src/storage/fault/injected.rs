//! What can go wrong with one lower call. Tests run an operation once to count its calls, then run it again for each
//! call and each of these faults.

use super::op::Op;
use super::plan::Faults;
use super::short_write::ShortWrite;
use crate::storage::errno::Errno;

/// A fault of one lower call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InjectedFault {
    /// The process dies.
    Stop,
    /// The process dies after a part of a write.
    TornStop(ShortWrite),
    /// EIO, once.
    Io,
    /// ENOSPC, once.
    Full,
    /// A write is made in part, then the disk is full.
    TornFull(ShortWrite),
    /// EINTR.
    Interrupted,
    /// A write returns early.
    Short(ShortWrite),
}

impl InjectedFault {
    /// All faults that a call of this kind can have.
    pub(crate) fn all_of(call: Op) -> Vec<Self> {
        let mut all = vec![Self::Stop, Self::Io, Self::Full, Self::Interrupted];
        if call == Op::Pwrite {
            for part in [ShortWrite::Pages, ShortWrite::Byte, ShortWrite::Half, ShortWrite::AllButOne] {
                all.extend([Self::TornStop(part), Self::TornFull(part), Self::Short(part)]);
            }
        }
        all
    }

    /// The plan by which it hits the call after `skip` others.
    pub(crate) fn at(self, skip: u64) -> Faults {
        match self {
            Self::Stop => Faults::stop_after(skip),
            Self::TornStop(part) => Faults::stop_after(skip + 1).short_after(skip, part),
            Self::Io => Faults::fail_once(skip, Errno::IO),
            Self::Full => Faults::fail_once(skip, Errno::NOSPC),
            Self::TornFull(part) => Faults::fail_once(skip + 1, Errno::NOSPC).short_after(skip, part),
            Self::Interrupted => Faults::fail_once(skip, Errno::INTR),
            Self::Short(part) => Faults::record().short_after(skip, part),
        }
    }

    /// Whether the process is gone after it.
    pub(crate) fn stops(self) -> bool {
        matches!(self, Self::Stop | Self::TornStop(_))
    }

    /// Whether the caller must not notice it.
    pub(crate) fn is_no_failure(self) -> bool {
        matches!(self, Self::Interrupted | Self::Short(_))
    }

    /// Whether it leaves a write that ends inside a page, as kernels don't.
    pub(crate) fn tears_a_page(self) -> bool {
        matches!(self, Self::TornStop(part) | Self::TornFull(part) if part != ShortWrite::Pages)
    }
}
