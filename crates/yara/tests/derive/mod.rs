//! Needles of rules: texts of which one stands in whatever a rule matches, derived from its condition and its patterns.
//!
//! A condition is followed as far as it is certain: what holds without any pattern gives no needles, and a rule without needles fails the test, because
//! it would have to be applied to everything.

mod regexp;

use std::collections::{BTreeMap, BTreeSet};

use yara_x_parser::ast::{Expr, Item, OfItems, Pattern, PatternSet, PatternSetItem, Quantifier, Rule};

pub(crate) use regexp::{parsed, sample};

/// Texts of which one is there.
pub(crate) type Texts = BTreeSet<Vec<u8>>;

/// What is there in whatever matches: one of `any`, one of `any_case` in upper or lower case, or one of each side of a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needles {
    pub(crate) any: Texts,
    /// In lower case.
    pub(crate) any_case: Texts,
    /// In lower case, and looked for in any.
    pub(crate) pairs: BTreeSet<(Texts, Texts)>,
}

/// Shorter ones stand in everything.
const BYTES_MIN: usize = 4;
/// Of two that stand together, each may be shorter.
const PAIR_BYTES_MIN: usize = 3;
/// Longer ones tell no more.
const BYTES_MAX: usize = 16;
/// Rarer than this, one needle is as good as another, and few are better than many.
const RARE: f64 = 1e-7;
/// What a pair counts: it costs a search of its own.
const PAIR: f64 = 1e-3;
/// Words that honest programs are full of, and how much more frequent than their letters say.
const COMMON: [&str; 6] = ["action", "class", "http", "import", "install", "socket"];
const COMMON_FACTOR: f64 = 1e6;

/// Needles of every rule of a pack, by the rule's name; a rule without any is there with none.
pub(crate) fn of_pack(text: &str) -> BTreeMap<String, Option<Needles>> {
    let ast = yara_x_parser::ast::AST::from(text);
    assert!(ast.errors().is_empty(), "{:?}", ast.errors());
    ast.items.iter().filter_map(|item| if let Item::Rule(rule) = item { Some((rule.identifier.name.to_owned(), of_rule(rule))) } else { None }).collect()
}

fn of_rule(rule: &Rule<'_>) -> Option<Needles> {
    let patterns: BTreeMap<&str, Option<Needles>> = rule.patterns.iter().flatten().map(|pattern| (pattern.identifier().name, of_pattern(pattern))).collect();
    of_expr(&rule.condition, &patterns)
}

/// What stands in whatever makes `expr` true; nothing where that is not certain.
fn of_expr(expr: &Expr<'_>, patterns: &BTreeMap<&str, Option<Needles>>) -> Option<Needles> {
    match expr {
        Expr::False { .. } => Some(Needles::default()),
        Expr::PatternMatch(one) => named(one.identifier.name, patterns),
        // The number of places is at least one.
        Expr::Ge(both) => match (&both.lhs, &both.rhs) {
            (Expr::PatternCount(one), Expr::LiteralInteger(least)) if least.value >= 1 => named(one.identifier.name, patterns),
            _ => None,
        },
        Expr::And(all) => cheapest(all.operands().filter_map(|one| of_expr(one, patterns))),
        Expr::Or(any) => union(any.operands().map(|one| of_expr(one, patterns))),
        Expr::Of(of) if of.anchor.is_none() => {
            let OfItems::PatternSet(set) = &of.items else { return None };
            let chosen: Vec<Option<Needles>> = patterns.iter().filter(|(name, _)| in_set(set, name)).map(|(_, needles)| needles.clone()).collect();
            match &of.quantifier {
                Quantifier::Any { .. } => union(chosen.into_iter()),
                Quantifier::All { .. } => cheapest(chosen.into_iter().flatten()),
                // Where two are there, one is there of all but any one.
                Quantifier::Expr(Expr::LiteralInteger(least)) if least.value >= 1 => {
                    let mut chosen = chosen;
                    chosen.sort_by(|one, other| cost(one.as_ref()).total_cmp(&cost(other.as_ref())));
                    let keep = chosen.len().saturating_sub(usize::try_from(least.value - 1).unwrap());
                    union(chosen.into_iter().take(keep))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Needles of a pattern, which conditions name with a sign of what they ask: `$a`, `#a`.
fn named(name: &str, patterns: &BTreeMap<&str, Option<Needles>>) -> Option<Needles> {
    patterns.iter().find(|(known, _)| known.get(1..) == name.get(1..)).and_then(|(_, needles)| needles.clone())
}

fn in_set(set: &PatternSet<'_>, name: &str) -> bool {
    let fits = |item: &PatternSetItem<'_>| if item.wildcard { name.starts_with(item.identifier) } else { name == item.identifier };
    match set {
        PatternSet::Them { .. } => true,
        PatternSet::Set(items) => items.iter().any(fits),
    }
}

/// What stands in whatever a pattern matches.
pub(crate) fn of_pattern(pattern: &Pattern<'_>) -> Option<Needles> {
    let modifiers = pattern.modifiers();
    if modifiers.xor().is_some() {
        return None;
    }
    let any_case = modifiers.nocase().is_some() || matches!(pattern, Pattern::Regexp(regexp) if regexp.regexp.case_insensitive);
    let plain = match pattern {
        Pattern::Text(text) => {
            let bytes = text.text.value.to_vec();
            let mut texts = Texts::from([if any_case { bytes.to_ascii_lowercase() } else { bytes.clone() }]);
            if modifiers.base64().is_some() || modifiers.base64wide().is_some() {
                let encoded: Vec<Vec<u8>> = (0..3).map(|before| base64(&bytes, before)).collect();
                texts.extend(encoded.iter().map(|text| wide(text)));
                texts.extend(encoded);
            }
            let texts = admissible(texts, BYTES_MIN)?;
            if any_case { Needles { any_case: texts, ..Needles::default() } } else { Needles { any: texts, ..Needles::default() } }
        }
        Pattern::Regexp(_) => regexp::needles(&parsed(pattern)?, any_case)?,
        Pattern::Hex(_) => return None,
    };
    if modifiers.wide().is_none() {
        return Some(plain);
    }
    if !plain.pairs.is_empty() {
        return None;
    }
    let both = |texts: Texts| admissible(texts.iter().map(|text| wide(text)).chain(texts.clone()).collect(), BYTES_MIN);
    Some(Needles { any: both(plain.any)?, any_case: both(plain.any_case)?, ..Needles::default() })
}

fn wide(text: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|byte| [*byte, 0]).collect()
}

/// The letters that are the same whatever stands before and behind, where `before` bytes of a group of three are others.
fn base64(bytes: &[u8], before: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<bool> = [&vec![0; before][..], bytes].concat().iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let letters = bits.chunks_exact(6).map(|bits| ALPHABET[bits.iter().fold(0, |value, bit| value << 1 | usize::from(*bit))]);
    letters.skip((before * 8).div_ceil(6)).collect()
}

/// Cut, and nothing where one is too short to be rare.
fn admissible(texts: Texts, bytes_min: usize) -> Option<Texts> {
    let cut: Texts = texts.iter().map(|text| text.iter().copied().take(BYTES_MAX).collect()).collect();
    cut.iter().all(|text| text.len() >= bytes_min).then_some(cut)
}

fn union(sets: impl Iterator<Item = Option<Needles>>) -> Option<Needles> {
    let mut all = Needles::default();
    for set in sets {
        let Needles { any, any_case, pairs } = set?;
        all.any.extend(any);
        all.any_case.extend(any_case);
        all.pairs.extend(pairs);
    }
    Some(all)
}

fn cheapest(sets: impl Iterator<Item = Needles>) -> Option<Needles> {
    sets.min_by(|one, other| cost(Some(one)).total_cmp(&cost(Some(other))))
}

fn cost(needles: Option<&Needles>) -> f64 {
    needles.map_or(f64::INFINITY, |needles| of_texts(&needles.any) + of_texts(&needles.any_case) + PAIR * needles.pairs.iter().map(|_| 1.0).sum::<f64>())
}

/// How often a place of honest content begins one of them, about.
fn of_texts(texts: &Texts) -> f64 {
    let one = |text: &Vec<u8>| {
        let letters: f64 = text.iter().map(|byte| frequency(*byte)).product();
        let common = COMMON.iter().any(|word| text.windows(word.len()).any(|window| window == word.as_bytes()));
        letters * if common { COMMON_FACTOR } else { 1.0 } + RARE
    };
    texts.iter().map(one).sum()
}

fn frequency(byte: u8) -> f64 {
    match byte {
        b'a' | b'e' | b'i' | b'n' | b'o' | b'r' | b's' | b't' | b' ' => 0.08,
        b'a'..=b'z' | b'.' | b'_' => 0.025,
        b'0'..=b'9' => 0.03,
        0x20..=0x7e | b'\n' => 0.01,
        0 => 0.3,
        _ => 0.004,
    }
}
