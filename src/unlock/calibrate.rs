//! Argon2id costs for a new slot: about a second on this machine. Lanes stay at one, since the lanes of
//! crate `argon2` run one after the other here: more of them would only help an attacker who has cores.

use std::time::{Duration, Instant};

use rekeyfs_format::unlock::{SlotCost, in_place_of};

use super::limit::memory_kib;
use crate::crypto::password::{KdfParams, derive_kek};

/// The least memory that can be chosen, in MiB.
pub const MIN_MEMORY_MIB: u32 = 8;
/// RFC 9106's second recommendation has three passes over 64 MiB.
const PASSES: u32 = 3;
const PROBE_KIB: u32 = 64 << 10;
const PROBES: u32 = 4;
const MAX_KIB: u32 = 1 << 20;
const TARGET: Duration = Duration::from_secs(1);

/// How a new slot's Argon2id costs are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KdfChoice {
    /// Measured on this machine for about a second: 64 MiB to 1 GiB, but at most half of its memory.
    Calibrated,
    /// Three passes over this many MiB, from [`MIN_MEMORY_MIB`] to 4096.
    MemoryMib(u32),
}

/// The costs of a new slot; takes some 0.3 s when calibrating.
///
/// # Errors
/// One line, if the memory asked for is out of range.
pub fn calibrate(choice: KdfChoice) -> Result<KdfParams, String> {
    match choice {
        KdfChoice::MemoryMib(mib) if (MIN_MEMORY_MIB..=KdfParams::MAX_MEMORY_KIB >> 10).contains(&mib) => {
            Ok(KdfParams { memory_kib: mib << 10, passes: PASSES, lanes: 1 })
        }
        KdfChoice::MemoryMib(mib) => Err(format!(
            "{mib} MiB is no memory size for the passphrase: {MIN_MEMORY_MIB} to {} MiB",
            KdfParams::MAX_MEMORY_KIB >> 10
        )),
        KdfChoice::Calibrated => {
            let probe = KdfParams { memory_kib: PROBE_KIB, passes: 1, lanes: 1 };
            let run = || {
                let start = Instant::now();
                // A machine that can't run even the probe gets the least costs; sealing the slot then reports why.
                derive_kek(b"calibration", &[0; 16], probe).map_or(TARGET, |_| start.elapsed())
            };
            // What else the machine does only makes a probe slower: the fastest is what the machine can do.
            let took = (0..PROBES).map(|_| run()).min().unwrap_or(TARGET);
            Ok(scaled(took, half_of_memory_kib()))
        }
    }
}

/// As [`calibrate`], for a slot in the place of one with the costs `old`: none of them gets lower by calibration. A
/// number that is given is a decision.
///
/// # Errors
/// As [`calibrate`].
pub fn calibrate_in_place_of(choice: KdfChoice, old: Option<KdfParams>) -> Result<KdfParams, String> {
    let new = calibrate(choice)?;
    Ok(match (choice, old) {
        (KdfChoice::Calibrated, Some(old)) => in_place_of(new, old),
        (KdfChoice::Calibrated | KdfChoice::MemoryMib(_), _) => new,
    })
}

/// Costs that take about [`TARGET`] where one pass over the probe's memory takes `probe`: first more memory,
/// up to the limit, then more passes.
fn scaled(probe: Duration, limit_kib: u32) -> KdfParams {
    let most = limit_kib.clamp(PROBE_KIB, MAX_KIB);
    let passes_over_probe = TARGET.as_secs_f64() / probe.as_secs_f64().max(1e-6);
    let memory = f64::from(PROBE_KIB) * passes_over_probe / f64::from(PASSES);
    // Whole MiB; the casts saturate.
    let memory_kib = ((memory as u32) & !1023).clamp(PROBE_KIB, most);
    let passes = passes_over_probe * f64::from(PROBE_KIB) / f64::from(memory_kib);
    // Within the bounds for a slot that may be forged: what is made here opens without --any-cost.
    let most = SlotCost::most_passes(memory_kib).max(PASSES);
    KdfParams { memory_kib, passes: (passes as u32).clamp(PASSES, most), lanes: 1 }
}

/// Half of the machine's memory; where that isn't known, no limit but [`MAX_KIB`].
fn half_of_memory_kib() -> u32 {
    memory_kib().map_or(u32::MAX, |kib| u32::try_from(kib / 2).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    //! Costs follow the machine, and what is made here can be opened here.

    use rekeyfs_format::unlock::CostBounds;

    use super::*;
    use crate::ids::SlotId;

    #[test]
    fn costs_scale_with_the_machine() {
        let mib = |m: u32| m << 10;
        let costs = |ms, limit| {
            let kdf = scaled(Duration::from_millis(ms), limit);
            assert!(kdf.within_caps() && kdf.lanes == 1);
            (kdf.memory_kib, kdf.passes)
        };
        // A second is 10 passes over 64 MiB here: 3 over 213 MiB.
        assert_eq!(costs(100, u32::MAX), (mib(213), 3));
        // Fast machine: at most 1 GiB, then more passes.
        assert_eq!(costs(10, u32::MAX), (mib(1024), 6));
        // Little memory: passes make up for it.
        assert_eq!(costs(10, mib(128)), (mib(128), 50));
        assert_eq!(costs(0, mib(16)), (mib(64), KdfParams::MAX_PASSES));
        // Slow machine: never below RFC 9106's second recommendation.
        assert_eq!(costs(5000, u32::MAX), (mib(64), 3));
        assert_eq!(
            calibrate(KdfChoice::MemoryMib(8)),
            Ok(KdfParams { memory_kib: mib(8), passes: 3, lanes: 1 })
        );
        assert!(calibrate(KdfChoice::MemoryMib(7)).is_err());
        assert!(calibrate(KdfChoice::MemoryMib(4097)).is_err());
    }

    #[test]
    fn a_slot_costs_no_less_than_the_one_it_replaces_unless_a_number_is_given() {
        let old = KdfParams { memory_kib: 2 << 20, passes: KdfParams::MAX_PASSES, lanes: 4 };
        assert_eq!(calibrate_in_place_of(KdfChoice::Calibrated, Some(old)), Ok(old));
        let cheap = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };
        let new = calibrate_in_place_of(KdfChoice::Calibrated, Some(cheap)).unwrap();
        assert!(new.memory_kib >= 64 << 10 && new.passes >= 3 && new.within_caps());
        let given = KdfParams { memory_kib: 8 << 10, passes: 3, lanes: 1 };
        assert_eq!(calibrate_in_place_of(KdfChoice::MemoryMib(8), Some(old)), Ok(given));
    }

    #[test]
    fn every_slot_made_here_is_within_the_usual_bounds() {
        let most = calibrate(KdfChoice::MemoryMib(4096)).unwrap();
        // The highest costs of a calibration: the most memory, then passes for the rest of a second.
        let calibrated = scaled(Duration::from_micros(1), u32::MAX);
        for kdf in [most, calibrated] {
            assert!(
                CostBounds::Usual { memory_kib: None }.admits(SlotId::random(), Some(kdf)).is_ok(),
                "{kdf:?}"
            );
        }
    }
}
