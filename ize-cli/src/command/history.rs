//! `ize history`.

use ize_core::model::OpId;
use ize_core::project::{Clock, HistoryQuery, HistoryRow, ProjectError, Reader};

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
/// So much of an id in the backend's own format is shown, and is nearly always enough to name the change.
const HASH_WIDTH: usize = 12;

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
    let rows = opened.history(query)?;
    let look = Look { ops: arguments.ops, hashes: has_hashes(reader)?, clock: reader.clock() };
    let (pager, mut answer) = Pager::start(&context.environment, !arguments.json && !arguments.no_pager);
    let shown = show(&mut answer, rows, arguments.json, &look);
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

/// Tells whether the project's backend has ids of its own for changes.
fn has_hashes(reader: &Reader) -> Result<bool> {
    let found = reader.storage().find_native_id("", 1).map_err(ProjectError::from)?;
    Ok(!found.is_empty())
}

/// Which columns there are.
struct Look<'a> {
    ops: bool,
    hashes: bool,
    clock: &'a Clock,
}

/// Prints rows as they are found, and answers how many there were.
fn show<W: std::io::Write>(
    answer: &mut Answer<W>,
    rows: impl Iterator<Item = ize_core::project::Result<HistoryRow>>,
    as_json: bool,
    look: &Look<'_>,
) -> Result<u64> {
    let mut shown = 0;
    for row in rows {
        let row = row?;
        if shown == 0 && !as_json {
            answer.line(look.titles())?;
        }
        let line = if as_json { json::line(&HistoryLine::from(&row)) } else { look.line(&row) };
        shown += 1;
        if !answer.line(line)? {
            break;
        }
    }
    answer.flush()?;
    Ok(shown)
}

impl Look<'_> {
    fn titles(&self) -> String {
        let hash = self.hash(Some("HASH"));
        let change = pad("CHANGE", CHANGE_WIDTH, Align::Left);
        let when = format!("{change}  {hash}{}", pad("TIME", TIME_WIDTH, Align::Left));
        if self.ops {
            return format!("{when}  {}  WHAT", pad("OP", SIZE_WIDTH, Align::Right));
        }
        let what = pad("WHAT", KIND_WIDTH, Align::Left);
        format!("{when}  {what}  {}  PATH", pad("SIZE", SIZE_WIDTH, Align::Right))
    }

    fn line(&self, row: &HistoryRow) -> String {
        let (hash, time) = (self.hash(row.native.as_deref()), self.clock.format(row.time));
        let when = format!("{}  {hash}{time}", row.change);
        if self.ops { format!("{when}  {}", operation(row)) } else { format!("{when}  {}", save(row)) }
    }

    /// The column of the backend's own ids, where there are any.
    fn hash(&self, id: Option<&str>) -> String {
        if !self.hashes {
            return String::new();
        }
        let id = id.unwrap_or("-");
        format!("{}  ", pad(id.get(..HASH_WIDTH).unwrap_or(id), HASH_WIDTH, Align::Left))
    }
}

fn save(row: &HistoryRow) -> String {
    let kind = pad(&row.kind.to_string(), KIND_WIDTH, Align::Left);
    let size = pad(&row.size.map_or_else(|| "-".to_owned(), human::size), SIZE_WIDTH, Align::Right);
    let path = match &row.from {
        Some(from) => format!("{from} -> {}", row.path),
        None => row.path.to_string(),
    };
    format!("{kind}  {size}  {path}")
}

fn operation(row: &HistoryRow) -> String {
    format!("{}  {}", pad(&row.last_op.to_string(), SIZE_WIDTH, Align::Right), row.message)
}
