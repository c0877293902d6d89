//! Events that could not be written yet, in order. Their number is bounded: further ones are counted, and an event of its own
//! says how many these were, and when.

use std::collections::VecDeque;

use super::chain::Circumstances;
use super::subject::HeldBack;
use super::{Actor, Event};
use crate::ids::Timestamp;

/// The most events that are kept.
const MOST: usize = 1000;

/// An event, when it happened and in whose name.
pub(super) struct StampedEvent {
    pub(super) event: Event,
    pub(super) at: Timestamp,
    pub(super) actor: Actor,
}

impl StampedEvent {
    /// Happens now, in the name of [`Actor::current`].
    pub(super) fn now(event: Event) -> Self {
        Self { event, at: Timestamp::now(), actor: Actor::current() }
    }
}

/// One line to be written: an event, and what is written beside it.
pub(super) struct NewLine<'a> {
    pub(super) event: &'a Event,
    pub(super) beside: Circumstances,
}

impl<'a> NewLine<'a> {
    pub(super) fn of(stamped: &'a StampedEvent) -> Self {
        let StampedEvent { event, at, actor } = stamped;
        Self {
            event,
            beside: Circumstances {
                now: *at,
                actor: *actor,
                generation: None,
                held_back: HeldBack::default(),
            },
        }
    }
}

/// Events that are only counted.
#[derive(Clone, Copy)]
struct Lost {
    events: u64,
    since: Timestamp,
    until: Timestamp,
}

/// Events that the log doesn't have, or not yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backlog {
    /// They are to be written.
    pub waiting: u64,
    /// They could be neither written nor kept, and no line says so yet.
    pub lost: u64,
    /// A limit kept them out, since this process opened the log.
    pub held_back: u64,
}

/// Events to be written.
#[derive(Default)]
pub(super) struct PendingEvents {
    kept: VecDeque<StampedEvent>,
    /// All of them later than those that are kept.
    lost: Option<Lost>,
}

impl PendingEvents {
    /// Appends one.
    pub(super) fn push(&mut self, event: StampedEvent) {
        if self.lost.is_none() && self.kept.len() < MOST {
            self.kept.push_back(event);
        } else {
            self.lose(event.at);
        }
    }

    fn lose(&mut self, at: Timestamp) {
        let lost = self.lost.get_or_insert(Lost { events: 0, since: at, until: at });
        lost.events += 1;
        lost.since = lost.since.min(at);
        lost.until = lost.until.max(at);
    }

    /// Drops all that are kept; returns how many are lost in all.
    pub(super) fn lose_all(&mut self) -> u64 {
        for event in std::mem::take(&mut self.kept) {
            self.lose(event.at);
        }
        self.lost.map_or(0, |lost| lost.events)
    }

    /// Whether nothing waits and nothing was lost.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.lost.is_none()
    }

    /// How many are kept.
    pub(super) fn waiting(&self) -> u64 {
        self.kept.len() as u64
    }

    /// How many are only counted.
    pub(super) fn lost_events(&self) -> u64 {
        self.lost.map_or(0, |lost| lost.events)
    }

    /// The first `most` of them, to be written next.
    pub(super) fn first(&self, most: usize) -> impl ExactSizeIterator<Item = &StampedEvent> {
        self.kept.range(..most.min(self.kept.len()))
    }

    /// The first `n` have been written.
    pub(super) fn written(&mut self, n: usize) {
        self.kept.drain(..n.min(self.kept.len()));
    }

    /// The event that says how many were lost, if nothing else is pending.
    pub(super) fn lost(&self) -> Option<Event> {
        let lost = self.lost.filter(|_| self.kept.is_empty())?;
        Some(Event::EventsLost { events: lost.events, since: lost.since, until: lost.until })
    }

    /// That event has been written.
    pub(super) fn lost_reported(&mut self) {
        self.lost = None;
    }
}
