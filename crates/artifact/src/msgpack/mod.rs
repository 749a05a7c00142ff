//! MessagePack as Flax and its like write parameters: maps of names to arrays. Extensions carry arrays; a pickle in one of the
//! values is what a careless loader would run.

mod limits;
mod parser;

use crate::Format;
use crate::pickle;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use limits::{NESTED_BYTES_MAX, NESTED_MAX, SHAPE_VALUES_MAX};
use parser::Event;
use picket_bounded::{BoundedError, Cursor, Source, Window, read_range};

/// Flax: an array, a complex number, a NumPy scalar. -1 is a time.
const EXTENSIONS: &[i8] = &[-1, 1, 2, 3];

pub(crate) fn is_msgpack(source: &dyn Source) -> bool {
    parser::is_map(source, SHAPE_VALUES_MAX)
}

pub(crate) fn examine_msgpack(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let mut cursor = Cursor::new(source);
    let (mut nested, mut unknown) = (Vec::new(), None);
    let budget = &mut scan.budget;
    let outcome = parser::walk(&mut cursor, &mut |event| {
        budget.spend_steps(1)?;
        match event {
            Event::Run(at, length)
                if (4..=NESTED_BYTES_MAX).contains(&length)
                    && nested.len() < NESTED_MAX
                    && read_range(source, at, 2, 2).is_ok_and(|head| matches!(head.as_slice(), [0x80, 2..=5])) =>
            {
                nested.push((at, length));
            }
            Event::Extension(number, at) if !EXTENSIONS.contains(&number) => unknown = unknown.or(Some((number, at))),
            _ => {}
        }
        Ok(())
    });
    for (at, length) in nested {
        let seen = pickle::probe(scan, &Window::new(source, at, length));
        if seen.complete && seen.exact && seen.imports > 0 {
            let explanation = "A value of this document is a pickle that imports; whoever unpickles it runs it.";
            scan.add(Finding::new(&rules::PICKLE_NESTED, &place.member, explanation).at(place.base.saturating_add(at)));
        }
    }
    if let Some((number, at)) = unknown {
        let explanation = format!("Values of the extension {number} are restored by code that is not part of any framework known here.");
        scan.add(Finding::new(&rules::OBJECT_UNKNOWN, &place.member, explanation).at(place.base.saturating_add(at)).key(format!("ext {number}")));
    }
    let end = cursor.position();
    match outcome {
        Ok(()) => Claim { format: Format::Msgpack, end },
        Err(error) => {
            match &error {
                BoundedError::Malformed(_) | BoundedError::Truncated { .. } => {
                    let explanation = format!("The document is broken: {error}.");
                    scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(place.base.saturating_add(end)));
                }
                _ => {}
            }
            scan.failed(place, &error);
            Claim { format: Format::Msgpack, end: source.len() }
        }
    }
}
