//! `plot linear|log|ratio TITLE AXIS < table.tsv > chart.svg`: draws a table of figures as grouped bars.
//!
//! The table's fields end with tabs. Its first line names the series behind a field that is not used; each further line is
//! a group: its label, and a number for each series, or nothing (or `-`) where there is none.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use ize_benches::plot::{Chart, Group, Scale};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scale, title, axis] = arguments.as_slice() else {
        return Err("usage: plot linear|log|ratio TITLE AXIS < table.tsv > chart.svg".to_owned());
    };
    let scale = match scale.as_str() {
        "linear" => Scale::Linear,
        "log" => Scale::Log,
        "ratio" => Scale::Ratio,
        other => return Err(format!("'{other}' is none of linear, log and ratio")),
    };
    let mut table = String::new();
    io::stdin().read_to_string(&mut table).map_err(|error| error.to_string())?;
    let chart = chart(&table, scale, title, axis)?;
    io::stdout().write_all(chart.svg().as_bytes()).map_err(|error| error.to_string())
}

fn chart(table: &str, scale: Scale, title: &str, axis: &str) -> Result<Chart, String> {
    let mut lines = table.lines();
    let header = lines.next().ok_or("the table is empty")?;
    let series: Vec<String> = header.split('\t').skip(1).map(ToOwned::to_owned).collect();
    let groups: Result<Vec<Group>, String> = lines.map(|line| group(line, series.len())).collect();
    Ok(Chart { title: title.to_owned(), axis: axis.to_owned(), scale, series, groups: groups? })
}

fn group(line: &str, series: usize) -> Result<Group, String> {
    let mut fields = line.split('\t');
    let label = fields.next().unwrap_or_default().to_owned();
    let values: Result<Vec<Option<f64>>, String> = fields.map(value).collect();
    let values = values.map_err(|field| format!("'{label}': '{field}' is no number"))?;
    if values.len() > series {
        return Err(format!("'{label}' has more values than there are series"));
    }
    Ok(Group { label, values })
}

fn value(field: &str) -> Result<Option<f64>, String> {
    match field {
        "" | "-" => Ok(None),
        number => number.parse().map(Some).map_err(|_| number.to_owned()),
    }
}
