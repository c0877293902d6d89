use proptest::prelude::*;

use super::*;

fn at(began: Instant, secs: f64) -> Instant {
    began + Duration::from_secs_f64(secs)
}

/// So many steps have to be seen before costs can be told apart.
const FEW: usize = 6;

/// The rule, for what was told at a tenth of the work and later.
fn assert_rule(told: f64, left: f64, what: &str) {
    assert!((told - left).abs() <= (left / 5.0).max(1.0), "{told:.2} s for {left:.2} s: {what}");
}

/// Does steps of these sizes at these costs, and has what is told of the rest checked from a tenth on, and when so many steps
/// were `seen`. `jitter` is what each takes of its time.
fn check(usual: u64, sizes: &[u64], seen: usize, (step, unit): (f64, f64), jitter: &[f64]) {
    let began = Instant::now();
    let times: Vec<f64> = sizes
        .iter()
        .enumerate()
        .map(|(i, n)| (step + unit * *n as f64) * jitter.get(i % jitter.len().max(1)).unwrap_or(&1.0))
        .collect();
    let all: f64 = times.iter().sum();
    let (mut pace, mut now, mut done) = (Pace::new(usual, began), 0.0, 0);
    let total: u64 = sizes.iter().sum();
    for (i, (n, took)) in sizes.iter().zip(&times).enumerate() {
        now += took;
        done += n;
        pace.ended(*n, at(began, now));
        if done * 10 >= total && i + 1 >= seen {
            let told = pace.of((sizes.len() - i - 1) as f64, (total - done) as f64).unwrap();
            let what = format!("{step} s a step, {unit} s a unit, step {i} of {}", sizes.len());
            assert_rule(told, all - now, &what);
        }
    }
}

/// Sizes that double to a largest one.
fn growing(total: u64, largest: u64) -> Vec<u64> {
    let (mut left, mut size, mut sizes) = (total, 256, Vec::new());
    while left > 0 {
        sizes.push(left.min(size));
        left -= left.min(size);
        size = (size * 2).min(largest);
    }
    sizes
}

proptest! {
    /// Of the first batches most of the time is the disk's, of the later ones little.
    #[test]
    fn batches_that_grow_are_told_right(
        total in 3000_u64..400_000, largest in 1024_u64..4096, step in 0.0..0.4, unit in 0.00002..0.002,
        jitter in prop::collection::vec(0.95..1.05, 7),
    ) {
        check(300, &growing(total, largest), FEW, (step, unit), &jitter);
    }

    /// Small and large files in any order, none of which is most of all.
    #[test]
    fn files_of_all_sizes_are_told_right(
        sizes in prop::collection::vec(prop_oneof![20 => 0_u64..100_000, 1 => 10_000_000_u64..40_000_000], 100), times in 8_usize..20,
        step in 0.001..0.02, unit in 1e-9..2e-8, jitter in prop::collection::vec(0.95..1.05, 7),
    ) {
        let sizes: Vec<u64> = sizes.iter().cycle().take(sizes.len() * times).copied().collect();
        check(USUAL_BYTES, &sizes, sizes.len() / times, (step, unit), &jitter);
    }
}

#[test]
fn steps_that_cost_nothing_for_themselves_are_told_by_their_speed() {
    check(0, &[256; 100], 1, (0.0, 0.001), &[]);
    check(0, &[256, 7, 256, 100, 256], 1, (0.0, 0.001), &[]);
}

/// It was told by its files: of each as much.
#[test]
fn a_large_file_is_told_while_it_is_copied() {
    let (began, large) = (Instant::now(), 8_000_000_000_u64);
    let mut left = CopyLeft::new(began);
    left.known(Some(Amount { files: 3, bytes: 3 * large }));
    let mut now = 0.0;
    for file in 0..3_u64 {
        for part in (0..1000).step_by(50) {
            let told = left.of(large, Part(part), at(began, now));
            // 100 MB a second.
            let done = large * file + large / 1000 * u64::from(part);
            if done * 10 >= 3 * large {
                assert_rule(
                    told.unwrap().duration().as_secs_f64(),
                    240.0 - now,
                    &format!("file {file}, {part} of 1000"),
                );
            }
            now += 4.0;
        }
        left.ended(large, at(began, now));
    }
    assert_eq!(left.of(0, Part(0), at(began, now)), Some(TimeLeft(0)));
}

#[test]
fn work_that_gets_slower_is_told_right_again_after_a_while() {
    let (began, mut now, mut pace) = (Instant::now(), 0.0, Pace::new(300, Instant::now()));
    pace.resumed(began);
    for second in 0..200 {
        now += 1.0;
        let (size, left) = if second < 20 { (1000, 180.0) } else { (100, f64::from(199 - second)) };
        pace.ended(size, at(began, now));
        let told = pace.of(left, left * 100.0).unwrap();
        if second > 80 {
            assert_rule(told, left, &format!("{second}"));
        }
    }
}

#[test]
fn a_pause_is_no_part_of_a_step() {
    let began = Instant::now();
    let mut pace = Pace::new(0, began);
    for n in 0..10 {
        pace.resumed(at(began, f64::from(n)));
        pace.ended(10, at(began, f64::from(n) + 0.1));
    }
    assert!((pace.of(1.0, 100.0).unwrap() - 1.0).abs() < 0.01);
}

#[test]
fn nothing_is_told_before_a_step_or_without_a_total() {
    let now = Instant::now();
    let pace = Pace::new(300, now);
    assert_eq!(pace.of(1.0, 1.0), None);
    let mut left = CopyLeft::new(now);
    left.ended(1000, at(now, 1.0));
    assert_eq!(left.of(0, Part(0), at(now, 1.0)), None);
    left.known(Some(Amount { files: 2, bytes: 2000 }));
    assert!(left.of(0, Part(0), at(now, 1.0)).is_some());
}
