//! An event survives its way into a row and back.

mod strategies;

use picket_event::{StoredEvent, columns::COLUMNS, row::Row};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_row_holds_the_whole_event(stored in strategies::stored()) {
        let row = Row::from(&stored);
        prop_assert_eq!(StoredEvent::try_from(row).expect("a row that an event made"), stored);
    }

    #[test]
    fn rest_of_random_text_never_panics(text in "\\PC{0,200}") {
        let _ = picket_event::rest::decode(&text);
    }
}

/// The field list of `Row` is the column list: what is added to one is added to the other.
#[test]
fn fields_are_the_columns() {
    let source = include_str!("../src/row.rs");
    let body = source.split_once("pub struct Row<'a> {").and_then(|(_, after)| after.split_once("\n}")).expect("the struct").0;
    let fields: Vec<&str> = body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':')).map(|(name, _)| name).collect();
    let columns: Vec<&str> = COLUMNS.iter().map(|column| column.name).filter(|name| *name != "addresses").collect();
    assert_eq!(fields, columns);
}
