//! The published generator: documents of mixed text and the queries that fit them, from one seed.
//!
//! `bench/documents.md` describes it for people who want the same documents elsewhere; a test holds the list
//! in `bench/queries.txt` against it. Nothing here depends on a library's random numbers, so the documents of
//! a seed are the same for ever.

use std::collections::{HashMap, HashSet};

/// Bytes of a document's text (UTF-8).
pub(crate) const TEXT_BYTES: usize = 600;

/// Different words.
const WORDS: usize = 20_000;

/// The seed of the published documents.
pub(crate) const SEED: u64 = 4;

/// Queries in the published list: by turns two words that must both be there, and a phrase of two words.
pub(crate) const QUERIES: usize = 200;

/// Places of the words that are searched for: neither the commonest, which mean nothing, nor names.
const QUERY_RANKS: std::ops::Range<usize> = 20..2_000;

/// Phrases come from documents with numbers below this, so that 100,000 documents hold all of them.
const PHRASE_DOCUMENTS: u64 = 100_000;

/// `SplitMix64` (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`: the high half of a 128-bit product.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// The words, the commonest first, and how common they are.
#[derive(Debug)]
pub(crate) struct Texts {
    words: Vec<String>,
    /// Sums of `1 / rank`, in units of 2^-32: Zipf's law with exponent 1.
    sums: Vec<u64>,
}

const CONSONANTS: [&str; 20] = [
    "b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pl", "ch",
];
const VOWELS: [&str; 12] = ["a", "e", "i", "o", "u", "ai", "ea", "ou", "io", "y", "é", "ü"];
const ENDINGS: [&str; 8] = ["", "", "n", "r", "s", "t", "l", "nd"];

/// The last two vowels are not ASCII; they are taken once in this many times.
const ACCENT_EVERY: usize = 24;

impl Texts {
    /// The vocabulary of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut seen = HashSet::with_capacity(WORDS);
        let mut words = Vec::with_capacity(WORDS);
        while words.len() < WORDS {
            // Common words are short.
            let syllables = 1 + random.below(if words.len() < 100 { 2 } else { 3 });
            let mut word = String::new();
            for _ in 0..syllables {
                word.push_str(CONSONANTS[random.below(CONSONANTS.len())]);
                let vowels = if random.below(ACCENT_EVERY) == 0 {
                    10..12
                } else {
                    0..10
                };
                word.push_str(VOWELS[vowels.start + random.below(vowels.len())]);
            }
            word.push_str(ENDINGS[random.below(ENDINGS.len())]);
            if seen.insert(word.clone()) {
                words.push(word);
            }
        }
        let mut sum = 0;
        let sums = (1..=WORDS as u64)
            .map(|rank| {
                sum += (1 << 32) / rank;
                sum
            })
            .collect();
        Self { words, sums }
    }

    /// Where a word of Zipf's frequencies stands.
    fn rank(&self, random: &mut Random) -> usize {
        let last = self.sums.last().copied().unwrap_or(1) as usize;
        let at = random.below(last) as u64;
        self.sums.partition_point(|sum| *sum <= at)
    }

    /// Appends the text of document `number`: sentences of 5 to 14 words, of which one in 20 is a number and one
    /// in 40 a name with an underscore, cut at [`TEXT_BYTES`] and filled with full stops where that would
    /// split a character.
    pub(crate) fn write(&self, seed: u64, number: u64, out: &mut String) {
        let mut random = Random::new(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ number);
        let start = out.len();
        while out.len() - start < TEXT_BYTES {
            let words = 5 + random.below(10);
            for place in 0..words {
                if place > 0 {
                    out.push(' ');
                }
                match random.below(40) {
                    0 => {
                        let (first, second) = (self.rank(&mut random), self.rank(&mut random));
                        out.push_str(&self.words[first]);
                        out.push('_');
                        out.push_str(&self.words[second]);
                    }
                    1 | 2 => {
                        let digits = 10_usize.pow(1 + random.below(5) as u32);
                        out.push_str(&random.below(digits).to_string());
                    }
                    _ => {
                        let word = &self.words[self.rank(&mut random)];
                        if place == 0 {
                            out.push(
                                word.chars()
                                    .next()
                                    .expect("no word is empty")
                                    .to_ascii_uppercase(),
                            );
                            out.push_str(&word[1..]);
                        } else {
                            out.push_str(word);
                        }
                    }
                }
            }
            out.push_str(". ");
        }
        let mut end = start + TEXT_BYTES;
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
        while out.len() - start < TEXT_BYTES {
            out.push('.');
        }
    }

    /// The list of queries of `seed`, in the order in which a run takes them.
    pub(crate) fn queries(&self, seed: u64) -> Vec<String> {
        let words = self.words.iter().map(String::as_str);
        let ranks: HashMap<&str, usize> = words.zip(0..).collect();
        let mut random = Random::new(!seed);
        let mut text = String::new();
        let mut queries = Vec::with_capacity(QUERIES);
        while queries.len() < QUERIES {
            if queries.len().is_multiple_of(2) {
                let span = QUERY_RANKS.len();
                let (first, second) = (random.below(span), random.below(span));
                if first != second {
                    let word = |rank: usize| &self.words[QUERY_RANKS.start + rank];
                    queries.push(format!("{} {}", word(first), word(second)));
                }
                continue;
            }
            let [first, second] = self.neighbours(seed, &mut random, &mut text);
            let searched = |word: &str| ranks.get(word).is_some_and(|rank| QUERY_RANKS.contains(rank));
            if searched(&first) && searched(&second) {
                queries.push(format!("\"{first} {second}\""));
            }
        }
        queries
    }

    /// Phrases of any two neighbours, most of them with one of the commonest words: what nobody should have to
    /// ask, and somebody will.
    pub(crate) fn common_phrases(&self, seed: u64) -> Vec<String> {
        let mut random = Random::new(seed.rotate_left(32));
        let mut text = String::new();
        let mut queries = Vec::with_capacity(QUERIES);
        while queries.len() < QUERIES {
            let [first, second] = self.neighbours(seed, &mut random, &mut text);
            if [&first, &second]
                .iter()
                .all(|word| word.chars().all(char::is_lowercase))
            {
                queries.push(format!("\"{first} {second}\""));
            }
        }
        queries
    }

    /// Two pieces of a random document that follow each other.
    fn neighbours(&self, seed: u64, random: &mut Random, text: &mut String) -> [String; 2] {
        let number = random.next() % PHRASE_DOCUMENTS;
        text.clear();
        self.write(seed, number, text);
        let words: Vec<&str> = text.split(' ').collect();
        let at = random.below(words.len() - 2);
        [words[at].to_owned(), words[at + 1].to_owned()]
    }
}

#[cfg(test)]
mod tests;
