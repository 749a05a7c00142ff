//! One compressed stream, or several behind one another, and what is inside.

#[cfg(test)]
mod tests;

use crate::Format;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan, examine};
use picket_bounded::{Codec, Ending, MemorySource, Source, Window, decode};

/// Streams behind one another that are read as one file. Parallel compressors write one a block.
const STREAMS_MAX: u32 = 100_000;
/// A stream that unpacks beyond the cap from less than a hundredth of it is built to exhaust.
const BOMB_RATIO: u64 = 100;

pub(crate) fn examine_compressed(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, format: Format) -> Claim {
    let codec = match format {
        Format::Gzip => Codec::Gzip,
        Format::Bzip2 => Codec::Bzip2,
        Format::Xz => Codec::Xz,
        Format::Zstd => Codec::Zstd,
        Format::Lz4 => Codec::Lz4,
        Format::LzmaAlone => Codec::LzmaAlone,
        _ => Codec::Zlib,
    };
    let mut bytes = Vec::new();
    let mut end = 0;
    for _ in 0..STREAMS_MAX {
        let rest = Window::new(source, end, source.len() - end);
        let decoded = decode(codec, &rest, &mut scan.budget);
        // Behind a whole stream, bytes that are no stream are trailing data.
        if end > 0 && decoded.bytes.is_empty() && matches!(decoded.ending, Ending::Broken(_)) {
            break;
        }
        if bytes.is_empty() {
            bytes = decoded.bytes;
        } else {
            bytes.extend_from_slice(&decoded.bytes);
        }
        end = end.saturating_add(decoded.consumed).min(source.len());
        let more = decoded.ending == Ending::Complete && end < source.len() && decoded.consumed > 0 && bytes.len() as u64 <= scan.options.limits.member_bytes;
        report(scan, place, format, &decoded.ending, end, bytes.len() as u64);
        if !more {
            if decoded.ending != Ending::Complete {
                end = source.len();
            }
            break;
        }
    }
    if bytes.is_empty() && end >= source.len() && format == Format::Zlib {
        return Claim { format: Format::Unknown, end: source.len() };
    }
    let held = bytes.len() as u64;
    let inner = MemorySource::new(bytes);
    examine(scan, &inner, &place.inside(&inner_name(&place.name)));
    scan.budget.release(held);
    Claim { format, end }
}

fn report(scan: &mut Scan<'_>, place: &Place, format: Format, ending: &Ending, consumed: u64, length: u64) {
    match ending {
        Ending::Complete => {}
        Ending::Capped => {
            scan.incomplete(place, "unpacks to more than the limit");
            if consumed.saturating_mul(BOMB_RATIO) < length {
                scan.add(Finding::new(&rules::BOMB, &place.member, format!("{consumed} bytes unpack to more than {length}.")).at(place.base));
            }
        }
        Ending::Broken(why) => {
            scan.incomplete(place, &format!("cannot be unpacked whole: {why}"));
            if length > 0 {
                let explanation = format!("The {format} data is broken after {length} bytes: {why}.");
                scan.add(Finding::new(&rules::ARCHIVE_MALFORMED, &place.member, explanation).at(place.base));
            }
        }
        Ending::OutOfTime => scan.incomplete(place, "the time for this file is up"),
    }
}

/// `x.tar.gz` holds `x.tar`.
fn inner_name(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, "gz" | "bz2" | "xz" | "zst" | "lz4" | "lzma" | "z" | "zlib")) if !stem.is_empty() => stem.to_owned(),
        Some((stem, "tgz")) => format!("{stem}.tar"),
        _ => "content".to_owned(),
    }
}
