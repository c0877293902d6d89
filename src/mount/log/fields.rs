//! The fields of a line, for a log that keeps them apart. The formatter hands over a text only, so a layer before it leaves
//! the fields of the line that this thread is about to write.

use std::cell::RefCell;
use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

thread_local! {
    static FIELDS: RefCell<Vec<(&'static str, String)>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the fields of each line for the writer, which comes after it.
pub(super) struct KeepFields;

impl<S: Subscriber> Layer<S> for KeepFields {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        FIELDS.set(fields.0);
    }
}

/// The fields of the line that this thread is writing.
pub(super) fn take() -> Vec<(&'static str, String)> {
    FIELDS.take()
}

struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn push(&mut self, field: &Field, value: String) {
        if field.name() != "message" {
            self.0.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, format!("{value:?}"));
    }
}
