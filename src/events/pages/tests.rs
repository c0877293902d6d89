use serde_json::json;

use super::*;

fn query(place: PagePlace, limit: u16) -> EventQuery {
    EventQuery { filter: EventFilter::default(), place, limit }
}

/// A page of a log of these lines.
fn page(lines: &[String], query: &EventQuery, doubtful: &Doubtful) -> EventPage {
    let mut reading = Reading::new(query, doubtful);
    for line in lines {
        reading.line(Line::Whole(line.as_bytes()));
    }
    reading.page()
}

fn log(events: u64) -> Vec<String> {
    let event = |n| {
        let time = format!("2026-11-{:02}T00:00:00.000Z", 1 + n / 10);
        json!({"time": time, "detail-type": "Vault Mounted", "sequence": n, "detail": {"uid": n % 2}})
            .to_string()
    };
    (0..events).map(event).collect()
}

fn lines(page: &EventPage) -> Vec<u64> {
    page.events.iter().map(|event| event.line).collect()
}

#[test]
fn pages_lead_from_the_newest_event_to_the_oldest_and_back() {
    let (log, sure) = (log(25), Doubtful::default());
    let newest = page(&log, &query(PagePlace::Newest, 10), &sure);
    assert_eq!(lines(&newest), (16..=25).rev().collect::<Vec<_>>());
    assert_eq!((newest.older, newest.newer, newest.matching), (true, false, 25));
    let second = page(&log, &query(PagePlace::Before(16), 10), &sure);
    assert_eq!((lines(&second), second.older, second.newer), ((6..=15).rev().collect(), true, true));
    let oldest = page(&log, &query(PagePlace::Before(6), 10), &sure);
    assert_eq!((lines(&oldest), oldest.older, oldest.newer), ((1..=5).rev().collect(), false, true));
    let back = page(&log, &query(PagePlace::After(5), 10), &sure);
    assert_eq!((back.events, back.older, back.newer), (second.events, true, true));
    let end = page(&log, &query(PagePlace::After(15), 10), &sure);
    assert_eq!((end.events, end.older, end.newer), (newest.events, true, false));
    let none = page(&[], &query(PagePlace::Newest, 10), &sure);
    assert_eq!(none, EventPage::default());
}

#[test]
fn a_filter_applies_to_the_page_and_to_the_days() {
    let (log, doubtful) = (
        log(25),
        Doubtful::of(&crate::events::Verification { strange_lines: vec![24], ..Default::default() }),
    );
    let filter = EventFilter { who: "1".parse().ok(), ..EventFilter::default() };
    let found = page(&log, &EventQuery { filter, ..query(PagePlace::Newest, 3) }, &doubtful);
    assert_eq!((lines(&found), found.matching, found.older), (vec![24, 22, 20], 12, true));
    assert_eq!(found.events.iter().map(|event| event.doubtful).collect::<Vec<_>>(), [true, false, false]);
    let day = |day: &str, count| (day.to_owned(), count);
    let days = [day("2026-11-01", 5), day("2026-11-02", 5), day("2026-11-03", 1)];
    assert_eq!(found.days, days, "what may be forged is on no day");
}

#[test]
fn a_page_of_a_hostile_log_fits_a_message_and_days_have_a_bound() {
    let long =
        |n: u64| json!({"time": format!("{n:010}"), "detail": {"x": "\u{1}".repeat(10_000)}}).to_string();
    let mut log: Vec<String> = (0..1000).map(long).collect();
    log.extend(["[]".to_owned(), "torn".to_owned()]);
    for place in [PagePlace::Newest, PagePlace::Before(900), PagePlace::After(5)] {
        let found = page(&log, &query(place, u16::MAX), &Doubtful::default());
        assert!(serde_json::to_string(&found).unwrap().len() < 1 << 20);
        assert_eq!((found.matching, found.unreadable, found.days.len()), (1000, 2, DAYS_MAX));
        assert!(!found.events.is_empty());
    }
}
