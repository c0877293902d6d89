//! What can befall a lower call: what the walks through all calls of an operation try at each of them.

use super::{Faults, Op, Part};
use crate::storage::Errno;

/// Something that befalls one lower call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mishap {
    /// The process dies.
    Stop,
    /// The process dies behind a part of a write.
    TornStop(Part),
    /// EIO, once.
    Io,
    /// ENOSPC, once.
    Full,
    /// A write finds the disk full behind a part of it.
    TornFull(Part),
    /// EINTR.
    Interrupted,
    /// A write returns early.
    Short(Part),
}

impl Mishap {
    /// All that can befall a call of this kind.
    pub(crate) fn all_of(call: Op) -> Vec<Self> {
        let mut all = vec![Self::Stop, Self::Io, Self::Full, Self::Interrupted];
        if call == Op::Pwrite {
            for part in [Part::Pages, Part::Byte, Part::Half, Part::AllButOne] {
                all.extend([Self::TornStop(part), Self::TornFull(part), Self::Short(part)]);
            }
        }
        all
    }

    /// The plan that has it befall the call after `skip` others.
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

    /// Whether nobody may notice it.
    pub(crate) fn is_no_failure(self) -> bool {
        matches!(self, Self::Interrupted | Self::Short(_))
    }

    /// Whether it leaves a write that ends inside a page, as kernels don't.
    pub(crate) fn tears_a_page(self) -> bool {
        matches!(self, Self::TornStop(part) | Self::TornFull(part) if part != Part::Pages)
    }
}
