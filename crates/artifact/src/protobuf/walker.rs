//! One message after another, for formats whose meaning lies in nested messages alone.

use super::{Content, Message};
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};
use picket_bounded::{BoundedError, Cursor, Source};

/// Walks one file; the formats add what their fields mean.
pub(crate) struct Walker<'w, 's, 'o> {
    pub(crate) scan: &'w mut Scan<'o>,
    pub(crate) source: &'s dyn Source,
    pub(crate) place: &'w Place,
    cursor: Cursor<'s>,
}

pub(crate) type Walked = Result<(), BoundedError>;

impl<'w, 's, 'o> Walker<'w, 's, 'o> {
    pub(crate) fn new(scan: &'w mut Scan<'o>, source: &'s dyn Source, place: &'w Place) -> Self {
        Self { cursor: Cursor::new(source), scan, source, place }
    }

    /// The whole file as one message.
    pub(crate) fn whole(&self) -> Message {
        Message::new(0, self.source.len())
    }

    /// Shows each field that has a length, by its number.
    pub(crate) fn each(&mut self, mut message: Message, look: &mut dyn FnMut(&mut Self, u64, Message) -> Walked) -> Walked {
        while let Some(field) = message.next_field(&mut self.cursor)? {
            self.scan.budget.spend_steps(1)?;
            if let Content::Run(inner) = field.content {
                look(self, field.number, inner)?;
            }
        }
        Ok(())
    }

    /// Says why the walk ended early, where it did. `what` is the thing as a sentence begins.
    pub(crate) fn end(self, outcome: Walked, what: &str) {
        let Err(error) = outcome else { return };
        if matches!(error, BoundedError::Malformed(_) | BoundedError::Truncated { .. }) {
            let explanation = format!("{what}'s structure is broken: {error}.");
            self.scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &self.place.member, explanation).at(self.place.base));
        }
        self.scan.failed(self.place, &error);
    }
}
