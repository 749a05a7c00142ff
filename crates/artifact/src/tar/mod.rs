//! Tar archives: POSIX, GNU and PAX names, links, devices, duplicates; and the tar that PyTorch wrote before version 0.1.10.

mod layer;
mod parser;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::path;
use crate::pickle;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan, examine};
use parser::{Entry, Kind};
use picket_bounded::{Source, Window};
use std::collections::HashSet;

pub(crate) fn examine_tar(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let archive = match parser::parse(source, scan.options.limits.members) {
        Ok(archive) => archive,
        Err(error) => {
            scan.failed(place, &error);
            return Claim { format: Format::Tar, end: source.len() };
        }
    };
    if archive.cut {
        scan.incomplete(place, "the archive has more members than the limit");
    }
    if let Some((offset, fault)) = &archive.fault {
        scan.add(
            Finding::new(&rules::ARCHIVE_MALFORMED, &place.member, format!("The tar structure is broken: {fault}.")).at(place.base.saturating_add(*offset)),
        );
    }
    let names: HashSet<&str> = archive.entries.iter().map(|entry| entry.name.trim_start_matches("./")).collect();
    let torch = ["pickle", "storages", "tensors", "sys_info"].iter().all(|name| names.contains(name));
    let format = if torch { Format::PytorchTar } else { flavour(&names) };
    let place = &Place { in_layer: place.in_layer || format == Format::OciLayer, ..place.clone() };
    let mut seen = HashSet::new();
    let mut links = layer::Links::default();
    for entry in &archive.entries {
        header(scan, place, entry, &mut seen);
        through_link(scan, place, entry, &mut links);
        if entry.kind == Kind::File {
            body(scan, source, place, entry, torch);
        }
    }
    Claim { format, end: archive.end }
}

/// What the members' names make of it.
fn flavour(names: &HashSet<&str>) -> Format {
    if names.contains("manifest.json") && names.iter().any(|name| name.ends_with("/layer.tar") || name.starts_with("blobs/sha256/"))
        || names.contains("oci-layout")
    {
        return Format::OciImage;
    }
    if layer::is_layer(names) {
        return Format::OciLayer;
    }
    let checkpoint = names.iter().any(|name| name.ends_with(".ckpt") || name.starts_with("model_weights"));
    if names.contains("model_config.yaml") && checkpoint { Format::Nemo } else { Format::Tar }
}

/// A member below a link of the same archive is written where the link leads.
fn through_link(scan: &mut Scan<'_>, place: &Place, entry: &Entry, links: &mut layer::Links) {
    if let Some((link, target)) = links.above(&entry.name) {
        let explanation = format!("{} is written through the link {link} to {target}, outside the target folder.", entry.name);
        scan.add(Finding::new(&rules::LINK_OUTSIDE, &place.member, explanation).at(place.base.saturating_add(entry.at)).key(&entry.name));
    }
    if entry.kind == Kind::Symlink {
        links.remember(&entry.name, &entry.target);
    }
    if layer::is_whiteout_outside(&entry.name) {
        let explanation = format!("{} asks for a file outside the layer's own folder to be removed.", entry.name);
        scan.add(Finding::new(&rules::TRAVERSAL, &place.member, explanation).at(place.base.saturating_add(entry.at)).key(&entry.name));
    }
}

fn header(scan: &mut Scan<'_>, place: &Place, entry: &Entry, seen: &mut HashSet<String>) {
    let name = &entry.name;
    let found = |rule, explanation: String| Finding::new(rule, &place.member, explanation).at(place.base.saturating_add(entry.at)).key(name);
    if path::escapes(name) {
        scan.add(found(&rules::TRAVERSAL, format!("Unpacking would write {name}, which lies outside the target folder.")));
    }
    if entry.kind != Kind::Folder && !seen.insert(path::normal(name)) {
        scan.add(found(&rules::DUPLICATE_MEMBER, format!("{name} exists twice; the later one replaces what a scanner of the first has seen.")));
    }
    match entry.kind {
        Kind::Symlink | Kind::Link => {
            // A hard link's target is a path from the root of the archive, a symlink's from its own folder.
            let parent = if entry.kind == Kind::Symlink { name.rsplit_once('/').map_or("", |(parent, _)| parent) } else { "" };
            // The links of a system lead from its root, which is where a layer is unpacked to.
            if place.in_layer {
                return;
            }
            if entry.target.starts_with('/') || path::escapes(format!("{parent}/{}", entry.target).trim_start_matches('/')) {
                scan.add(found(&rules::LINK_OUTSIDE, format!("{name} is a link to {}, outside the target folder.", entry.target)));
            }
        }
        Kind::Special if place.in_layer => {}
        Kind::Special => scan.add(found(&rules::SPECIAL_MEMBER, format!("{name} is a device or a pipe, which no model needs."))),
        Kind::Sparse => scan.incomplete(place, &format!("{name} is a sparse member, which is not read")),
        Kind::File | Kind::Folder => {}
    }
}

fn body(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, entry: &Entry, torch: bool) {
    let inside = place.inside(&entry.name);
    let window = Window::new(source, entry.data, entry.size);
    if window.len() < entry.size {
        scan.incomplete(&inside, "the archive ends inside this member");
    }
    // Pickles and raw elements take turns here; only the old loader knows where.
    if torch && matches!(entry.name.trim_start_matches("./"), "storages" | "tensors") {
        let stream = pickle::examine_stream(scan, &window, &inside);
        if stream.end < window.len() {
            scan.incomplete(&inside, "pickles behind the first tensor of a legacy tar are not read");
        }
        return;
    }
    examine(scan, &window, &inside);
}
