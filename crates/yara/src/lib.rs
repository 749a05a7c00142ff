//! YARA rules over the regions of a file that can hold code or text.
//!
//! A [`RuleSet`] is compiled from packs (files of rules): every error of every file is reported with its line and column, and the set has
//! an identity, the SHA-256 over its sources. It plugs into [`picket_artifact::ScanOptions::region_rules`].
//!
//! Constraints: one region is at most what the caller reads (16 MiB), takes at most [`Limits::time_max_s`] seconds, and gives at most
//! [`Limits::matches_max`] matches a pattern; what was stopped makes the scan partial. Nothing here panics, whatever the bytes. Loaded rules live as
//! long as the process: each thread keeps a scanner over them, which costs some hundred KiB and would cost more to make for every region.
//!
//! The built-in rules are loaded when the first region may match one of them ([`RuleSet::may_match`]); until then a set costs nothing.
//!
//! ```
//! use picket_artifact::{ScanOptions, scan};
//! use picket_yara::{Limits, Pack, RuleSet};
//! let pack = Pack::new("mine.yar", "rule mark { meta: severity = \"high\" strings: $a = \"the-mark\" condition: $a }");
//! let rules = RuleSet::compile(&[pack], Limits::default()).unwrap();
//! let options = ScanOptions { region_rules: Some(std::sync::Arc::new(rules)), ..ScanOptions::default() };
//! let text: &[u8] = b"here is the-mark";
//! let report = scan(&text, "notes.txt", &options);
//! assert_eq!(report.findings[0].rule_id, "YARA:mine.mark");
//! assert_eq!(report.findings[0].evidence.offset, Some(8));
//! ```

mod apply;
mod builtin;
mod compile;
mod meta;
mod needles;
mod pack;
mod prebuilt;
mod sieve;

pub use apply::Limits;
pub use builtin::built_in;
pub use compile::{RuleError, RuleErrors, RuleSet};
pub use needles::{IDENTITY, NEEDLES, NEEDLES_ANY_CASE, PAIRS, Pair};
pub use pack::{Pack, PackError, read_packs};
pub use prebuilt::{prebuild, prebuilt};
