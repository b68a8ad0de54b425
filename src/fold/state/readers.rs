//! The set of a group message's readers.

use smallvec::SmallVec;

use super::members::User;
use super::slots::Slot;

/// Users of one word of the bitmap.
const WORD_BITS: u32 = u64::BITS;

/// Readers of one message, as slots of the group's users: a sorted list while they are few, else a bitmap. A message
/// read by a whole group of 500 takes 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReaderSet {
    /// Sorted, each once.
    Few(SmallVec<[u32; 4]>),
    /// One bit a user slot, and how many are set.
    Many { words: Vec<u64>, count: u32 },
}

impl Default for ReaderSet {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

impl ReaderSet {
    /// Puts a reader in; false where he was in already.
    pub(crate) fn insert(&mut self, reader: Slot<User>) -> bool {
        let number = reader.number();
        match self {
            Self::Few(numbers) => {
                let Err(place) = numbers.binary_search(&number) else { return false };
                numbers.insert(place, number);
                self.widen_if_smaller();
                true
            }
            Self::Many { words, count } => {
                let word_number = (number / WORD_BITS) as usize;
                if words.len() <= word_number {
                    words.resize(word_number + 1, 0);
                }
                let bit = 1 << (number % WORD_BITS);
                let Some(word) = words.get_mut(word_number) else { return false };
                let is_new = *word & bit == 0;
                *word |= bit;
                *count += u32::from(is_new);
                is_new
            }
        }
    }

    /// Takes a reader out; false where he was not in.
    pub(crate) fn remove(&mut self, reader: Slot<User>) -> bool {
        let number = reader.number();
        match self {
            Self::Few(numbers) => {
                let Ok(place) = numbers.binary_search(&number) else { return false };
                numbers.remove(place);
                true
            }
            Self::Many { words, count } => {
                let Some(word) = words.get_mut((number / WORD_BITS) as usize) else { return false };
                let bit = 1 << (number % WORD_BITS);
                let was_in = *word & bit != 0;
                *word &= !bit;
                *count -= u32::from(was_in);
                was_in
            }
        }
    }

    /// Whether a reader is in.
    pub(crate) fn contains(&self, reader: Slot<User>) -> bool {
        let number = reader.number();
        match self {
            Self::Few(numbers) => numbers.binary_search(&number).is_ok(),
            Self::Many { words, .. } => {
                words.get((number / WORD_BITS) as usize).is_some_and(|word| word >> (number % WORD_BITS) & 1 == 1)
            }
        }
    }

    /// How many are in.
    pub(crate) fn len(&self) -> u32 {
        match self {
            Self::Few(numbers) => numbers.len() as u32,
            Self::Many { count, .. } => *count,
        }
    }

    /// All of them, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot<User>> {
        let (numbers, words): (&[u32], &[u64]) = match self {
            Self::Few(numbers) => (numbers, &[]),
            Self::Many { words, .. } => (&[], words),
        };
        let set_bits = words.iter().enumerate().flat_map(|(word_number, word)| {
            let first = word_number as u32 * WORD_BITS;
            (0..WORD_BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| first + bit)
        });
        numbers.iter().copied().chain(set_bits).map(Slot::from_number)
    }

    /// Bytes outside the set's own.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Few(numbers) if numbers.spilled() => numbers.capacity() * size_of::<u32>(),
            Self::Few(_) => 0,
            Self::Many { words, .. } => words.capacity() * size_of::<u64>(),
        }
    }

    /// Turns a list into a bitmap where that takes less room.
    fn widen_if_smaller(&mut self) {
        let Self::Few(numbers) = self else { return };
        if !numbers.spilled() {
            return;
        }
        let words_needed = numbers.last().map_or(0, |last| last / WORD_BITS + 1) as usize;
        if words_needed * size_of::<u64>() > numbers.len() * size_of::<u32>() {
            return;
        }
        let mut words = vec![0_u64; words_needed];
        for number in numbers.iter() {
            if let Some(word) = words.get_mut((number / WORD_BITS) as usize) {
                *word |= 1 << (number % WORD_BITS);
            }
        }
        *self = Self::Many { words, count: numbers.len() as u32 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots_of(set: &ReaderSet) -> Vec<u32> {
        set.iter().map(Slot::number).collect()
    }

    #[test]
    fn a_reader_is_in_once() {
        let mut set = ReaderSet::default();
        for number in [7, 3, 900, 3, 7] {
            set.insert(Slot::from_number(number));
        }
        assert_eq!(slots_of(&set), [3, 7, 900]);
        assert_eq!(set.len(), 3);
        assert!(set.contains(Slot::from_number(900)));
        assert!(!set.contains(Slot::from_number(4)));
    }

    #[test]
    fn a_whole_group_takes_a_bit_a_member() {
        let mut set = ReaderSet::default();
        for number in (0..500).rev() {
            assert!(set.insert(Slot::from_number(number)), "{number} is new");
            assert!(!set.insert(Slot::from_number(number)), "{number} is in");
        }
        assert_eq!(slots_of(&set), (0..500).collect::<Vec<_>>());
        assert_eq!(set.heap_bytes(), 64);
    }

    #[test]
    fn a_reader_is_taken_out_of_a_list_and_of_a_bitmap() {
        for readers in [3, 500] {
            let mut set = ReaderSet::default();
            (0..readers).for_each(|number| assert!(set.insert(Slot::from_number(number))));
            assert!(set.remove(Slot::from_number(1)));
            assert!(!set.remove(Slot::from_number(1)), "he is out already");
            assert!(!set.remove(Slot::from_number(9_999)), "he was never in");
            assert_eq!(set.len(), readers - 1);
            assert!(!set.contains(Slot::from_number(1)));
            assert!(set.insert(Slot::from_number(1)));
        }
    }

    #[test]
    fn few_readers_of_a_large_group_stay_a_list() {
        let mut set = ReaderSet::default();
        for number in (0..20).map(|step| step * 5_000) {
            set.insert(Slot::from_number(number));
        }
        assert!(set.heap_bytes() <= 32 * size_of::<u32>());
        assert_eq!(set.len(), 20);
        assert!(set.contains(Slot::from_number(95_000)));
        assert!(!set.contains(Slot::from_number(95_001)));
    }
}
