//! Every decoder under a cap. The first byte chooses the codec, the next six its parameters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_bounded::{Budget, Codec, Limits, decode};

fuzz_target!(|bytes: &[u8]| {
    let Some(([which, size, properties @ ..], rest)) = bytes.split_first_chunk::<7>() else { return };
    let size = u64::from(*size) << 6;
    let codec = match which % 11 {
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
        _ => Codec::Lz4,
    };
    let limits = Limits { member_bytes: 1 << 20, held_bytes: 1 << 20, ..Limits::default() };
    let decoded = decode(codec, &rest, &mut Budget::new(limits, None));
    assert!(decoded.bytes.len() <= 1 << 20, "more than the cap");
});
