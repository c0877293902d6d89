//! `rekeyfs speed`: what the ciphers and Argon2id cost on this machine, with the code and the block sizes that vaults use,
//! and without any I/O. One thread; a mount uses several.

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args;
use super::exit::{Exit, Failure, Outcome};
use super::output;
use crate::content::block;
use crate::crypto::keys::Dek;
use crate::crypto::password::{KdfParams, derive_kek};
use crate::crypto::random;
use crate::crypto::suite::Suite;
use crate::ids::{FileId, PageIndex, SegmentIndex};
use crate::printable;
use crate::unlock::{self, KdfChoice};

/// How long each figure is measured; the best of several parts counts, since other programs only make it slower.
const PART: Duration = Duration::from_millis(60);
const PARTS: u32 = 5;
/// Bytes of a block, and of the data in it.
const BLOCK: usize = 4096;
const DATA: usize = 4068;

#[derive(Serialize)]
struct Speed {
    /// The library that the ciphers come from.
    engine: &'static str,
    suites: Vec<SuiteSpeed>,
    /// A file's data key and its first content key, in microseconds.
    new_file_keys_us: f64,
    passphrase: KdfSpeed,
}

#[derive(Serialize)]
struct SuiteSpeed {
    suite: String,
    /// The suite of new vaults, unless another is asked for.
    default: bool,
    seal_mib_per_s: f64,
    open_mib_per_s: f64,
}

#[derive(Serialize)]
struct KdfSpeed {
    #[serde(flatten)]
    kdf: KdfParams,
    /// Seconds for one try.
    seconds: f64,
}

/// Measures, and prints it.
///
/// # Errors
/// If there isn't the memory for Argon2id, or standard output can't be written.
pub(super) fn run(args: &args::Speed) -> Outcome {
    let speed = measure()?;
    if *args.json { output::print_json(&speed) } else { output::print(&text(&speed)) }
}

fn measure() -> Outcome<Speed> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Other, "Argon2id", error);
    let suites = Suite::KNOWN.iter().enumerate().map(|(n, suite)| suite_speed(*suite, n == 0)).collect();
    let keys = seconds_each(|| {
        black_box(Dek::generate().content_key(Suite::KNOWN[0], FileId::random(), SegmentIndex(0)));
    });
    let kdf = unlock::calibrate(KdfChoice::Calibrated).map_err(|error| failed(&error))?;
    let began = Instant::now();
    derive_kek(b"a passphrase to be tried", &random::array(), kdf).map_err(|error| failed(&error))?;
    Ok(Speed {
        engine: if cfg!(feature = "aws-lc") { "AWS-LC" } else { "RustCrypto" },
        suites,
        new_file_keys_us: keys * 1e6,
        passphrase: KdfSpeed { kdf, seconds: began.elapsed().as_secs_f64() },
    })
}

fn suite_speed(suite: Suite, default: bool) -> SuiteSpeed {
    let key = Dek::generate().content_key(suite, FileId::random(), SegmentIndex(0));
    let (page, nonce) = (PageIndex(1), random::array());
    let (mut lower, mut data) = (vec![7; BLOCK], vec![0; DATA]);
    let mib_per_s = |seconds: f64| DATA as f64 / f64::from(1 << 20) / seconds;
    // A nonce is used twice here, for nothing that is kept.
    let seal = seconds_each(|| block::seal(&key, page, &nonce, black_box(&mut lower)));
    let open = seconds_each(|| {
        black_box(block::open(&key, page, black_box(&lower), &mut data).is_ok());
    });
    SuiteSpeed {
        suite: suite.to_string(),
        default,
        seal_mib_per_s: mib_per_s(seal),
        open_mib_per_s: mib_per_s(open),
    }
}

/// Seconds for one call.
fn seconds_each(mut call: impl FnMut()) -> f64 {
    let mut part = || {
        let began = Instant::now();
        let mut calls = 0_u32;
        while began.elapsed() < PART {
            // The clock is read rarely.
            for _ in 0..64 {
                call();
            }
            calls += 64;
        }
        began.elapsed().as_secs_f64() / f64::from(calls)
    };
    (0..PARTS).map(|_| part()).fold(f64::INFINITY, f64::min)
}

fn text(speed: &Speed) -> String {
    let mut out = format!("{:<18}  {:>12}  {:>12}\n", "pages of 4 KiB", "seal", "open");
    // Writing to a string can't fail.
    for suite in &speed.suites {
        let (seal, open) = (suite.seal_mib_per_s, suite.open_mib_per_s);
        let note = if suite.default { "  new vaults have it" } else { "" };
        let _ = writeln!(out, "{:<18}  {seal:>6.0} MiB/s  {open:>6.0} MiB/s{note}", suite.suite);
    }
    let KdfSpeed { kdf, seconds } = &speed.passphrase;
    let passes = printable::counted(kdf.passes, "pass", "passes");
    let _ = writeln!(out, "keys of a new file  {:>6.1} us", speed.new_file_keys_us);
    let _ = writeln!(
        out,
        "a passphrase        {seconds:>6.2} s (Argon2id, {} MiB, {passes}: what `init` takes here)",
        kdf.memory_kib >> 10
    );
    let _ = writeln!(out, "one thread; ciphers of {}", speed.engine);
    out
}
