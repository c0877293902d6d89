//! How easily a new passphrase is guessed. A weak one is warned of and taken: who makes a vault for a test, or has a reason
//! that nobody here knows, is not to be stopped. A passphrase from a file or a command is looked at like one that is typed;
//! a random one, as they most often are there, passes.
//!
//! The estimate is zxcvbn's, which looks at the first 100 characters, and so takes milliseconds for any. It copies the
//! passphrase to memory that it doesn't wipe: commands that make a secret call it, and end; never the daemon of a mount.

use std::path::Path;

use zxcvbn::{Score, zxcvbn};

/// Words that guess at a passphrase of this user for this place: the names on the path, and the user's.
fn guesses(place: &Path) -> Vec<String> {
    let names = place.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let user = ["USER", "LOGNAME"].iter().filter_map(|name| std::env::var(name).ok());
    names.chain(user).chain(["rekeyfs".to_owned()]).collect()
}

/// Why a passphrase for this place is weak, and what is better: one line that follows its name. None for a good one.
pub(super) fn weakness(passphrase: &[u8], place: &Path) -> Option<String> {
    let words = guesses(place);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let found = zxcvbn(&String::from_utf8_lossy(passphrase), &words);
    if found.score() >= Score::Three {
        return None;
    }
    let mut line = format!("weak: about 10^{:.0} guesses find it", found.guesses_log10().max(0.0));
    if let Some(feedback) = found.feedback() {
        let why = feedback.warning().map(|warning| warning.to_string());
        let better = feedback.suggestions().iter().map(ToString::to_string);
        for sentence in why.into_iter().chain(better) {
            line += &format!(". {}", sentence.trim_end_matches('.'));
        }
    }
    line += "; `rekeyfs unlock change` replaces it";
    Some(line)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn of(passphrase: &str) -> Option<String> {
        weakness(passphrase.as_bytes(), Path::new("/srv/quarterly-accounts"))
    }

    #[test]
    fn a_passphrase_that_is_easily_guessed_is_weak_and_it_is_said_why() {
        for weak in [
            "password",
            "hunter2",
            "aaaaaaaaaaaa",
            "qwertyuiop",
            "quarterly-accounts",
            "rekeyfs",
            "2024-06-01",
        ] {
            let said = of(weak).unwrap_or_else(|| panic!("{weak} passes"));
            assert!(said.starts_with("weak: about 10^"), "{said}");
            assert!(!said.contains('\n'));
            let is_a_word_of_the_message = matches!(weak, "password" | "rekeyfs");
            assert!(
                is_a_word_of_the_message || !said.contains(weak),
                "the passphrase is not printed: {said}"
            );
        }
    }

    #[test]
    fn a_good_one_passes_and_any_is_looked_at_quickly() {
        for good in ["tarnished outboard mule sepia", "J8s#kd02=Lqx!vU", "rcSFOrK8WZj9w/h4IeZcSqGMndpOKyd+"] {
            assert_eq!(of(good), None, "{good}");
        }
        let began = Instant::now();
        let long: String = (0..4096).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
        let _ = (of(&long), of(&"a".repeat(4096)), weakness(&[0xff; 4096], Path::new("/")));
        // Far more than it takes, for a machine that is busy.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
