//! Text that lies around models: by now only told from data and checked to be text to its end.

use crate::Format;
use crate::scan::{Claim, Place, Scan};
use picket_bounded::Source;

pub(crate) fn examine_text(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, format: Format) -> Claim {
    if !matches!(format, Format::Text) {
        scan.incomplete(place, &format!("the format {format} is recognised and not examined"));
    }
    Claim { format, end: source.len() }
}
