//! Holds back lines that repeat. A program that reads a damaged file in a loop, or a disk that fails each write, must not fill
//! the system log, or hide other lines in it.
//!
//! Each place in the program that writes lines of level error, warn or info has a limit for each user in whose name it does:
//! 50 lines at once, then one in ten seconds. Of lines about one file (those with an `ino`) only five are written at once: a
//! program that reads one damaged file in a loop hides no line about another one. Lines that are held back are counted. The next line of the same place says how
//! many they were, and at the end of a mount a line says how many are left. Lines of level debug and trace aren't limited:
//! someone asked for all of them. Nor are those of events (`events::NOTICES`): who can bring one about at will has no line there.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::LazyLock;

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::mount_names::is_of_interest;
use crate::events::{Actor, NOTICES, RateLimits};
use crate::ids::Timestamp;

/// Milliseconds until one more line may be written.
const REFILL_MS: i64 = 10_000;

/// By the place in the program, so their number is bounded.
static LIMITS: LazyLock<Mutex<HashMap<Identifier, RateLimits>>> = LazyLock::new(Mutex::default);

/// Lines of one place about one file that may be written at once.
const FILE_BURST: u32 = 5;

/// By the place in the program and the inode number.
static FILES: LazyLock<Mutex<RateLimits<(Identifier, u64)>>> =
    LazyLock::new(|| Mutex::new(RateLimits::with_burst(FILE_BURST)));

/// Keeps lines beyond the limit from being formatted.
pub(super) struct RepeatLimit;

fn is_limited(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && *metadata.level() <= Level::INFO && metadata.target() != NOTICES
}

impl<S: Subscriber> Layer<S> for RepeatLimit {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Sometimes: so that it is asked each time.
        if metadata.target() == NOTICES { Interest::sometimes() } else { Interest::always() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_of_interest(metadata.target())
    }

    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if !is_limited(event.metadata()) {
            return true;
        }
        let (place, now) = (event.metadata().callsite(), Timestamp::now());
        let mut file = FileOfLine(None);
        event.record(&mut file);
        if let Some(ino) = file.0 {
            let mut files = FILES.lock();
            if !files.pass((place.clone(), ino), now, REFILL_MS) {
                let held_back = files.take_held_back();
                drop(files);
                LIMITS.lock().entry(place).or_default().hold_back_again(held_back);
                return false;
            }
        }
        LIMITS.lock().entry(place).or_default().pass(Actor::current().uid, now, REFILL_MS)
    }
}

/// The inode number in a line, if it is about a file.
struct FileOfLine(Option<u64>);

impl Visit for FileOfLine {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "ino" {
            self.0 = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// How many lines of a place were held back since this was last asked.
pub(super) fn take_held_back(metadata: &Metadata<'_>) -> u64 {
    LIMITS.lock().get_mut(&metadata.callsite()).map_or(0, RateLimits::take_held_back)
}

/// How many lines were held back that no line has reported.
pub(super) fn take_all_held_back() -> u64 {
    LIMITS.lock().values_mut().map(RateLimits::take_held_back).sum()
}
