//! Writes that the kernel ends early.

/// How much of a write is made before it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShortWrite {
    /// The first half, up to a page boundary, which is where kernels end writes: inside a page it is whole.
    Pages,
    /// The first byte.
    Byte,
    /// The first half, wherever that ends.
    Half,
    /// All but the last byte.
    AllButOne,
}

impl ShortWrite {
    /// How many of `len` bytes at `offset`: at least one, and all of a single one.
    pub(super) fn of(self, offset: u64, len: usize) -> usize {
        let written = match self {
            Self::Pages => return before_a_page(offset, len),
            Self::Byte => 1,
            Self::Half => len / 2,
            Self::AllButOne => len.saturating_sub(1),
        };
        written.max(1).min(len)
    }
}

fn before_a_page(offset: u64, len: usize) -> usize {
    let half = (offset + len as u64 / 2) & !4095;
    let first = (offset & !4095) + 4096;
    let end = half.max(first).min(offset + len as u64);
    usize::try_from(end - offset).unwrap_or(len)
}
