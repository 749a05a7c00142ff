//! Sources in, one set of rules out, or every error with its place.

use crate::meta::Meta;
use crate::sieve::Sieve;
use crate::{Limits, Pack, needles, prebuilt};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use yara_x::errors::CompileError;
use yara_x::{Compiler, Rules, SourceCode};

/// Errors kept of all packs; one mistake in a file can break every line after it.
const ERRORS_MAX: usize = 200;

/// What rules may ask about the region they are shown.
pub(crate) const GLOBALS: [&str; 4] = ["picket_format", "picket_member", "picket_name", "picket_offset"];

/// One error of one pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The pack's origin.
    pub origin: String,
    /// From 1; 0 where the compiler names no place.
    pub line: u64,
    /// From 1; 0 where the compiler names no place.
    pub column: u64,
    /// The compiler's own code and sentence.
    pub message: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}: {}", self.origin, self.line, self.column, self.message)
    }
}

/// All errors of all packs, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleErrors(pub Vec<RuleError>);

impl fmt::Display for RuleErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            write!(out, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RuleErrors {}

/// Rules of some packs. The built-in packs by themselves are not loaded before a region may match one of them.
pub struct RuleSet {
    pub(crate) limits: Limits,
    identity: [u8; 32],
    loaded: OnceLock<Result<Loaded, RuleErrors>>,
    /// What the built-in rules look for, made at the first region; nothing for other packs.
    sieve: OnceLock<Option<Sieve>>,
    built_in: bool,
}

/// Compiled rules with what their metadata says. They stay in memory until the process ends.
pub(crate) struct Loaded {
    pub(crate) rules: &'static Rules,
    pub(crate) metas: HashMap<(&'static str, &'static str), Meta>,
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RuleSet({})", self.identity())
    }
}

impl RuleSet {
    /// Makes one set of the packs, each in a namespace of its own.
    ///
    /// The built-in packs by themselves are loaded as the build carries them, compiled, and only when a region holds what one of their rules needs:
    /// most regions of honest artifacts do not. Any other choice of packs is compiled here, which takes a tenth of a second.
    ///
    /// # Errors
    /// Every error of every pack, in the order of the packs.
    pub fn compile(packs: &[Pack], limits: Limits) -> Result<Self, RuleErrors> {
        let identity = identity(packs);
        let built_in = identity == needles::IDENTITY;
        let set = Self { limits, identity, loaded: OnceLock::new(), sieve: OnceLock::new(), built_in };
        if !built_in {
            let loaded = load(packs, &identity)?;
            // The set is new: nobody has filled it meanwhile.
            let _ = set.loaded.set(Ok(loaded));
        }
        Ok(set)
    }

    /// The rules, loaded now where they are not yet.
    ///
    /// # Errors
    /// What is wrong with the built-in packs; those of any other set were told when it was made.
    pub(crate) fn loaded(&self) -> Result<&Loaded, &RuleErrors> {
        self.loaded.get_or_init(|| load(&crate::built_in(), &self.identity)).as_ref()
    }

    /// False where no rule of the set can match `bytes`, so that there is no need to apply them.
    #[must_use]
    pub fn may_match(&self, bytes: &[u8]) -> bool {
        let sieve = self.sieve.get_or_init(|| if self.built_in { Sieve::new(needles::NEEDLES, needles::NEEDLES_ANY_CASE, needles::PAIRS) } else { None });
        sieve.as_ref().is_none_or(|sieve| sieve.holds(bytes))
    }

    /// How many rules there are, private ones included. Loads them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.loaded().map_or(0, |loaded| loaded.metas.len())
    }

    /// True where no pack had a rule. Loads them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// SHA-256 over namespaces and sources, in hex: the same rules have the same identity everywhere.
    #[must_use]
    pub fn identity(&self) -> String {
        hex::encode(self.identity)
    }

    /// Ids and titles of all rules, for lists. Loads them.
    pub fn rules(&self) -> impl Iterator<Item = &'static picket_artifact::rules::Rule> {
        self.loaded().into_iter().flat_map(|loaded| loaded.metas.values().map(|meta| meta.rule))
    }
}

/// Loads what the build carries where it is these packs, and compiles them where not.
fn load(packs: &[Pack], identity: &[u8; 32]) -> Result<Loaded, RuleErrors> {
    let mut errors = Vec::new();
    let rules = prebuilt::load(identity).unwrap_or_else(|| compiled(packs, &mut errors));
    let rules: &'static Rules = Box::leak(Box::new(rules));
    let mut metas = HashMap::new();
    for rule in rules.iter() {
        match Meta::of(&rule) {
            Ok(meta) => {
                metas.insert((rule.namespace(), rule.identifier()), meta);
            }
            Err(why) => {
                let pack = packs.iter().find(|pack| pack.namespace == rule.namespace());
                let line = pack.map_or(0, |pack| line_of(&pack.text, rule.identifier()));
                let origin = pack.map(|pack| pack.origin.clone()).unwrap_or_default();
                errors.push(RuleError { origin, line, column: u64::from(line > 0), message: format!("rule {}: {why}", rule.identifier()) });
            }
        }
    }
    if errors.is_empty() { Ok(Loaded { rules, metas }) } else { Err(RuleErrors(errors)) }
}

/// Each pack with the namespace of its own: a second one of the same name gets a number.
fn namespaces(packs: &[Pack]) -> impl Iterator<Item = (String, &Pack)> {
    let mut seen: HashMap<&str, u32> = HashMap::new();
    packs.iter().map(move |pack| {
        let twin = seen.entry(pack.namespace.as_str()).or_default();
        *twin += 1;
        (if *twin == 1 { pack.namespace.clone() } else { format!("{}-{twin}", pack.namespace) }, pack)
    })
}

pub(crate) fn identity(packs: &[Pack]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (namespace, pack) in namespaces(packs) {
        hash.update((namespace.len() as u64).to_le_bytes());
        hash.update(namespace.as_bytes());
        hash.update((pack.text.len() as u64).to_le_bytes());
        hash.update(pack.text.as_bytes());
    }
    hash.finalize().into()
}

/// What compiles of the sources; what does not goes to `errors`.
pub(crate) fn compiled(packs: &[Pack], errors: &mut Vec<RuleError>) -> Rules {
    let mut compiler = Compiler::new();
    // A pack is text that was handed to us, never a way to open other files.
    compiler.enable_includes(false);
    compiler.relaxed_re_syntax(true);
    for global in GLOBALS {
        let defined = if global == "picket_offset" { compiler.define_global(global, 0_i64) } else { compiler.define_global(global, "") };
        // The names are fixed and distinct.
        debug_assert!(defined.is_ok());
    }
    for (namespace, pack) in namespaces(packs) {
        compiler.new_namespace(&namespace);
        let before = compiler.errors().len();
        let added = compiler.add_source(SourceCode::from(pack.text.as_str()).with_origin(pack.origin.as_str())).is_ok();
        if !added {
            errors.extend(compiler.errors().iter().skip(before).take(ERRORS_MAX - errors.len().min(ERRORS_MAX)).map(|error| place(&pack.origin, error)));
        }
    }
    compiler.build()
}

/// The compiler serialises its errors with their place, and offers it in no other form.
fn place(origin: &str, error: &CompileError) -> RuleError {
    let value = serde_json::to_value(error).unwrap_or_default();
    let number = |name: &str| value.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let code = value.get("code").and_then(serde_json::Value::as_str).unwrap_or("error");
    let title = value.get("title").and_then(serde_json::Value::as_str).map_or_else(|| error.to_string(), str::to_owned);
    let label = value.get("labels").and_then(|labels| labels.get(0)).and_then(|label| label.get("text")).and_then(serde_json::Value::as_str);
    let message = match label.filter(|label| *label != title && !label.is_empty()) {
        Some(label) => format!("{title}: {label} ({code})"),
        None => format!("{title} ({code})"),
    };
    RuleError { origin: origin.to_owned(), line: number("line"), column: number("column"), message }
}

fn line_of(text: &str, identifier: &str) -> u64 {
    let found = text
        .lines()
        .position(|line| line.split_whitespace().skip_while(|word| *word != "rule").nth(1).is_some_and(|word| word.trim_end_matches([':', '{']) == identifier));
    found.map_or(0, |line| line as u64 + 1)
}
