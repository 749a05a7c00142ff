//! Models of gradient boosting libraries: XGBoost in Universal Binary JSON and in its old binary form, LightGBM text, CatBoost.
//! Trees are numbers; what can be wrong are sizes. Models that these libraries pickle are judged as pickles.

mod limits;
mod parser;

use crate::Format;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use limits::{DEPTH_MAX, HEAD_BYTES};
use parser::Walker;
use picket_bounded::{BoundedError, Cursor, Source, read_range};

/// XGBoost's own keys, which its writer gives a length of eight bytes.
pub(crate) fn is_ubjson(head: &[u8]) -> bool {
    let Some(rest) = head.strip_prefix(b"{L\0\0\0\0\0\0\0") else { return false };
    [&b"\x07learner"[..], b"\x07version", b"\x06Config", b"\x05Model"].iter().any(|key| rest.starts_with(key))
}

pub(crate) fn examine_xgboost(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let mut walker = Walker { cursor: Cursor::new(source), budget: &mut scan.budget };
    let outcome = walker.cursor.u8().and_then(|kind| walker.value(kind, DEPTH_MAX));
    let end = walker.cursor.position();
    match outcome {
        Ok(()) => Claim { format: Format::Xgboost, end },
        Err(error) => {
            broken(scan, place, end, &error);
            Claim { format: Format::Xgboost, end: source.len() }
        }
    }
}

/// `CBM1`, four bytes of size, a table of that size, then the trees' numbers.
pub(crate) fn examine_catboost(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let mut cursor = Cursor::with_buffer(source, 64);
    cursor.seek(4);
    let outcome = cursor.u32_le().and_then(|size| cursor.skip(size.into()));
    if let Err(error) = outcome {
        broken(scan, place, 4, &error);
    }
    Claim { format: Format::Catboost, end: source.len() }
}

fn broken(scan: &mut Scan<'_>, place: &Place, at: u64, error: &BoundedError) {
    if matches!(error, BoundedError::Malformed(_) | BoundedError::Truncated { .. }) {
        let explanation = format!("The model contradicts its own structure: {error}.");
        scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(place.base.saturating_add(at)));
    }
    scan.failed(place, error);
}

/// The first lines of a LightGBM model.
pub(crate) fn is_lightgbm(source: &dyn Source) -> bool {
    read_range(source, 0, source.len().min(HEAD_BYTES), HEAD_BYTES)
        .is_ok_and(|head| head.starts_with(b"tree\nversion=") || head.starts_with(b"tree\r\nversion="))
}
