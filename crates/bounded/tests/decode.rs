//! Every codec gives back what its encoder took, stops at its cap, consumes no byte of what follows, and survives any bytes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test helper is a failed test")]

use picket_bounded::{Budget, Codec, Ending, Filter, Limits, Step, decode, decode_steps};
use proptest::prelude::*;
use std::io::Write;

/// What `LzmaOptions::with_preset(1)` writes: three literal context bits, two position bits, a dictionary of 1 MiB.
const PROPERTIES: [u8; 5] = [0x5d, 0, 0, 0x10, 0];

const CODECS: [Codec; 11] = [
    Codec::Deflate,
    Codec::Zlib,
    Codec::Gzip,
    Codec::Bzip2,
    Codec::Xz,
    Codec::LzmaAlone,
    Codec::LzmaZip { size: 4096 },
    Codec::LzmaRaw { size: 4096, properties: PROPERTIES },
    Codec::Lzma2 { dictionary: 16 },
    Codec::Zstd,
    Codec::Lz4,
];

fn encode(codec: Codec, data: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match codec {
        Codec::Deflate => finish(flate2::write::DeflateEncoder::new(Vec::new(), level), data, |encoder| encoder.finish().unwrap()),
        Codec::Zlib => finish(flate2::write::ZlibEncoder::new(Vec::new(), level), data, |encoder| encoder.finish().unwrap()),
        Codec::Gzip => finish(flate2::write::GzEncoder::new(Vec::new(), level), data, |encoder| encoder.finish().unwrap()),
        Codec::Bzip2 => finish(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast()), data, |encoder| encoder.finish().unwrap()),
        Codec::Xz => finish(lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap(), data, |encoder| encoder.finish().unwrap()),
        Codec::Lzma2 { .. } => {
            finish(lzma_rust2::Lzma2Writer::new(Vec::new(), lzma_rust2::Lzma2Options::with_preset(1)), data, |encoder| encoder.finish().unwrap())
        }
        Codec::LzmaAlone | Codec::LzmaZip { .. } | Codec::LzmaRaw { .. } => {
            let options = lzma_rust2::LzmaOptions::with_preset(1);
            let alone = finish(lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, Some(data.len() as u64)).unwrap(), data, |encoder| {
                encoder.finish().unwrap()
            });
            match codec {
                Codec::LzmaAlone => alone,
                Codec::LzmaZip { .. } => [&[9, 20, 5, 0][..], &alone[..5], &alone[13..]].concat(),
                _ => {
                    assert_eq!(alone[..5], PROPERTIES);
                    alone[13..].to_vec()
                }
            }
        }
        Codec::Zstd => zstd::encode_all(data, 1).unwrap(),
        Codec::Lzf => data.chunks(32).flat_map(|run| [&[u8::try_from(run.len() - 1).unwrap()], run].concat()).collect(),
        Codec::Lz4 => finish(lz4_flex::frame::FrameEncoder::with_frame_info(lz4_frame(), Vec::new()), data, |encoder| encoder.finish().unwrap()),
    }
}

fn lz4_frame() -> lz4_flex::frame::FrameInfo {
    lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB)
}

fn finish<W: Write>(mut writer: W, data: &[u8], end: impl FnOnce(W) -> Vec<u8>) -> Vec<u8> {
    writer.write_all(data).unwrap();
    end(writer)
}

fn budget(member_bytes: u64) -> Budget {
    Budget::new(Limits { member_bytes, ..Limits::default() }, None)
}

#[test]
fn round_trip_and_leaves_what_follows() {
    let data: Vec<u8> = (0..4096_u32).map(|n| u8::try_from(n * n % 251).unwrap()).collect();
    for codec in CODECS {
        let mut stream = encode(codec, &data);
        let length = stream.len() as u64;
        stream.extend_from_slice(b"what follows the stream is another matter");
        let decoded = decode(codec, &stream.as_slice(), &mut budget(1 << 20));
        assert_eq!(decoded.ending, Ending::Complete, "{codec:?}");
        assert_eq!(decoded.bytes, data, "{codec:?}");
        if !matches!(codec, Codec::LzmaAlone | Codec::LzmaZip { .. } | Codec::LzmaRaw { .. }) {
            assert_eq!(decoded.consumed, length, "{codec:?}");
        }
    }
}

#[test]
fn a_bomb_stops_at_the_cap() {
    let zeros = vec![0; 4096];
    for codec in CODECS {
        let stream = encode(codec, &zeros);
        let decoded = decode(codec, &stream.as_slice(), &mut budget(1000));
        assert_eq!((decoded.bytes.len(), decoded.ending), (1000, Ending::Capped), "{codec:?}");
        assert_eq!(decode(codec, &stream.as_slice(), &mut budget(4096)).ending, Ending::Complete, "{codec:?} ends exactly at the cap");
    }
}

#[test]
fn the_budget_is_shared_by_all_streams_of_a_file() {
    let stream = encode(Codec::Zstd, &[7; 4096]);
    let mut budget = Budget::new(Limits { inflated_bytes: 6000, ..Limits::default() }, None);
    assert_eq!(decode(Codec::Zstd, &stream.as_slice(), &mut budget).ending, Ending::Complete);
    assert_eq!(decode(Codec::Zstd, &stream.as_slice(), &mut budget).bytes.len(), 6000 - 4096);
}

#[test]
fn a_cut_stream_keeps_what_came_before() {
    let data: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for codec in [Codec::Deflate, Codec::Gzip, Codec::Zstd, Codec::Lz4] {
        let stream = encode(codec, &data);
        let decoded = decode(codec, &&stream[..stream.len() / 2], &mut budget(1 << 24));
        assert!(matches!(decoded.ending, Ending::Broken(_)), "{codec:?} {:?}", decoded.ending);
        assert!(!decoded.bytes.is_empty() && data.starts_with(&decoded.bytes), "{codec:?}");
    }
}

#[test]
fn what_is_held_at_once_is_bounded_and_given_back() {
    let stream = encode(Codec::Zstd, &[7; 4096]);
    let mut budget = Budget::new(Limits { held_bytes: 5000, ..Limits::default() }, None);
    assert_eq!(decode(Codec::Zstd, &stream.as_slice(), &mut budget).ending, Ending::Complete);
    assert_eq!(decode(Codec::Zstd, &stream.as_slice(), &mut budget).ending, Ending::Capped, "the first is still held");
    budget.release(5000);
    let whole = decode(Codec::Zstd, &stream.as_slice(), &mut budget);
    assert_eq!((whole.ending, whole.bytes.capacity() <= 5000), (Ending::Complete, true), "room is not doubled beyond the cap");
}

#[test]
fn lzf_ends_with_its_input() {
    // Three letters, a copy of seven that overlaps itself, one of 20 whose length has a byte of its own, and two letters.
    let stream: &[u8] = &[2, b'a', b'b', b'c', 0xa0, 2, 0xe0, 11, 2, 1, b'y', b'z'];
    let decoded = decode(Codec::Lzf, &stream, &mut budget(1 << 10));
    let expected = [b"abc".repeat(10).get(..30).unwrap(), b"yz"].concat();
    assert_eq!((decoded.bytes, decoded.ending, decoded.consumed), (expected, Ending::Complete, stream.len() as u64));
    assert_eq!(decode(Codec::Lzf, &stream, &mut budget(10)).ending, Ending::Capped);
    for (broken, before) in [(&[0x20, 0][..], 0), (&[2, b'a', b'b', b'c', 0x20, 3], 3), (&[4, b'a', b'b'], 2), (&[0, b'a', 0xe0], 1)] {
        let decoded = decode(Codec::Lzf, &broken, &mut budget(1 << 10));
        assert!(matches!(decoded.ending, Ending::Broken(_)) && decoded.bytes.len() == before, "{broken:?} {decoded:?}");
    }
    // A copy from the farthest place.
    let far = [[&[31][..], &[7; 32]].concat().repeat(256), vec![0x3f, 0xff]].concat();
    assert_eq!(decode(Codec::Lzf, &far.as_slice(), &mut budget(1 << 14)).bytes, vec![7; 8192 + 3]);
}

/// A program with calls and jumps, and what BCJ2 makes of it.
fn program() -> (Vec<u8>, [Vec<u8>; 4]) {
    let calls = (0..300_u32).flat_map(|number| {
        let code = if number % 3 == 0 { 0xe9 } else { 0xe8 };
        [vec![code], (0x40_u32.wrapping_sub(number * 6)).to_le_bytes().to_vec(), vec![0x90]].concat()
    });
    let program: Vec<u8> = calls.collect();
    let options = lzma_rust2::filter::bcj2::Bcj2Options { uncompressed_size: Some(program.len() as u64), ..Default::default() };
    let mut writer = lzma_rust2::filter::bcj2::Bcj2Writer::new(std::array::from_fn(|_| Vec::new()), &options).unwrap();
    writer.write_all(&program).unwrap();
    (program, writer.finish().unwrap())
}

#[test]
fn four_streams_are_one_program() {
    let (program, [main, call, jump, decisions]) = program();
    assert!(main.len() < program.len() && !call.is_empty() && !jump.is_empty());
    let packed = [&main, &call, &jump].map(|stream| encode(Codec::Zlib, stream));
    let [main, call, jump] = packed.each_ref().map(Vec::as_slice);
    let decisions = decisions.as_slice();
    let size = program.len() as u64;
    let steps =
        [Step::Packed(Codec::Zlib, &main), Step::Packed(Codec::Zlib, &call), Step::Packed(Codec::Zlib, &jump), Step::Stored(&decisions), Step::Bcj2 { size }];
    let decoded = decode_steps(&steps, &mut budget(1 << 20));
    assert_eq!((decoded.bytes, decoded.ending), (program, Ending::Complete));
    assert_eq!(decode_steps(&steps, &mut budget(1000)).ending, Ending::Capped);
    let longer = [&steps[..4], &[Step::Bcj2 { size: size + 1 }]].concat();
    assert!(matches!(decode_steps(&longer, &mut budget(1 << 20)).ending, Ending::Broken(_)));
}

#[test]
fn steps_without_what_they_read_are_refused() {
    let bytes: &[u8] = b"bytes";
    let stored = Step::Stored(&bytes);
    for steps in [&[][..], &[Step::Bcj2 { size: 1 }], &[stored, stored], &[stored, stored, stored, Step::Bcj2 { size: 1 }], &[Step::Filtered(Filter::X86)]] {
        let decoded = decode_steps(steps, &mut budget(1 << 10));
        assert!(matches!(decoded.ending, Ending::Broken(_)) && decoded.bytes.is_empty());
    }
    let decoded = decode_steps(&[stored, Step::Filtered(Filter::Delta(1))], &mut budget(1 << 10));
    assert_eq!((decoded.bytes.len(), decoded.ending), (5, Ending::Complete));
}

#[test]
fn dictionaries_of_several_streams_share_the_limit() {
    let (_, [main, call, jump, decisions]) = program();
    let (main, call, jump, decisions) = (main.as_slice(), call.as_slice(), jump.as_slice(), decisions.as_slice());
    let refused = |codec: Codec| {
        let steps = [Step::Packed(codec, &main), Step::Packed(codec, &call), Step::Packed(codec, &jump), Step::Stored(&decisions), Step::Bcj2 { size: 9 }];
        matches!(decode_steps(&steps, &mut budget(1 << 20)).ending, Ending::Broken(why) if why.contains("together"))
    };
    // Three times 32 MiB, and three times 64.
    assert!(!refused(Codec::Lzma2 { dictionary: 26 }) && refused(Codec::Lzma2 { dictionary: 28 }));
    let lzma = |dictionary: u32| {
        let [a, b, c, d] = dictionary.to_le_bytes();
        Codec::LzmaRaw { size: 9, properties: [0x5d, a, b, c, d] }
    };
    assert!(!refused(lzma(40 << 20)) && refused(lzma(44 << 20)));
}

proptest! {
    #[test]
    fn any_bytes_end(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), cut in 0_usize..64, which in 0..CODECS.len()) {
        let codec = CODECS[which];
        let decoded = decode(codec, &bytes.as_slice(), &mut budget(1 << 16));
        prop_assert!(decoded.bytes.len() <= 1 << 16);
        // A real header followed by noise reaches deeper than noise alone.
        let mut stream = encode(codec, &bytes);
        stream.truncate(cut);
        stream.append(&mut bytes);
        prop_assert!(decode(codec, &stream.as_slice(), &mut budget(1 << 16)).bytes.len() <= 1 << 16);
    }

    #[test]
    fn any_lzf_ends(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(decode(Codec::Lzf, &bytes.as_slice(), &mut budget(1 << 16)).bytes.len() <= 1 << 16);
    }

    #[test]
    fn any_four_streams_end(streams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 4), honest in any::<bool>(), damage in proptest::collection::vec((0_usize..4, 0_usize..2000, any::<u8>()), 0..6), size in 0_u64..4000) {
        let mut streams = if honest { program().1.to_vec() } else { streams };
        for (which, at, byte) in damage {
            if let Some(slot) = streams[which].get_mut(at) {
                *slot = byte;
            }
        }
        let slices: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
        let mut steps: Vec<Step<'_>> = slices.iter().map(|slice| Step::Stored(slice)).collect();
        steps.push(Step::Bcj2 { size });
        let decoded = decode_steps(&steps, &mut budget(1 << 16));
        prop_assert!(decoded.bytes.len() as u64 <= size);
    }
}
