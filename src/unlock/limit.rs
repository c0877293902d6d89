//! Which bounds unlock slots have on this machine.

use rekeyfs_format::unlock::CostBounds;

/// How much may be spent on slots that may be forged.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum CostLimit {
    /// What the slots that rekeyfs makes cost, and no more memory than this machine has.
    #[default]
    Usual,
    /// What the header asks for, each slot within the caps of its parameters: the user vouches for it.
    Any,
}

impl From<CostLimit> for CostBounds {
    fn from(limit: CostLimit) -> Self {
        match limit {
            CostLimit::Usual => Self::Usual { memory_kib: memory_kib() },
            CostLimit::Any => Self::None,
        }
    }
}

/// MemTotal in /proc/meminfo.
pub(super) fn memory_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse().ok()
}
