//! Tables of one line a row, fitted to the terminal: columns of less interest go first, then texts are shortened. Ids are
//! never cut, because they are there to be copied.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Row, Table};
use unicode_width::UnicodeWidthStr;

use crate::text::{Style, Tone, shorten};

/// Spaces between columns.
const GAP: usize = 2;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    rank: u8,
    least: Option<usize>,
    right: bool,
}

impl Column {
    /// A column that is always shown, whole.
    pub(crate) const fn new(title: &'static str) -> Self {
        Self { title, rank: 0, least: None, right: false }
    }

    /// May be left out; the highest `rank` goes first.
    pub(crate) const fn optional(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    /// May be shortened to `least` columns of the terminal.
    pub(crate) const fn shrinks(self, least: usize) -> Self {
        Self { least: Some(least), ..self }
    }

    /// Numbers stand below each other.
    pub(crate) const fn right(self) -> Self {
        Self { right: true, ..self }
    }
}

/// The content of a cell. The text is clean (see [`crate::text::clean`]).
#[derive(Clone, Debug, Default)]
pub(crate) struct Field {
    text: String,
    tone: Option<Tone>,
}

impl Field {
    /// A text with an emphasis.
    pub(crate) fn toned(text: String, tone: Tone) -> Self {
        Self { text, tone: Some(tone) }
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Self { text, tone: None }
    }
}

impl From<Option<String>> for Field {
    fn from(text: Option<String>) -> Self {
        text.unwrap_or_default().into()
    }
}

/// The table, every line with its end; the rows have as many fields as there are `columns`. Columns that are empty in all
/// rows are left out.
pub(crate) fn render(columns: &[Column], rows: &[Vec<Field>], style: &Style) -> String {
    let shown = fit(columns, rows, style.width);
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    if style.colors {
        table.enforce_styling();
    }
    table.set_header(shown.iter().map(|&(index, width)| {
        let title = Cell::new(shorten(columns[index].title, width));
        if style.colors { title.add_attribute(Attribute::Bold) } else { title }
    }));
    for row in rows {
        let cells = shown.iter().map(|&(index, width)| {
            let cell = Cell::new(shorten(&row[index].text, width));
            match row[index].tone {
                Some(tone) if style.colors => toned(cell, tone),
                _ => cell,
            }
        });
        table.add_row(Row::from(cells.collect::<Vec<_>>()));
    }
    for (position, &(index, _)) in shown.iter().enumerate() {
        let last = position + 1 == shown.len();
        if let Some(column) = table.column_mut(position) {
            column.set_padding((0, if last { 0 } else { GAP as u16 }));
            if columns[index].right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn toned(cell: Cell, tone: Tone) -> Cell {
    match tone {
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Calm => cell.fg(Color::DarkCyan),
        Tone::Warning => cell.fg(Color::DarkYellow),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
        Tone::Strong => cell.add_attribute(Attribute::Bold),
    }
}

/// The columns to show, each with its width.
fn fit(columns: &[Column], rows: &[Vec<Field>], width: Option<usize>) -> Vec<(usize, usize)> {
    let mut shown: Vec<(usize, usize)> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let content = rows.iter().map(|row| row[index].text.width()).max().unwrap_or(0);
        if content > 0 || rows.is_empty() || column.rank == 0 {
            shown.push((index, content.max(column.title.width())));
        }
    }
    let Some(width) = width else { return shown };
    let least = |&(index, wide): &(usize, usize)| columns[index].least.map_or(wide, |least| least.min(wide));
    let gaps = |shown: &[(usize, usize)]| GAP * shown.len().saturating_sub(1);
    while shown.iter().map(least).sum::<usize>() + gaps(&shown) > width {
        let last = shown.iter().enumerate().filter(|(_, (index, _))| columns[*index].rank > 0);
        let Some((position, _)) = last.max_by_key(|(_, (index, _))| columns[*index].rank) else { break };
        shown.remove(position);
    }
    // What is too much is taken from the widest that can give.
    loop {
        let total = shown.iter().map(|(_, wide)| wide).sum::<usize>() + gaps(&shown);
        if total <= width {
            return shown;
        }
        let giving = shown.iter_mut().filter(|column| least(column) < column.1);
        let Some(widest) = giving.max_by_key(|(_, wide)| *wide) else { return shown };
        widest.1 -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const COLUMNS: &[Column] = &[
        Column::new("ID"),
        Column::new("N").right(),
        Column::new("TARGET").shrinks(6),
        Column::new("AGE").optional(1),
        Column::new("DETAIL").optional(2).shrinks(8),
        Column::new("NONE").optional(3),
    ];

    fn rows() -> Vec<Vec<Field>> {
        let row = |cells: [&str; 6]| cells.into_iter().map(|cell| Field::from(cell.to_owned())).collect();
        vec![
            row(["inv_1a", "1", "Account/alice", "3m", "something went wrong", ""]),
            row(["inv_1bcd", "20", "B", "4m", "", ""]),
        ]
    }

    fn at(width: Option<usize>) -> String {
        render(COLUMNS, &rows(), &Style { width, colors: false, absolute: false, now: SystemTime::UNIX_EPOCH })
    }

    #[test]
    fn whole_without_a_terminal() {
        assert_eq!(
            at(None),
            "ID         N  TARGET         AGE  DETAIL\n\
             inv_1a     1  Account/alice  3m   something went wrong\n\
             inv_1bcd  20  B              4m\n"
        );
    }

    #[test]
    fn texts_are_shortened_then_columns_go() {
        assert_eq!(
            at(Some(44)),
            "ID         N  TARGET        AGE  DETAIL\n\
             inv_1a     1  Account/ali…  3m   something …\n\
             inv_1bcd  20  B             4m\n"
        );
        assert_eq!(
            at(Some(30)),
            "ID         N  TARGET       AGE\n\
             inv_1a     1  Account/al…  3m\n\
             inv_1bcd  20  B            4m\n"
        );
        assert_eq!(at(Some(5)).lines().nth(1).unwrap(), "inv_1a     1  Accou…");
    }

    #[test]
    fn colours_only_when_asked_for() {
        let style = Style { width: None, colors: true, absolute: false, now: SystemTime::UNIX_EPOCH };
        let rows = vec![vec![Field::toned("paused".into(), Tone::Bad)]];
        assert!(render(&[Column::new("S")], &rows, &style).contains("\u{1b}["));
        let plain = Style { colors: false, ..style };
        assert_eq!(render(&[Column::new("S")], &rows, &plain), "S\npaused\n");
    }
}
