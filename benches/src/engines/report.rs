//! The comparison as a page and a picture.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::damage::{Outcome, Outcomes};
use super::figures::{Figures, MEASURES};
use crate::plot::{Chart, Group, Scale};

/// The engine that others are measured against.
const BASE: &str = "sanakirja";

/// Between these lines of a page the figures stand; all else on it is written by people.
const BEGIN: &str = "<!-- figures: written by scripts/compare-engines -->";
const END: &str = "<!-- end of figures -->";

/// What is known of one engine.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its name.
    pub engine: String,
    /// Medians over the rounds.
    pub figures: Figures,
    /// What became of flipped bits.
    pub bits: Outcomes,
    /// What became of pages that were zeroed.
    pub pages: Outcomes,
}

/// What the notes that the project began from claim of an engine, in microseconds: least and most for a look-up and for a
/// commit.
const CLAIMS: &[(&str, &str, &str)] = &[
    ("sanakirja", "1 to 5", "10 to 50"),
    ("redb", "0.5", "2 to 10"),
    ("heed", "0.2", "5 to 15"),
    ("sled", "1 to 10", "5 to 20"),
    ("rocksdb", "0.5 to 5", "1 to 50"),
];

/// Returns the median of each figure.
pub fn medians(rounds: &[Figures]) -> Figures {
    let mut values: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
    for (key, value) in rounds.iter().flatten() {
        values.entry(key).or_default().push(*value);
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
    };
    values.into_iter().map(|(key, values)| (key.clone(), median(values))).collect()
}

/// Writes all figures as Markdown.
pub fn markdown(measured: &[Measured]) -> String {
    let mut text = format!("{}\n", row("", measured.iter().map(|one| one.engine.clone())));
    line(&mut text, format_args!("|---|{}", "---|".repeat(measured.len())));
    for measure in MEASURES {
        let cells = measured.iter().map(|one| cell(one.figures.get(measure.key)));
        let label = format!("{}, {}", measure.label, measure.unit);
        line(&mut text, format_args!("{}", row(&label, cells)));
    }
    claims(&mut text, measured);
    damage(&mut text, measured);
    text
}

fn claims(text: &mut String, measured: &[Measured]) {
    line(text, format_args!("\n## What was claimed, and what was measured\n"));
    line(
        text,
        format_args!("| | look-up: claimed, measured (µs) | durable commit: claimed, measured (µs) |\n|---|---|---|"),
    );
    for one in measured {
        let claimed = CLAIMS.iter().find(|(engine, ..)| *engine == one.engine);
        let (lookup, commit) = claimed.map_or(("no claim", "no claim"), |(_, lookup, commit)| (*lookup, *commit));
        let (lookup_is, commit_is) = (cell(one.figures.get("lookup")), cell(one.figures.get("apply")));
        line(text, format_args!("| {} | {lookup}, {lookup_is} | {commit}, {commit_is} |", one.engine));
    }
}

fn damage(text: &mut String, measured: &[Measured]) {
    line(text, format_args!("\n## What becomes of damage\n"));
    line(text, format_args!("{}", row("", Outcome::ALL.iter().map(|outcome| outcome.label().to_owned()))));
    line(text, format_args!("|---|{}", "---|".repeat(Outcome::ALL.len())));
    for one in measured {
        for (what, outcomes) in [("one bit", &one.bits), ("a page of zeros", &one.pages)] {
            let cells =
                Outcome::ALL.iter().map(|outcome| outcomes.get(outcome).map_or_else(String::new, usize::to_string));
            line(text, format_args!("{}", row(&format!("{}, {what}", one.engine), cells)));
        }
    }
}

/// Draws each engine's figures as multiples of the base's.
pub fn chart(measured: &[Measured]) -> Chart {
    let base = measured.iter().find(|one| one.engine == BASE);
    let others: Vec<&Measured> = measured.iter().filter(|one| one.engine != BASE).collect();
    let groups = MEASURES.iter().map(|measure| {
        let base = base.and_then(|base| base.figures.get(measure.key));
        let ratio = |one: &&Measured| Some(one.figures.get(measure.key)? / base?);
        Group { label: measure.label.to_owned(), values: others.iter().map(ratio).collect() }
    });
    Chart {
        title: "Storage engines under Ize, against Sanakirja".to_owned(),
        axis: "times what Sanakirja takes; to the left of 1 is better".to_owned(),
        scale: Scale::Ratio,
        series: others.iter().map(|one| one.engine.clone()).collect(),
        groups: groups.collect(),
    }
}

/// Puts figures into a page, in the place of those that it has.
///
/// # Errors
/// If the page has no place for them.
pub fn place(page: &str, figures: &str) -> Result<String, String> {
    let missing = |mark: &str| format!("the page has no line '{mark}'");
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| missing(BEGIN))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
    Ok(format!("{before}{BEGIN}\n\n{figures}\n{END}{after}"))
}

fn row(label: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    format!("| {label} | {} |", cells.join(" | "))
}

fn cell(value: Option<&f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if *value >= 100.0 => format!("{value:.0}"),
        Some(value) if *value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(engine: &str, lookup: f64) -> Measured {
        let figures = Figures::from([("lookup".to_owned(), lookup)]);
        Measured {
            engine: engine.to_owned(),
            figures,
            bits: Outcomes::from([(Outcome::Detected, 3)]),
            pages: Outcomes::new(),
        }
    }

    #[test]
    fn the_median_is_the_one_in_the_middle_or_between_both() {
        let rounds = |values: &[f64]| {
            let rounds: Vec<Figures> = values.iter().map(|value| Figures::from([("a".to_owned(), *value)])).collect();
            medians(&rounds)["a"]
        };
        assert_eq!(rounds(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(rounds(&[4.0, 1.0]), 2.5);
    }

    #[test]
    fn figures_come_into_their_place_and_nothing_else_changes() {
        let page = format!("# Title\n{BEGIN}\nold\n{END}\nwhat people wrote\n");
        let placed = place(&page, "new").unwrap();
        assert_eq!(placed, format!("# Title\n{BEGIN}\n\nnew\n{END}\nwhat people wrote\n"));
        assert_eq!(place(&placed, "new").unwrap(), placed);
        assert!(place("# Title", "new").is_err());
    }

    #[test]
    fn a_page_and_a_chart_show_what_was_measured() {
        let both = [measured("sanakirja", 2.0), measured("redb", 5.0)];
        let text = markdown(&both);
        assert!(text.contains("| bare: look up a row, µs | 2.00 | 5.00 |"), "{text}");
        assert!(text.contains("| redb | 0.5, 5.00 | 2 to 10,  |"), "{text}");
        assert!(text.contains("| redb, one bit |  | 3 |"), "{text}");
        let chart = chart(&both);
        assert_eq!((chart.series.len(), chart.groups[0].values.as_slice()), (1, &[Some(2.5)][..]));
    }
}
