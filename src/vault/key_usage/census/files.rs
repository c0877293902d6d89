//! Which files have which slots: sets of inode numbers, by what their slots hold. A file is found by its number alone,
//! however many keys there are; what is known of a word of 64 numbers stands in one place, and nearly always it is the same
//! for all of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::summary::SlotSummary;
use crate::ids::Ino;

/// A number for a [`SlotSummary`], to be used again once no file has it.
type SummaryNumber = u32;

#[derive(Default)]
pub(super) struct Files {
    /// By their numbers, each with how many files have it. Those of no file are free.
    summaries: Vec<(SlotSummary, u64)>,
    free: Vec<SummaryNumber>,
    numbers: HashMap<SlotSummary, SummaryNumber>,
    /// By the inode number's upper 58 bits.
    words: HashMap<u64, Word>,
}

/// 64 inode numbers, a bit for each value of the lower six, by the summaries of their files. Of 16 bytes: there may be one for
/// each file.
enum Word {
    One { number: SummaryNumber, bits: u64 },
    Several(Box<Several>),
}

struct Several(Vec<(SummaryNumber, u64)>);

impl Word {
    fn sets(&self) -> impl Iterator<Item = (SummaryNumber, u64)> {
        let (one, several) = match self {
            Self::One { number, bits } => (Some((*number, *bits)), &[][..]),
            Self::Several(several) => (None, several.0.as_slice()),
        };
        one.into_iter().chain(several.iter().copied())
    }

    /// Takes a file out. Gives the number of its summary, if it was there.
    fn take(&mut self, bit: u64) -> Option<SummaryNumber> {
        match self {
            Self::One { number, bits } => {
                let was = *bits & bit != 0;
                *bits &= !bit;
                was.then_some(*number)
            }
            Self::Several(several) => {
                let at = several.0.iter().position(|(_, bits)| bits & bit != 0)?;
                let (number, bits) = &mut several.0[at];
                let number = *number;
                *bits &= !bit;
                if *bits == 0 {
                    several.0.swap_remove(at);
                }
                if let [(number, bits)] = several.0[..] {
                    *self = Self::One { number, bits };
                }
                Some(number)
            }
        }
    }

    /// Adds a file that isn't in there.
    fn put(&mut self, number: SummaryNumber, bit: u64) {
        match self {
            Self::One { bits: 0, .. } => *self = Self::One { number, bits: bit },
            Self::One { number: one, bits } if *one == number => *bits |= bit,
            Self::One { number: one, bits } => {
                let both = vec![(*one, *bits), (number, bit)];
                *self = Self::Several(Box::new(Several(both)));
            }
            Self::Several(several) => match several.0.iter_mut().find(|(known, _)| *known == number) {
                Some((_, bits)) => *bits |= bit,
                None => several.0.push((number, bit)),
            },
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::One { bits: 0, .. })
    }
}

impl Files {
    /// The file has these slots, and no longer any others.
    pub(super) fn set(&mut self, ino: Ino, summary: SlotSummary) {
        let (high, bit) = place(ino);
        let number = self.number(summary);
        self.summaries[number as usize].1 += 1;
        let word = self.words.entry(high).or_insert(Word::One { number, bits: 0 });
        let before = word.take(bit);
        word.put(number, bit);
        if let Some(before) = before {
            self.drop_one(before);
        }
    }

    /// The file is in no set any more.
    pub(super) fn remove(&mut self, ino: Ino) {
        let (high, bit) = place(ino);
        let Entry::Occupied(mut word) = self.words.entry(high) else { return };
        let before = word.get_mut().take(bit);
        if word.get().is_empty() {
            word.remove();
        }
        if let Some(before) = before {
            self.drop_one(before);
        }
    }

    /// What slots hold, and in how many files.
    pub(super) fn counts(&self) -> impl Iterator<Item = (SlotSummary, u64)> {
        self.summaries.iter().copied().filter(|(_, files)| *files > 0)
    }

    /// The files whose slots are `wanted`. Looks through all words.
    pub(super) fn with(&self, wanted: impl Fn(&SlotSummary) -> bool) -> Vec<Ino> {
        let wanted: Vec<bool> =
            self.summaries.iter().map(|(summary, files)| *files > 0 && wanted(summary)).collect();
        if !wanted.contains(&true) {
            return Vec::new();
        }
        let sets = self.words.iter().flat_map(|(high, word)| word.sets().map(|set| (*high, set)));
        let sets = sets.filter(|(_, (number, _))| wanted[*number as usize]);
        sets.flat_map(|(high, (_, bits))| inodes(high, bits)).collect()
    }

    /// What slots hold, each with its words in their order.
    pub(super) fn words(&self) -> impl Iterator<Item = (SlotSummary, Vec<(u64, u64)>)> {
        let mut words: Vec<Vec<(u64, u64)>> = vec![Vec::new(); self.summaries.len()];
        for (high, word) in &self.words {
            word.sets().for_each(|(number, bits)| words[number as usize].push((*high, bits)));
        }
        let sets = self.summaries.iter().zip(words).filter(|((_, files), _)| *files > 0);
        sets.map(|((summary, _), mut words)| {
            words.sort_unstable();
            (*summary, words)
        })
    }

    /// Gives up memory that files no longer counted have left. Some is left to grow, so that it isn't taken back at once.
    pub(super) fn shrink(&mut self) {
        self.words.shrink_to(self.words.len() * 2);
    }

    fn number(&mut self, summary: SlotSummary) -> SummaryNumber {
        if let Some(known) = self.numbers.get(&summary) {
            return *known;
        }
        let number = match self.free.pop() {
            Some(free) => {
                self.summaries[free as usize] = (summary, 0);
                free
            }
            None => {
                self.summaries.push((summary, 0));
                (self.summaries.len() - 1) as SummaryNumber
            }
        };
        self.numbers.insert(summary, number);
        number
    }

    /// One file less has this summary.
    fn drop_one(&mut self, number: SummaryNumber) {
        let (summary, files) = &mut self.summaries[number as usize];
        *files -= 1;
        if *files == 0 {
            self.numbers.remove(summary);
            self.free.push(number);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty() && self.numbers.is_empty() && self.free.len() == self.summaries.len()
    }

    /// Bytes that its words take.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        // A byte for each place is the table's.
        self.words.capacity() * (size_of::<(u64, Word)>() + 1)
    }
}

fn place(ino: Ino) -> (u64, u64) {
    (ino.0 >> 6, 1 << (ino.0 & 63))
}

/// The inode numbers of a word's bits.
pub(super) fn inodes(high: u64, bits: u64) -> impl Iterator<Item = Ino> {
    (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| Ino(high << 6 | bit))
}
