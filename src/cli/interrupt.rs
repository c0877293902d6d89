//! SIGINT and SIGTERM as a cancellation, for work that can stop in a good place.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit::{Exit, Failure, Outcome};
use crate::monitor::Cancellation;

/// From now on the first signal cancels what is returned; a second one ends the process at once, with `status`.
///
/// # Errors
/// If the handlers can't be set.
pub(super) fn watch(status: u8) -> Outcome<Cancellation> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the flag is still unset when the first signal comes here.
        flag::register_conditional_shutdown(signal, i32::from(status), Arc::clone(&flag))
            .and_then(|_| flag::register(signal, Arc::clone(&flag)))
            .map_err(|error| Failure::new(Exit::Other, "signal handlers", error))?;
    }
    Ok(Cancellation::from(flag))
}
