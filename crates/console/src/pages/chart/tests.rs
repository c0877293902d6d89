use super::*;

fn part(name: &str, count: u64) -> Part {
    Part { name: name.to_owned(), count }
}

fn whole(counts: &[u64]) -> u64 {
    widths(&counts.iter().map(|count| part("", *count)).collect::<Vec<_>>()).iter().sum()
}

#[test]
fn a_length_shows_any_count_and_none_exceeds_the_whole() {
    assert_eq!((length(0, 0, 600), length(0, 9, 600)), (0, 0));
    assert_eq!((length(9, 9, 600), length(3, 9, 600)), (600, 200));
    assert_eq!(length(1, u64::MAX, 600), SEEN);
    assert_eq!((length(u64::MAX, u64::MAX, 600), length(u64::MAX - 1, u64::MAX, 600)), (600, 599));
}

#[test]
fn parts_of_a_bar_fill_it_and_each_is_seen() {
    for counts in [&[1_u64][..], &[1, 1, 1], &[u64::MAX, 1, 0], &[u64::MAX, u64::MAX], &[0, 7], &[1; 100]] {
        assert_eq!(whole(counts), WIDTH, "{counts:?}");
        let widths = widths(&counts.iter().map(|count| part("", *count)).collect::<Vec<_>>());
        assert!(widths.iter().zip(counts).all(|(width, count)| (*width > 0) == (*count > 0)), "{widths:?}");
    }
    assert_eq!((whole(&[]), whole(&[0, 0])), (0, 0));
    assert_eq!(whole(&[1; 1000]), WIDTH, "more than can be seen stay within it");
}

#[test]
fn a_chart_says_in_words_what_it_shows_and_escapes_names() {
    let chart =
        stacked("m", "Files <b>", &[part("version 2 of a\"b", 40), part("<script>", 1)]).into_string();
    assert!(chart.contains("<title id=\"m-title\">Files &lt;b&gt;</title>"), "{chart}");
    let said = "version 2 of a&quot;b: 40 files, &lt;script&gt;: 1 file";
    assert!(chart.contains(&format!("<desc id=\"m-desc\">{said}</desc>")), "{chart}");
    assert!(chart.contains("</svg> &lt;script&gt;: 1 file</li>"), "{chart}");
    assert!(!chart.contains("style=") && !chart.contains("<script>"));
    let none = stacked("m", "t", &[]).into_string();
    assert!(none.contains("No files.") && !none.contains("part look"), "{none}");
    assert!(bar(0, 0).into_string().contains("class=\"part look-0\" x=\"0\" y=\"0\" width=\"0\""));
}

#[test]
fn days_between_events_have_columns_and_what_is_no_day_has_none() {
    let count = |day: &str, count| (day.to_owned(), count);
    assert_eq!(days(&[]).into_string(), "");
    assert_eq!(days(&[count("0000000001", 3)]).into_string(), "");
    let few = [count("2026-02-27", u64::MAX), count("2026-03-01", 1), count("2026-02-30", 5)];
    let shown: Vec<String> = columns(&few).iter().map(|(day, count)| format!("{day} {count}")).collect();
    assert_eq!(
        shown,
        [format!("2026-02-27 {}", u64::MAX), "2026-02-28 0".to_owned(), "2026-03-01 1".to_owned()]
    );
    let chart = days(&few).into_string();
    assert!(chart.contains("Events per day from 2026-02-27 to 2026-03-01"), "{chart}");
    assert!(chart.contains("<title>2026-03-01: 1 event</title>"), "{chart}");
    assert!(chart.contains(&format!(
        "{} in all; the most, {}, on 2026-02-27",
        u128::from(u64::MAX) + 1,
        u64::MAX
    )));
    assert!(
        chart.contains("viewBox=\"0 0 600 120\"") && chart.contains("x=\"41\""),
        "a column is a thirtieth: {chart}"
    );
    let years = [count("1999-01-01", 1), count("2026-01-01", 1)];
    assert_eq!(
        (columns(&years).len(), columns(&years)[0].0.to_string()),
        (DAYS_MAX, "2025-11-03".to_owned())
    );
}
