//! `ize history`.

use ize_core::model::OpId;
use ize_core::project::{Clock, HistoryQuery, HistoryRow, Reader};

use super::open;
use crate::arguments::History;
use crate::context::Context;
use crate::failure::Result;
use crate::output::json::{self, HistoryLine};
use crate::output::table::{Align, pad};
use crate::output::{Answer, Pager, human, note};

/// Widths of the columns before the path: a change id and a time always fit, longer words push the rest aside.
const CHANGE_WIDTH: usize = 12;
const TIME_WIDTH: usize = 19;
const KIND_WIDTH: usize = 8;
const SIZE_WIDTH: usize = 10;

pub(super) fn run(context: &Context, arguments: &History) -> Result<()> {
    let target = context.find(&arguments.name)?;
    let path = target.path_or_root(&context.environment, arguments.path.as_deref())?;
    let opened = open::reading(context, &target)?;
    let reader = opened.reader();
    let mut query = HistoryQuery::new(path);
    query.ops = arguments.ops;
    query.limit = arguments.limit;
    query.since = since(reader, arguments.since.as_deref())?;
    query.until = arguments.until.as_deref().map(|text| open::resolve(reader, text)).transpose()?;
    let rows = reader.history(query)?;
    let (pager, mut answer) = Pager::start(&context.environment, !arguments.json && !arguments.no_pager);
    let shown = show(&mut answer, rows, arguments, reader.clock());
    drop(answer);
    pager.wait();
    if shown? == 0 && !arguments.json {
        note("nothing happened there in that time");
    }
    Ok(())
}

fn since(reader: &Reader, text: Option<&str>) -> Result<Option<OpId>> {
    text.map(|text| open::resolve(reader, text).map(|view| view.at)).transpose()
}

/// Prints rows as they are found, and answers how many there were.
fn show<W: std::io::Write>(
    answer: &mut Answer<W>,
    rows: impl Iterator<Item = ize_core::project::Result<HistoryRow>>,
    arguments: &History,
    clock: &Clock,
) -> Result<u64> {
    let mut shown = 0;
    for row in rows {
        let row = row?;
        if shown == 0 && !arguments.json {
            answer.line(titles(arguments.ops))?;
        }
        let line = match (arguments.json, arguments.ops) {
            (true, _) => json::line(&HistoryLine::from(&row)),
            (false, true) => op_line(&row, clock),
            (false, false) => save_line(&row, clock),
        };
        shown += 1;
        if !answer.line(line)? {
            break;
        }
    }
    answer.flush()?;
    Ok(shown)
}

fn titles(ops: bool) -> String {
    let when = format!("{}  {}", pad("CHANGE", CHANGE_WIDTH, Align::Left), pad("TIME", TIME_WIDTH, Align::Left));
    if ops {
        return format!("{when}  {}  WHAT", pad("OP", SIZE_WIDTH, Align::Right));
    }
    let what = pad("WHAT", KIND_WIDTH, Align::Left);
    format!("{when}  {what}  {}  PATH", pad("SIZE", SIZE_WIDTH, Align::Right))
}

fn save_line(row: &HistoryRow, clock: &Clock) -> String {
    let kind = pad(&row.kind.to_string(), KIND_WIDTH, Align::Left);
    let size = pad(&row.size.map_or_else(|| "-".to_owned(), human::size), SIZE_WIDTH, Align::Right);
    let path = match &row.from {
        Some(from) => format!("{from} -> {}", row.path),
        None => row.path.to_string(),
    };
    format!("{}  {}  {kind}  {size}  {path}", row.change, clock.format(row.time))
}

fn op_line(row: &HistoryRow, clock: &Clock) -> String {
    let op = pad(&row.last_op.to_string(), SIZE_WIDTH, Align::Right);
    format!("{}  {}  {op}  {}", row.change, clock.format(row.time), row.message)
}
