//! The built-in rules as the build carries them: compiled, so that a process need not do it again.
//!
//! `built_in.rules.zst` is a product of `rules/yara` and of the engine's version, kept in the tree because a build script that made it would build
//! the engine twice. It is bound to its sources by their identity: after a change of a rule it is not used until it was written again. A test compiles
//! the sources and compares every byte, so that what it holds can be nothing else.

use crate::compile::{RuleError, RuleErrors, compiled, identity};
use crate::{Pack, built_in};
use picket_bounded::{Budget, Codec, Ending, Limits, decode};
use yara_x::Rules;
use yara_x::errors::SerializationError;

static COMPRESSED: &[u8] = include_bytes!("built_in.rules.zst");

/// The compiled built-in rules, preceded by the identity of their sources: what the build carries, before compression.
///
/// # Errors
/// Every error of every built-in pack.
pub fn prebuild() -> Result<Vec<u8>, RuleErrors> {
    let packs: Vec<Pack> = built_in();
    let mut errors = Vec::new();
    let rules = compiled(&packs, &mut errors);
    if !errors.is_empty() {
        return Err(RuleErrors(errors));
    }
    let mut bytes = identity(&packs).to_vec();
    let failed = |error: SerializationError| RuleErrors(vec![RuleError { origin: String::new(), line: 0, column: 0, message: error.to_string() }]);
    bytes.extend(rules.serialize().map_err(failed)?);
    Ok(bytes)
}

/// What the build carries, before compression; empty where it cannot be read.
#[must_use]
pub fn prebuilt() -> Vec<u8> {
    let decoded = decode(Codec::Zstd, &COMPRESSED, &mut Budget::new(Limits::default(), None));
    if matches!(decoded.ending, Ending::Complete) { decoded.bytes } else { Vec::new() }
}

/// The rules, where `wanted` is the identity of the sources that they were made of, and the engine is the one that made them.
pub(crate) fn load(wanted: &[u8; 32]) -> Option<Rules> {
    let bytes = prebuilt();
    let (identity, rules) = bytes.split_first_chunk::<32>()?;
    if identity != wanted {
        return None;
    }
    // Another version of the engine refuses them; then they are compiled.
    Rules::deserialize(rules).ok()
}
