//! Every decoder under a cap. The first byte chooses the codec, the next six its parameters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_bounded::{Budget, Codec, Limits, MemorySource, Step, decode, decode_steps};

fuzz_target!(|bytes: &[u8]| {
    let Some(([which, size, properties @ ..], rest)) = bytes.split_first_chunk::<7>() else { return };
    let size = u64::from(*size) << 6;
    let limits = Limits { member_bytes: 1 << 20, held_bytes: 1 << 20, ..Limits::default() };
    if which % 13 == 11 {
        let decoded = four_streams(properties, rest, &mut Budget::new(limits, None));
        assert!(decoded.bytes.len() <= 1 << 20, "more than the cap");
        return;
    }
    let codec = match which % 13 {
        0 => Codec::Deflate,
        1 => Codec::Zlib,
        2 => Codec::Gzip,
        3 => Codec::Bzip2,
        4 => Codec::Xz,
        5 => Codec::LzmaAlone,
        6 => Codec::LzmaZip { size },
        7 => Codec::LzmaRaw { size, properties: *properties },
        8 => Codec::Lzma2 { dictionary: properties[0] },
        9 => Codec::Zstd,
        10 => Codec::Lz4,
        _ => Codec::Lzf,
    };
    let decoded = decode(codec, &rest, &mut Budget::new(limits, None));
    assert!(decoded.bytes.len() <= 1 << 20, "more than the cap");
});

/// The bytes cut in four, joined by BCJ2 to a program of a size that may be a lie.
fn four_streams(properties: &[u8; 5], rest: &[u8], budget: &mut Budget) -> picket_bounded::Decoded {
    let [calls, jumps, decisions, size @ ..] = *properties;
    let mut left = rest;
    let mut take = |share: u8| {
        let (piece, more) = left.split_at(left.len() * usize::from(share) / 512);
        left = more;
        MemorySource::new(piece)
    };
    let (calls, jumps, decisions) = (take(calls), take(jumps), take(decisions));
    let main = MemorySource::new(left);
    let size = u64::from(u16::from_le_bytes(size));
    let filtered = decisions.bytes().first().is_some_and(|byte| byte & 1 == 1);
    let mut steps = vec![Step::Stored(&main), Step::Stored(&calls), Step::Stored(&jumps), Step::Stored(&decisions), Step::Bcj2 { size }];
    if filtered {
        steps.push(Step::Filtered(picket_bounded::Filter::Delta(1)));
    }
    decode_steps(&steps, budget)
}
