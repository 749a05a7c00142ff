use crate::build::R;
use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};

fn scanned(bytes: &[u8]) -> Report {
    scan(&bytes, "m.rds", &ScanOptions::default())
}

/// Names of the calls that were found, with the rule that says so.
fn found(bytes: &[u8]) -> Vec<(String, String)> {
    let report = scanned(bytes);
    assert_eq!((report.format, report.completeness), (Format::RData, Completeness::Full), "{report:#?}");
    report.findings.iter().map(|finding| (finding.rule_id.to_owned(), finding.evidence.key.clone().unwrap_or_default())).collect()
}

fn code(name: &str) -> (String, String) {
    ("PICKET-R-002".to_owned(), name.to_owned())
}

/// The closure `function() BODY`, as compiled code with these instructions; `constants` writes them with their kinds.
fn closure(instructions: &[u32], count: u32, constants: impl FnOnce(R) -> R) -> Vec<u8> {
    let mut object = R::start().word(0x403).word(253).word(254).word(21).word(1).word(13).word(u32::try_from(instructions.len()).unwrap());
    for instruction in instructions {
        object = object.word(*instruction);
    }
    constants(object.word(count)).0
}

/// GETFUN 1, CALL 0, RETURN in version 12.
const FETCH: &[u32] = &[12, 23, 1, 38, 0, 1];

#[test]
fn a_function_that_only_the_instructions_fetch() {
    // The expression is NULL: what R shows of the closure is not what it runs.
    let object = closure(FETCH, 2, |object| object.word(254).word(254).word(1).symbol("system"));
    assert_eq!(found(&object), [code("system")]);
    // A variable of that name is no call.
    let object = closure(&[12, 20, 1, 1], 2, |object| object.word(254).word(254).word(1).symbol("url"));
    assert_eq!(found(&object), []);
    // Instructions of another version are not understood: every name counts.
    let object = closure(&[99, 20, 1, 1], 2, |object| object.word(254).word(254).word(1).symbol("url"));
    assert_eq!(found(&object), [code("url")]);
    let object = closure(&[12, 500, 1, 1], 2, |object| object.word(254).word(254).word(1).symbol("system"));
    assert_eq!(found(&object), [code("system")]);
}

/// A call among constants: a kind before each half, and always a tag.
fn lang(object: R, name: &str, argument: &str) -> R {
    object.word(6).word(254).word(1).symbol(name).word(2).word(254).word(16).text(argument).word(254).word(254)
}

#[test]
fn expressions_among_the_constants() {
    assert_eq!(found(&closure(&[12, 1], 1, |object| lang(object, "system", "id"))), [code("system")]);
    // With attributes, such as where it stood in its source.
    let object = closure(&[12, 1], 1, |object| {
        object.word(240).word(254).word(254).word(1).symbol("eval").word(239).word(2).text("x").word(254).word(254).word(16).text("1").word(254).word(254)
    });
    assert_eq!(found(&object), [code("eval")]);
    // Shared, and shown once where it is meant again.
    let object = closure(&[12, 1], 2, |object| {
        object.word(244).word(0).word(6).word(254).word(1).symbol("unlink").word(2).word(254).word(16).text("x").word(254).word(254).word(243).word(0)
    });
    assert_eq!(found(&object), [code("unlink")]);
    // Code inside the constants of code.
    let object = closure(&[12, 1], 1, |object| lang(object.word(21).word(13).word(2).word(12).word(1).word(1), "pipe", "id"));
    assert_eq!(found(&object), [code("pipe")]);
}

#[test]
fn a_function_named_with_its_package() {
    let scoped = |object: R| object.word(6).symbol("::").word(2).symbol("base").word(2).symbol("system").word(254);
    let object = scoped(R::start().word(6)).word(2).text("id").word(254).0;
    assert_eq!(found(&object), [code("system")]);
}

#[test]
fn a_promise_of_compiled_code() {
    // GETFUN alone says what it does; the value is not made yet.
    let object = R::start().word(0x405).word(253).word(252).word(21).word(0).word(13).word(6);
    let object = FETCH.iter().fold(object, |object, word| object.word(*word)).word(2).word(254).word(254).word(1).symbol("system").0;
    assert_eq!(scanned(&object).verdict, Verdict::Malicious);
    assert!(found(&object).contains(&("PICKET-R-001".to_owned(), "system".to_owned())), "{:?}", found(&object));
}

#[test]
fn a_flood_of_calls_hides_none() {
    let mut object = R::start().word(19).word(20_001);
    for _ in 0..20_000 {
        object = object.call("c", "x");
    }
    assert_eq!(found(&object.call("system", "id").0), [code("system")]);
}

#[test]
fn objects_that_stand_for_others() {
    // The base namespace is a marker; what a hook restores has a name.
    assert_eq!(found(&R::start().word(19).word(2).word(250).call("system", "id").0), [code("system")]);
    assert_eq!(found(&R::start().word(19).word(2).word(247).word(0).word(1).characters("x").call("system", "id").0), [code("system")]);
}

#[test]
fn depth_ends() {
    let mut object = R::start().word(21).word(0);
    for _ in 0..100_000 {
        object = object.word(13).word(1).word(12).word(1).word(21);
    }
    let report = scanned(&object.0);
    assert_eq!((report.verdict, report.completeness), (Verdict::Unscannable, Completeness::Partial), "{report:#?}");
    let mut object = closure(&[12, 1], 1, |object| object.word(6));
    for _ in 0..100_000 {
        object.extend([0, 0, 0, 254, 0, 0, 0, 6]);
    }
    assert_eq!(scanned(&object).completeness, Completeness::Partial);
}

/// Written by R (`tests/data/rdata/generate.R`).
fn golden(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/rdata/{name}.rds", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn closures_that_r_compiled() {
    for name in ["compiled_calls", "compiled_calls_2"] {
        assert_eq!(found(&golden(name)), [code("system"), code("eval")], "{name}");
    }
    assert_eq!(found(&golden("compiled_sourced")), [code("unlink")]);
    assert_eq!(found(&golden("text_calls")), [code("system"), code("eval")]);
    for name in ["compiled_harmless", "compiled_base", "text_values"] {
        let report = scanned(&golden(name));
        assert_eq!((report.verdict, report.completeness), (Verdict::Clean, Completeness::Full), "{name} {report:#?}");
    }
}

#[test]
fn any_cut_ends() {
    for name in ["compiled_calls", "compiled_harmless", "compiled_sourced", "text_calls", "text_values"] {
        let whole = golden(name);
        // Shorter beginnings are not told from other formats.
        for cut in 6..whole.len() - 1 {
            let report = scanned(&whole[..cut]);
            assert_ne!(report.verdict, Verdict::Clean, "{name} {cut} {report:#?}");
        }
    }
}

#[test]
fn text_is_read_as_r_reads_it() {
    // An escaped name, and a number that is not there.
    let object = b"A\n2\n262656\n131840\n19\n2\n13\n2\nNA\n-1\n6\n1\n9\n6\n\\163yst\\145m\n2\n16\n1\n9\n3\ni\\040d\n254\n";
    assert_eq!(found(object), [code("system")]);
    for broken in [&b"A\n2\n1\n1\nx\n"[..], b"A\n2\n1\n1\n9\n", b"A\n2\n1\n1\n9\n3\na\\", b"A\n2\n1\n1\n16\n-2\n"] {
        let report = scanned(broken);
        assert_eq!(report.completeness, Completeness::Partial, "{report:#?}");
    }
    let long = [b"A\n2\n1\n1\n13\n1\n".to_vec(), vec![b'7'; 200]].concat();
    assert_eq!(scanned(&long).completeness, Completeness::Partial);
}
