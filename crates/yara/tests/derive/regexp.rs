//! Needles of a regular expression, and texts that it matches.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};
use yara_x_parser::ast::Pattern;

use super::{BYTES_MIN, Needles, PAIR_BYTES_MIN, Texts, admissible, cheapest, of_texts, union};

/// Texts of a part that has few; more are not written out.
const TEXTS_MAX: usize = 256;
/// Bytes of a class: the letters.
const CLASS_MAX: usize = 52;

/// The expression of a pattern as the engine reads it; nothing for one of another kind.
pub(crate) fn parsed(pattern: &Pattern<'_>) -> Option<Hir> {
    let Pattern::Regexp(pattern) = pattern else { return None };
    let mut builder = ParserBuilder::new();
    builder.utf8(false).unicode(false).dot_matches_new_line(pattern.regexp.dot_matches_new_line);
    builder.case_insensitive(pattern.regexp.case_insensitive || pattern.modifiers.nocase().is_some());
    Some(builder.build().parse(pattern.regexp.src).unwrap_or_else(|error| panic!("{}: {error}", pattern.identifier.name)))
}

/// The best of all parts that whatever it matches has. With `any_case` the texts are in lower case.
pub(super) fn needles(hir: &Hir, any_case: bool) -> Option<Needles> {
    let single = |texts: Texts| {
        if any_case { Needles { any_case: texts, ..Needles::default() } } else { Needles { any: texts, ..Needles::default() } }
    };
    let whole = exact(hir, any_case).and_then(|texts| admissible(texts, BYTES_MIN)).map(single);
    let parts = match hir.kind() {
        HirKind::Concat(parts) => {
            let runs = runs(parts, any_case);
            let long = runs.iter().filter_map(|run| admissible(run.texts.clone(), BYTES_MIN)).map(single);
            cheapest(parts.iter().filter_map(|part| needles(part, any_case)).chain(long)).or_else(|| pair(&runs))
        }
        HirKind::Alternation(any) => union(any.iter().map(|one| needles(one, any_case))),
        HirKind::Capture(capture) => needles(&capture.sub, any_case),
        HirKind::Repetition(repetition) if repetition.min >= 1 => needles(&repetition.sub, any_case),
        _ => None,
    };
    cheapest(whole.into_iter().chain(parts))
}

/// What neighbours make together.
struct Run {
    /// Parts from the first to behind the last.
    parts: std::ops::Range<usize>,
    texts: Texts,
}

fn runs(parts: &[Hir], any_case: bool) -> Vec<Run> {
    let mut found = Vec::new();
    for start in 0..parts.len() {
        let mut texts = Texts::from([Vec::new()]);
        for (at, part) in parts.iter().enumerate().skip(start) {
            let Some(next) = exact(part, any_case).and_then(|ends| product(&texts, &ends)) else {
                found.extend(repeated(&texts, part, any_case).into_iter().map(|texts| Run { parts: start..at + 1, texts }));
                break;
            };
            texts = next;
            found.push(Run { parts: start..at + 1, texts: texts.clone() });
        }
    }
    found
}

/// What stands before a repetition, with as many of its turns as it has at least and as are few texts.
fn repeated(before: &Texts, part: &Hir, any_case: bool) -> Vec<Texts> {
    let mut found = Vec::new();
    let HirKind::Repetition(repetition) = part.kind() else { return found };
    let Some(turn) = exact(&repetition.sub, any_case) else { return found };
    let mut texts = before.clone();
    for _ in 0..repetition.min {
        let Some(next) = product(&texts, &turn) else { break };
        texts = next;
        found.push(texts.clone());
    }
    found
}

/// The best two that stand one behind the other, the rarer first.
fn pair(runs: &[Run]) -> Option<Needles> {
    let short: Vec<(&Run, Texts)> = runs.iter().filter_map(|run| Some((run, admissible(run.texts.clone(), PAIR_BYTES_MIN)?))).collect();
    let both = short.iter().flat_map(|one| short.iter().map(move |other| (one, other))).filter(|(one, other)| one.0.parts.end <= other.0.parts.start);
    let (one, other) = both.min_by(|a, b| (of_texts(&a.0.1) + of_texts(&a.1.1)).total_cmp(&(of_texts(&b.0.1) + of_texts(&b.1.1))))?;
    let lower = |texts: &Texts| texts.iter().map(|text| text.to_ascii_lowercase()).collect::<Texts>();
    let sides = if of_texts(&one.1) <= of_texts(&other.1) { (lower(&one.1), lower(&other.1)) } else { (lower(&other.1), lower(&one.1)) };
    Some(Needles { pairs: [sides].into(), ..Needles::default() })
}

/// All texts of a part where they are few.
fn exact(hir: &Hir, any_case: bool) -> Option<Texts> {
    let folded = |text: &[u8]| if any_case { text.to_ascii_lowercase() } else { text.to_vec() };
    let texts = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Texts::from([Vec::new()]),
        HirKind::Literal(literal) => Texts::from([folded(&literal.0)]),
        HirKind::Class(class) => {
            let bytes: Texts = every(class).into_iter().map(|byte| folded(&[byte])).collect();
            (bytes.len() <= CLASS_MAX).then_some(bytes)?
        }
        HirKind::Capture(capture) => exact(&capture.sub, any_case)?,
        HirKind::Alternation(any) => any.iter().map(|one| exact(one, any_case)).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect(),
        HirKind::Concat(parts) => parts.iter().try_fold(Texts::from([Vec::new()]), |texts, part| product(&texts, &exact(part, any_case)?))?,
        HirKind::Repetition(repetition) => {
            let most = repetition.max.filter(|most| *most <= 4)?;
            let one = exact(&repetition.sub, any_case)?;
            let mut all = Texts::new();
            let mut texts = Texts::from([Vec::new()]);
            for times in 0..=most {
                if times >= repetition.min {
                    all.extend(texts.iter().cloned());
                }
                texts = product(&texts, &one)?;
            }
            all
        }
    };
    (texts.len() <= TEXTS_MAX).then_some(texts)
}

fn product(starts: &Texts, ends: &Texts) -> Option<Texts> {
    (starts.len() * ends.len() <= TEXTS_MAX).then(|| starts.iter().flat_map(|start| ends.iter().map(move |end| [&start[..], end].concat())).collect())
}

fn every(class: &Class) -> Vec<u8> {
    match class {
        Class::Bytes(class) => class.iter().flat_map(|range| range.start()..=range.end()).collect(),
        Class::Unicode(class) => class.iter().flat_map(|range| range.start()..=range.end()).map(|letter| u8::try_from(letter).unwrap()).collect(),
    }
}

/// A text that the expression matches, as far as that follows from the text alone: what must stand beside it is left out. `choose` gives numbers below
/// its argument.
pub(crate) fn sample(hir: &Hir, choose: &mut dyn FnMut(usize) -> usize) -> Vec<u8> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Vec::new(),
        HirKind::Literal(literal) => literal.0.to_vec(),
        HirKind::Class(class) => {
            let all = every(class);
            vec![all[choose(all.len())]]
        }
        HirKind::Capture(capture) => sample(&capture.sub, choose),
        HirKind::Alternation(any) => sample(&any[choose(any.len())], choose),
        HirKind::Concat(parts) => parts.iter().flat_map(|part| sample(part, choose)).collect(),
        HirKind::Repetition(repetition) => {
            let min = usize::try_from(repetition.min).unwrap();
            let most = repetition.max.map_or(min + 3, |most| usize::try_from(most).unwrap().min(min + 3));
            (0..min + choose(most - min + 1)).flat_map(|_| sample(&repetition.sub, choose)).collect()
        }
    }
}
