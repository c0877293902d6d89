//! Which connections are open, and which one gives way when there are too many.
//!
//! At most [`CONNECTIONS_MAX`] are open. A connection *waits* until a whole request has come, head and body, and while its client
//! takes the answer; in between it is *served*. When one more client connects, the connection that has waited longest is
//! closed for it. So whoever opens connections and sends nothing, or sends slowly, keeps nobody else waiting. Who does it
//! doesn't matter: the loopback has no owners.
//!
//! A connection that is served is never closed for another one, so that what was begun is answered. While all are served, the
//! next one waits for the first that isn't.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections that are open at a time.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// The open connections.
#[derive(Default)]
pub(crate) struct Connections {
    inner: Mutex<Inner>,
    /// One is closed, or waits again.
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    /// Grows with each connection and each wait, so that a lower number is of longer ago.
    clock: u64,
    open: BTreeMap<u64, Entry>,
}

struct Entry {
    /// Since when it waits; `None` while it is served.
    waits_since: Option<u64>,
    close: Arc<Notify>,
}

/// A connection's place among the open ones, which it gives back when it ends.
pub(crate) struct Place {
    connections: Arc<Connections>,
    id: u64,
    close: Arc<Notify>,
}

impl Connections {
    /// A place for a new connection, if need be that of another one. Waits only while all are served.
    pub(crate) async fn admit(connections: &Arc<Self>) -> Place {
        loop {
            if let Some(place) = Self::try_admit(connections) {
                return place;
            }
            connections.changed.notified().await;
        }
    }

    fn try_admit(connections: &Arc<Self>) -> Option<Place> {
        let mut inner = connections.lock();
        if inner.open.len() >= CONNECTIONS_MAX {
            let waiting = inner.open.iter().filter_map(|(id, entry)| Some((entry.waits_since?, *id)));
            let (_, longest) = waiting.min()?;
            // Its task ends when it runs next, before it looks at what has come by then.
            inner.open.remove(&longest)?.close.notify_one();
        }
        let (id, close) = (inner.tick(), Arc::new(Notify::new()));
        inner.open.insert(id, Entry { waits_since: Some(id), close: Arc::clone(&close) });
        drop(inner);
        Some(Place { connections: Arc::clone(connections), id, close })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Place {
    /// A whole request has come.
    pub(crate) fn is_served(&self) {
        if let Some(entry) = self.connections.lock().open.get_mut(&self.id) {
            entry.waits_since = None;
        }
    }

    /// It was answered.
    pub(crate) fn waits(&self) {
        let mut inner = self.connections.lock();
        let now = inner.tick();
        if let Some(entry) = inner.open.get_mut(&self.id) {
            entry.waits_since = Some(now);
        }
        drop(inner);
        self.connections.changed.notify_one();
    }

    /// Its place went to another one.
    pub(crate) async fn gone(&self) {
        self.close.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
        self.connections.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> (Arc<Connections>, Vec<Place>) {
        let connections = Arc::new(Connections::default());
        let places = (0..CONNECTIONS_MAX).map(|_| Connections::try_admit(&connections).unwrap()).collect();
        (connections, places)
    }

    fn is_open(connections: &Connections, place: &Place) -> bool {
        connections.lock().open.contains_key(&place.id)
    }

    #[test]
    fn the_one_that_has_waited_longest_gives_way() {
        let (connections, places) = full();
        // Served before, it waits for a shorter time than all others.
        places[0].is_served();
        places[0].waits();
        places[1].is_served();
        let new = Connections::try_admit(&connections).unwrap();
        assert!(!is_open(&connections, &places[2]));
        assert!(
            [&places[0], &places[1], &places[3], &new].into_iter().all(|place| is_open(&connections, place))
        );
        // What it still says of itself gives it no place.
        places[2].waits();
        assert_eq!(connections.lock().open.len(), CONNECTIONS_MAX);
        drop(places);
        assert_eq!(connections.lock().open.len(), 1, "its place is the new one's");
    }

    #[test]
    fn one_that_is_served_gives_way_to_none() {
        let (connections, places) = full();
        places.iter().for_each(Place::is_served);
        assert!(Connections::try_admit(&connections).is_none());
        places[7].waits();
        assert!(Connections::try_admit(&connections).is_some());
        assert!(Connections::try_admit(&connections).is_some(), "the new one waits too");
        assert!(is_open(&connections, &places[8]) && !is_open(&connections, &places[7]));
    }
}
