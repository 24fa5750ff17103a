//! Columns for people, without lines around them.

use unicode_width::UnicodeWidthStr;

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Lays out rows below their titles, two spaces between columns, without trailing spaces.
pub(crate) fn layout(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, (title, _))| {
            rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.width()).fold(title.width(), usize::max)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths).zip(columns);
        let padded = cells.map(|((cell, width), (_, align))| pad(cell, *width, *align));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut columns.iter().map(|(title, _)| *title))];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// Fills a cell up to a width in terminal columns; one that is wider stays as it is.
pub(crate) fn pad(cell: &str, width: usize, align: Align) -> String {
    let fill = " ".repeat(width.saturating_sub(cell.width()));
    match align {
        Align::Left => format!("{cell}{fill}"),
        Align::Right => format!("{fill}{cell}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let text = layout(
            &[("NAME", Align::Left), ("SIZE", Align::Right), ("AT", Align::Left)],
            &[vec!["notes".into(), "7 B".into(), "-".into()], vec!["日".into(), "1.50 KiB".into(), "/mnt/a".into()]],
        );
        assert_eq!(text, "NAME       SIZE  AT\nnotes       7 B  -\n日     1.50 KiB  /mnt/a");
    }
}
