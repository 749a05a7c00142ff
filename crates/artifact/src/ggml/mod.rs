//! The formats of llama.cpp before GGUF: sizes against the file. They have no metadata, hence no templates.

mod limits;
mod parser;

use crate::Format;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use parser::Walked;
use picket_bounded::{BoundedError, Source};

pub(crate) fn examine_ggml(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    match parser::parse(source, &mut scan.budget) {
        Ok(Walked::Whole) => {}
        Ok(Walked::OtherLayout) => scan.incomplete(place, "models of this architecture have a layout that is not read"),
        Ok(Walked::Impossible(offset, explanation)) => {
            scan.add(Finding::new(&rules::STRUCTURE_OVERFLOW, &place.member, explanation).at(place.base.saturating_add(offset)));
        }
        Err(BoundedError::Truncated { offset, .. }) => {
            let explanation = "The model ends inside its own structure.";
            scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(place.base.saturating_add(offset)));
            scan.incomplete(place, "the model was not read to its end");
        }
        Err(error) => scan.failed(place, &error),
    }
    Claim { format: Format::Ggml, end: source.len() }
}
