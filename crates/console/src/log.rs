//! What is said on standard error, a line each: systemd's journal, or whoever started this, reads it.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rekeyfs::console::PROGRAM;
use rekeyfs::printable;

/// Says something. That nobody listens doesn't matter.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{PROGRAM}: {}", printable::line(text));
}

/// How many lines of what others can bring about at will are said in a while.
const LINES: u32 = 10;
const WHILE: Duration = Duration::from_secs(60);

/// What others can bring about at will: no more than [`LINES`] lines a minute, and then how many more there were.
#[derive(Default)]
pub(crate) struct Limited(Mutex<Option<Period>>);

struct Period {
    began: Instant,
    count: u32,
}

impl Limited {
    pub(crate) fn say(&self, text: &str) {
        self.say_at(Instant::now(), text, &say);
    }

    fn say_at(&self, now: Instant, text: &str, say: &dyn Fn(&str)) {
        let mut period = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match &mut *period {
            Some(current) if now.duration_since(current.began) < WHILE => current,
            ended => {
                if let Some(untold) =
                    ended.as_ref().and_then(|last| last.count.checked_sub(LINES)).filter(|n| *n > 0)
                {
                    say(&format!("{untold} more such lines in the minute before weren't written"));
                }
                ended.insert(Period { began: now, count: 0 })
            }
        };
        current.count = current.count.saturating_add(1);
        if current.count <= LINES {
            say(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_flood_is_ten_lines_a_minute_and_their_number() {
        let (limited, said) = (Limited::default(), RefCell::new(Vec::new()));
        let say = |text: &str| said.borrow_mut().push(text.to_owned());
        let began = Instant::now();
        for _ in 0..1000 {
            limited.say_at(began, "refused", &say);
        }
        assert_eq!(said.borrow().len(), 10);
        limited.say_at(began + WHILE, "refused", &say);
        assert_eq!(
            said.borrow()[10..],
            ["990 more such lines in the minute before weren't written", "refused"]
        );
    }
}
