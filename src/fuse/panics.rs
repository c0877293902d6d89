//! A panic in a handler costs only its own request: fuser answers with EIO for a reply that is dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a handler; a panic in it is logged with its cause and costs this request alone.
pub(super) fn caught(operation: &'static str, handler: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(handler)) {
        let cause = panic.downcast_ref::<String>().map(String::as_str);
        let cause = cause.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it gave no cause");
        tracing::error!(operation, cause, "a handler panicked; its request was answered with EIO");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_handler_that_panics_is_logged_with_its_cause_and_stops_nothing() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let three = [0; 3];
            let at = std::hint::black_box(7);
            caught("lookup", || _ = std::hint::black_box(three[at]));
            caught("getattr", || panic!("a plain text"));
        });
        let said = String::from_utf8(log.0.lock().clone()).unwrap();
        for expected in ["lookup", "the index is 7", "getattr", "a plain text", "EIO"] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
}
