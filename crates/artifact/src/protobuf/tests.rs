use crate::build::Pb;

#[test]
fn sentence_pieces_are_no_graph() {
    let scored = |piece: &str| Pb([Pb::default().run(1, piece).0, vec![2 << 3 | 5, 0, 0, 0, 0]].concat());
    let pieces = Pb::default().run(1, scored("<unk>").int(3, 2)).run(1, scored("the")).run(2, Pb::default().int(3, 1));
    let report = crate::scan(&pieces.as_ref(), "tokenizer.model", &crate::ScanOptions::default());
    assert_eq!((report.format, report.verdict), (crate::Format::SentencePiece, crate::Verdict::Clean), "{report:#?}");
}
