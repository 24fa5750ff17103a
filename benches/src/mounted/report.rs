//! What was measured, as medians and ratios: for people, for programs, and as a picture.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Sample, Target, Unit, Workload};
use crate::plot::{Chart, Group, Scale};

/// The measurements of one run. The first target is what the others are compared with.
///
/// Ratios are medians of what each round had: a machine or a disk that is slow for a while is slow for both.
#[derive(Debug)]
pub struct Report {
    targets: Vec<String>,
    /// Which target is also compared with which other one than the first.
    pair: Option<(usize, usize)>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    workload: &'static Workload,
    /// Of each target, in seconds, in the order in which they were measured.
    samples: Vec<Vec<f64>>,
}

/// A row of the JSON report.
#[derive(Serialize)]
struct JsonRow<'a> {
    workload: &'a str,
    title: &'a str,
    target: &'a str,
    /// The median time of one unit of work.
    secs: f64,
    /// The median of how many times as long it took as the first target in the same round.
    ratio: f64,
    /// All times, in the order in which they were measured.
    samples: &'a [f64],
}

impl Row {
    fn median(&self, target: usize) -> f64 {
        median(self.samples[target].clone())
    }

    fn ratio(&self, target: usize, to: usize) -> f64 {
        median(self.samples[target].iter().zip(&self.samples[to]).map(|(secs, base)| secs / base).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Report {
    /// Begins with nothing measured.
    pub fn new(targets: &[Target]) -> Self {
        Self { targets: targets.iter().map(|target| target.name.clone()).collect(), pair: None, rows: Vec::new() }
    }

    /// Compares one target with another one, too, in the last column of the table.
    ///
    /// # Errors
    /// The name that no target has.
    pub fn compare<'a>(&mut self, target: &'a str, to: &'a str) -> Result<(), &'a str> {
        let find = |name: &'a str| self.targets.iter().position(|target| target == name).ok_or(name);
        self.pair = Some((find(target)?, find(to)?));
        Ok(())
    }

    pub(super) fn add(&mut self, target: usize, sample: &Sample) {
        let at = self.rows.iter().position(|row| row.workload == sample.workload).unwrap_or_else(|| {
            self.rows.push(Row { workload: sample.workload, samples: vec![Vec::new(); self.targets.len()] });
            self.rows.len() - 1
        });
        self.rows[at].samples[target].push(sample.secs);
    }

    /// Writes a table: what the first target took, the others' times as multiples of that, and the other comparison.
    pub fn markdown(&self) -> String {
        let Some((bare, others)) = self.targets.split_first() else { return String::new() };
        let mut text = format!("| workload | {bare} |");
        others.iter().for_each(|name| text.push_str(&format!(" {name} |")));
        self.pair
            .iter()
            .for_each(|&(at, to)| text.push_str(&format!(" {} : {} |", self.targets[at], self.targets[to])));
        text.push_str("\n|---|");
        self.targets.iter().for_each(|_| text.push_str("---|"));
        self.pair.iter().for_each(|_| text.push_str("---|"));
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "| {} | {} |", row.workload.title, figure(row.workload.unit, row.median(0)));
            let ratios = (1..self.targets.len()).map(|at| (at, 0)).chain(self.pair);
            ratios.for_each(|(at, to)| text.push_str(&format!(" {:.2} |", row.ratio(at, to))));
            text.push('\n');
        }
        text
    }

    /// Draws how many times as long each target took as the first.
    pub fn chart(&self) -> Chart {
        let others = 1..self.targets.len();
        let groups = self.rows.iter().map(|row| Group {
            label: row.workload.title.to_owned(),
            values: others.clone().map(|at| Some(row.ratio(at, 0))).collect(),
        });
        Chart {
            title: format!("Time, {} = 1", self.targets.first().map_or("", String::as_str)),
            axis: "times as long; less is better".to_owned(),
            scale: Scale::Ratio,
            series: self.targets.iter().skip(1).cloned().collect(),
            groups: groups.collect(),
        }
    }

    /// Writes all measurements as JSON.
    ///
    /// # Errors
    /// If a measurement is no number.
    pub fn json(&self) -> serde_json::Result<String> {
        let rows = self.rows.iter().flat_map(|row| {
            self.targets.iter().enumerate().map(|(at, target)| JsonRow {
                workload: row.workload.key,
                title: row.workload.title,
                target,
                secs: row.median(at),
                ratio: row.ratio(at, 0),
                samples: &row.samples[at],
            })
        });
        serde_json::to_string_pretty(&rows.collect::<Vec<_>>())
    }
}

fn figure(unit: Unit, secs: f64) -> String {
    match unit {
        Unit::Micros => format!("{:.2} µs", secs * 1e6),
        Unit::Millis => format!("{:.1} ms", secs * 1e3),
        Unit::MibPerSecond => format!("{:.0} MiB/s", 1.0 / secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static WORKLOAD: Workload = Workload { key: "stat", title: "stat", unit: Unit::Micros };

    fn report() -> Report {
        let target = |name: &str| Target { name: name.to_owned(), folder: name.into() };
        let mut report = Report::new(&[target("bare"), target("ize")]);
        for (target, secs) in [(0, 2e-6), (1, 9e-6), (0, 1e-6), (1, 3e-6), (0, 4e-6), (1, 1e-6)] {
            report.add(target, &Sample { workload: &WORKLOAD, secs });
        }
        report
    }

    #[test]
    fn the_table_has_medians_of_what_each_round_had() {
        assert_eq!(report().markdown(), "| workload | bare | ize |\n|---|---|---|\n| stat | 2.00 µs | 3.00 |\n");
    }

    #[test]
    fn two_targets_can_be_compared() {
        let mut report = report();
        assert_eq!(report.compare("ize", "other"), Err("other"));
        report.compare("bare", "ize").unwrap();
        let table = "| workload | bare | ize | bare : ize |\n|---|---|---|---|\n| stat | 2.00 µs | 3.00 | 0.33 |\n";
        assert_eq!(report.markdown(), table);
    }

    #[test]
    fn the_json_has_every_sample() {
        let rows: serde_json::Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        assert_eq!(rows[1]["target"], "ize");
        assert_eq!(rows[1]["ratio"], 3.0);
        assert_eq!(rows[1]["samples"].as_array().unwrap().len(), 3);
    }
}
