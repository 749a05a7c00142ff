//! Tables for people: plain columns, cut with … where they do not fit.

use comfy_table::{ContentArrangement, Row, Table, presets};

use super::{Output, clean};

/// Columns of the terminal on stdout, where there is one.
pub(super) fn terminal_width() -> Option<u16> {
    Table::new().width()
}

/// A table that is printed at once.
pub(crate) struct Grid {
    table: Table,
}

impl Grid {
    /// With these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut table = plain();
        table.set_header(headings.iter().copied());
        Self { table }
    }

    /// One more row; cells are made harmless here.
    pub(crate) fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        let mut row = Row::from(cells.into_iter().map(|cell| clean(&cell)).collect::<Vec<_>>());
        row.max_height(1);
        self.table.add_row(row);
    }

    /// Its text, fitted to the output.
    pub(crate) fn render(mut self, output: &Output) -> String {
        match output.width {
            Some(width) => {
                self.table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            }
            None => {
                self.table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        pad(&mut self.table, 2);
        self.table.to_string()
    }
}

/// Without lines; words may be cut anywhere, because a path is one word.
pub(super) fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).force_no_tty().set_truncation_indicator("…").set_delimiter('\u{1}');
    table
}

/// Spaces between columns, none before the first.
pub(super) fn pad(table: &mut Table, gap: u16) {
    for column in table.column_iter_mut() {
        column.set_padding((0, gap));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn output(width: Option<u16>) -> Output {
        Output { format: Format::Table, width, terminal: false }
    }

    fn grid() -> Grid {
        let mut grid = Grid::new(&["NAME", "PATH"]);
        grid.row(["trainer".to_owned(), "/srv/models/a-very-long-name/of/a/checkpoint-00001-of-00030.safetensors".to_owned()]);
        grid
    }

    #[test]
    fn a_table_fits_and_says_where_it_was_cut() {
        let text = grid().render(&output(Some(40)));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains('…') && text.contains("/srv/models/a-very"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn nothing_is_cut_without_a_width() {
        assert!(grid().render(&output(None)).contains("checkpoint-00001-of-00030.safetensors"));
    }

    #[test]
    fn control_characters_do_not_pass() {
        let mut grid = Grid::new(&["A"]);
        grid.row(["\u{1b}]0;owned\u{7}".to_owned()]);
        assert!(!grid.render(&output(None)).contains('\u{1b}'));
    }
}
