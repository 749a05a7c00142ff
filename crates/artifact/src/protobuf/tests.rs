/// Writes messages a field at a time.
#[derive(Clone, Default)]
pub(crate) struct Pb(Vec<u8>);

impl Pb {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap());
    }
    pub(crate) fn int(mut self, field: u64, value: u64) -> Self {
        self.number(field << 3);
        self.number(value);
        self
    }
    pub(crate) fn run(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        self.number(field << 3 | 2);
        self.number(bytes.as_ref().len() as u64);
        self.0.extend(bytes.as_ref());
        self
    }
    pub(crate) fn fixed32(mut self, field: u64) -> Self {
        self.number(field << 3 | 5);
        self.0.extend([0; 4]);
        self
    }
}

impl AsRef<[u8]> for Pb {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[test]
fn sentence_pieces_are_no_graph() {
    let pieces =
        Pb::default().run(1, Pb::default().run(1, "<unk>").fixed32(2).int(3, 2)).run(1, Pb::default().run(1, "the").fixed32(2)).run(2, Pb::default().int(3, 1));
    let report = crate::scan(&pieces.as_ref(), "tokenizer.model", &crate::ScanOptions::default());
    assert_eq!((report.format, report.verdict), (crate::Format::SentencePiece, crate::Verdict::Clean), "{report:#?}");
}
