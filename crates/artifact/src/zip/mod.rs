//! Zip archives and everything that is one: PyTorch, TorchScript, `.mar`, npz, Keras v3, skops, wheels.
//!
//! Members come from the directory *and* from the headers before the data, because readers of the world use either; a body is
//! read whatever the flags say, as the most forgiving reader would.

pub(crate) mod limits;
mod parser;
mod tensors;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::path;
use crate::pickle;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan, Storages, examine};
use limits::BOMB_RATIO;
pub(crate) use parser::find_end;
use parser::{Archive, Entry};
use picket_bounded::{Codec, Ending, MemorySource, Source, Window, crc32, decode, read_range};
use std::collections::{HashMap, HashSet};
pub(crate) use tensors::tensors;

/// A symlink's target is a path.
const LINK_BYTES_MAX: u64 = 4096;
/// Unix file type bits.
const TYPE_MASK: u32 = 0o170_000;
const SYMLINK: u32 = 0o120_000;

pub(crate) fn examine_zip(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let members_max = scan.options.limits.members;
    let archive = match parser::parse(source, members_max) {
        Ok(archive) => archive,
        Err(error) => {
            scan.failed(place, &error);
            return Claim { format: Format::Zip, end: source.len() };
        }
    };
    if archive.cut {
        scan.incomplete(place, "the archive has more members than the limit");
    }
    if archive.prefix > 0 && archive.prefix < source.len() {
        prefix(scan, source, place, archive.prefix);
    }
    let format = flavour(&archive);
    structure(scan, source, place, &archive);
    bodies(scan, source, place, &archive, format);
    let end = if archive.entries.is_empty() && archive.without_directory { source.len() } else { archive.end };
    if archive.entries.is_empty() && archive.without_directory {
        scan.incomplete(place, "the archive has no readable member");
    }
    Claim { format, end }
}

/// What stands before the archive: a loader that starts at the front sees that instead.
fn prefix(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, length: u64) {
    let window = Window::new(source, 0, length);
    let explanation =
        format!("{length} bytes stand before the archive; a reader that starts at the front sees other content than one that starts at the directory.");
    scan.add(Finding::new(&rules::LEADING_DATA, &place.member, explanation).at(place.base));
    let inner = Place { depth: place.depth + 1, ..place.clone() };
    examine(scan, &window, &inner);
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// What the members' names make of it.
fn flavour(archive: &Archive) -> Format {
    let any = |test: &dyn Fn(&[u8]) -> bool| archive.entries.iter().any(|entry| test(&entry.header.name));
    let is = |wanted: &str| any(&|name| name == wanted.as_bytes());
    let holds = |name: &[u8], part: &[u8]| name.windows(part.len()).any(|window| window == part);
    // Below the one folder that writers put everything into.
    let in_root = |name: &[u8]| name.splitn(2, |byte| *byte == b'/').last() == Some(b"data.pkl".as_slice());
    if any(&in_root) {
        return if any(&|name| holds(name, b"/code/") || name.starts_with(b"code/")) { Format::TorchScript } else { Format::PytorchZip };
    }
    if is("MAR-INF/MANIFEST.json") {
        return Format::TorchMar;
    }
    if is("config.json") && (is("metadata.json") || any(&|name| name.ends_with(b".weights.h5"))) {
        return Format::KerasV3;
    }
    if is("schema.json") {
        return Format::Skops;
    }
    if any(&|name| name.ends_with(b".dist-info/WHEEL")) {
        return Format::Wheel;
    }
    if !archive.entries.is_empty() && !any(&|name| !name.ends_with(b".npy")) {
        return Format::Npz;
    }
    Format::Zip
}

/// Findings about headers.
fn structure(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, archive: &Archive) {
    let at = |offset: u64| place.base.saturating_add(offset);
    for (offset, fault) in &archive.faults {
        scan.add(Finding::new(&rules::ARCHIVE_MALFORMED, &place.member, format!("The zip structure is broken: {fault}.")).at(at(*offset)));
    }
    if archive.without_directory {
        scan.add(
            Finding::new(
                &rules::ARCHIVE_MALFORMED,
                &place.member,
                "The zip has no directory where readers look for it; members were found by their own headers.",
            )
            .at(place.base),
        );
    }
    for (start, length) in &archive.gaps {
        let window = Window::new(source, *start, *length);
        if read_range(&window, 0, (*length).min(1 << 20), 1 << 20).is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0)) {
            continue;
        }
        let explanation = format!("{length} bytes between the members belong to none of them.");
        scan.add(Finding::new(&rules::TRAILING_DATA, &place.member, explanation).at(at(*start)));
        examine(scan, &window, &place.behind(*start));
    }
    let mut seen: HashMap<String, u64> = HashMap::with_capacity(archive.entries.len());
    for entry in &archive.entries {
        names(scan, place, entry, &mut seen, at(entry.start));
        disagreements(scan, place, entry, archive.without_directory, at(entry.start));
    }
    overlaps(scan, place, archive);
}

fn names(scan: &mut Scan<'_>, place: &Place, entry: &Entry, seen: &mut HashMap<String, u64>, at: u64) {
    let name = text(&entry.header.name);
    if path::escapes(&name) {
        scan.add(
            Finding::new(&rules::TRAVERSAL, &place.member, format!("Unpacking would write {name}, which lies outside the target folder.")).at(at).key(&name),
        );
    }
    if let Some(first) = seen.insert(path::normal(&name), entry.start)
        && first != entry.start
    {
        let explanation = format!("{name} exists twice; which one is loaded depends on the reader.");
        scan.add(Finding::new(&rules::DUPLICATE_MEMBER, &place.member, explanation).at(at).key(&name));
    }
}

fn disagreements(scan: &mut Scan<'_>, place: &Place, entry: &Entry, without_directory: bool, at: u64) {
    let header = &entry.header;
    let name = text(&header.name);
    let found = |rule, explanation: String| Finding::new(rule, &place.member, explanation).at(at).key(&name);
    if entry.hidden && !without_directory {
        scan.add(found(&rules::HIDDEN_MEMBER, format!("{name} stands in the archive but not in its directory; only readers that go from the front see it.")));
    }
    if header.encrypted() || entry.local.as_ref().is_some_and(parser::Header::encrypted) {
        scan.add(found(&rules::ENCRYPTED, format!("{name} is marked as encrypted, which model loaders ignore and scanners stumble over.")));
    }
    let Some(local) = &entry.local else {
        scan.add(found(&rules::HEADERS_DISAGREE, format!("The directory lists {name}, but no member stands where it points.")));
        return;
    };
    if local.name != header.name {
        let explanation = format!("The directory calls a member {name}, its own header {}; readers disagree about which file it is.", text(&local.name));
        scan.add(found(&rules::HEADERS_DISAGREE, explanation));
    }
    if header.name.contains(&0) {
        scan.add(found(&rules::HEADERS_DISAGREE, format!("The name {name} holds a zero byte, at which some readers cut it.")));
    }
    if local.method != header.method {
        scan.add(found(
            &rules::HEADERS_DISAGREE,
            format!("The directory says {name} is packed by method {}, its own header by {}.", header.method, local.method),
        ));
    }
    if !local.streamed() && (local.size != header.size || local.compressed != header.compressed) {
        scan.add(found(&rules::HEADERS_DISAGREE, format!("The directory says {name} has {} bytes, its own header {}.", header.size, local.size)));
    }
    if !local.streamed() && local.crc != header.crc {
        scan.add(found(&rules::HEADERS_DISAGREE, format!("The directory and the header of {name} have different checksums.")));
    }
}

fn overlaps(scan: &mut Scan<'_>, place: &Place, archive: &Archive) {
    let mut ranges: Vec<(u64, u64, &Entry)> =
        archive.entries.iter().map(|entry| (entry.start, entry.data.saturating_add(entry.header.compressed), entry)).collect();
    ranges.sort_by_key(|(start, end, _)| (*start, *end));
    let mut covered: Option<(u64, &Entry)> = None;
    for (start, end, entry) in ranges {
        if let Some((_, other)) = covered.filter(|(covered, _)| *covered > start) {
            let explanation = format!("{} and {} share bytes of the archive.", text(&other.header.name), text(&entry.header.name));
            scan.add(Finding::new(&rules::OVERLAP, &place.member, explanation).at(place.base.saturating_add(start)).key(text(&entry.header.name)));
        }
        if covered.is_none_or(|(covered, _)| end > covered) {
            covered = Some((end, entry));
        }
    }
}

/// Examines what the members hold, the pickles first: they say which members are tensors.
fn bodies(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, archive: &Archive, format: Format) {
    let torch = matches!(format, Format::PytorchZip | Format::TorchScript);
    let mut storages: HashSet<String> = HashSet::new();
    let mut order: Vec<&Entry> = archive.entries.iter().collect();
    order.sort_by_key(|entry| !entry.header.name.ends_with(b".pkl"));
    let mut seen: HashSet<(u64, &[u8])> = HashSet::with_capacity(archive.entries.len());
    for entry in order {
        let name = text(&entry.header.name);
        if name.ends_with('/') && entry.header.size == 0 || !seen.insert((entry.start, &entry.header.name)) {
            continue;
        }
        // Elements of a tensor, because the pickle says so: packed or not, no loader reads them as anything else.
        if torch && storages.contains(&name) {
            continue;
        }
        let mut inside = place.inside(&name);
        if entry.hidden && !archive.without_directory {
            inside.member.push_str(" (hidden)");
        }
        if entry.mode & TYPE_MASK == SYMLINK {
            link(scan, source, place, entry, &name);
        }
        if torch && name.ends_with(".pkl") {
            let found = with_body(scan, source, &inside, entry, |scan, body| torch_pickle(scan, body, &inside, &name));
            storages.extend(found.into_iter().flatten());
            continue;
        }
        with_body(scan, source, &inside, entry, |scan, body| {
            examine(scan, body, &inside);
        });
    }
}

/// Judges the pickle of a PyTorch archive and returns the members that it uses as tensors.
fn torch_pickle(scan: &mut Scan<'_>, body: &dyn Source, inside: &Place, name: &str) -> Vec<String> {
    let root = name.strip_suffix("data.pkl").or_else(|| name.strip_suffix("constants.pkl")).unwrap_or_default().to_owned();
    let folder = if name.ends_with("constants.pkl") { "constants" } else { "data" };
    let outer = scan.storages.replace(Storages { member: inside.member.clone(), keys: None });
    examine(scan, body, inside);
    let judged = std::mem::replace(&mut scan.storages, outer).and_then(|storages| storages.keys);
    // What is not recognised as a pickle is none to the loader either, unless it says so by protocol 0.
    let keys = judged.unwrap_or_else(|| pickle::storage_keys(scan, body));
    keys.into_iter().map(|key| format!("{root}{folder}/{key}")).collect()
}

fn link(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, entry: &Entry, name: &str) {
    let target = read_range(source, entry.data, entry.header.compressed.min(LINK_BYTES_MAX), LINK_BYTES_MAX).map(|bytes| text(&bytes)).unwrap_or_default();
    let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
    if path::escapes(&target) && path::escapes(&format!("{parent}/{target}")) || target.starts_with('/') {
        let explanation = format!("{name} is a link to {target}, outside the target folder.");
        scan.add(Finding::new(&rules::LINK_OUTSIDE, &place.member, explanation).at(place.base.saturating_add(entry.start)).key(name));
    }
}

/// Unpacks a member and hands its bytes over; large stored members stay where they are.
fn with_body<T>(scan: &mut Scan<'_>, source: &dyn Source, inside: &Place, entry: &Entry, work: impl FnOnce(&mut Scan<'_>, &dyn Source) -> T) -> Option<T> {
    let header = &entry.header;
    let packed = Window::new(source, entry.data, header.compressed);
    let codec = match header.method {
        0 => {
            if packed.len() < header.compressed {
                scan.incomplete(inside, "the archive ends inside this member");
            }
            let held = held(&packed);
            if held.as_ref().is_some_and(|bytes| crc32(bytes) != header.crc) {
                bad_crc(scan, inside, entry);
            }
            return Some(match held {
                Some(bytes) => work(scan, &MemorySource::new(bytes)),
                None => work(scan, &packed),
            });
        }
        8 => Codec::Deflate,
        12 => Codec::Bzip2,
        14 => Codec::LzmaZip { size: header.size },
        93 => Codec::Zstd,
        95 => Codec::Xz,
        method => {
            scan.incomplete(inside, &format!("packed by method {method}, which is not read"));
            return None;
        }
    };
    let decoded = decode(codec, &packed, &mut scan.budget);
    let length = decoded.bytes.len() as u64;
    match &decoded.ending {
        Ending::Complete => {
            if crc32(&decoded.bytes) != header.crc {
                bad_crc(scan, inside, entry);
            }
        }
        Ending::Capped => {
            scan.incomplete(inside, "unpacks to more than the limit");
            if header.compressed.saturating_mul(BOMB_RATIO) < length {
                let explanation = format!("{} bytes unpack to more than {length}.", header.compressed);
                scan.add(Finding::new(&rules::BOMB, &inside.member, explanation).at(entry.data));
            }
        }
        Ending::Broken(why) => {
            scan.incomplete(inside, &format!("cannot be unpacked whole: {why}"));
            scan.add(Finding::new(&rules::ARCHIVE_MALFORMED, &inside.member, format!("The packed data is broken after {length} bytes: {why}.")).at(entry.data));
        }
        Ending::OutOfTime => scan.incomplete(inside, "the time for this file is up"),
    }
    let body = MemorySource::new(decoded.bytes);
    let result = work(scan, &body);
    scan.budget.release(length);
    Some(result)
}

/// Small stored members are read once, for their checksum and for all that looks at them; tensors are not read for either.
const STORED_BYTES_MAX: u64 = 4 << 20;

fn held(packed: &Window<'_>) -> Option<Vec<u8>> {
    if packed.len() > STORED_BYTES_MAX {
        return None;
    }
    // What cannot be read says so where it is looked at.
    read_range(packed, 0, packed.len(), STORED_BYTES_MAX).ok()
}

fn bad_crc(scan: &mut Scan<'_>, inside: &Place, entry: &Entry) {
    if entry.hidden && entry.header.streamed() {
        return;
    }
    if entry.header.encrypted() {
        scan.incomplete(inside, "the member is encrypted");
        return;
    }
    scan.add(
        Finding::new(&rules::BAD_CRC, &inside.member, "The member's checksum is wrong: strict readers refuse it, model loaders do not look.").at(entry.start),
    );
}
