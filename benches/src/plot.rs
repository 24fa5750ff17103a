//! Grouped bars as SVG: what the scripts that measure draw their figures with.
//!
//! A chart has groups from top to bottom (what was measured) and in each the same series (who was measured). Bars lie,
//! so that labels can be long. The picture brings its own background and colours for a light and a dark page, and needs
//! no font but the reader's.

use std::fmt::Write;

/// Widths and heights, in pixels.
const WIDTH: f64 = 900.0;
const LABELS_WIDTH: f64 = 250.0;
const VALUES_WIDTH: f64 = 70.0;
const BAR_HEIGHT: f64 = 13.0;
const GROUP_GAP: f64 = 14.0;
const TITLE_HEIGHT: f64 = 44.0;
const LEGEND_HEIGHT: f64 = 26.0;
const AXIS_HEIGHT: f64 = 44.0;
const MARGIN: f64 = 16.0;
/// About how wide a letter is.
const LETTER_WIDTH: f64 = 7.0;

/// Values beyond these are no figures that anybody measured.
const VALUE_MIN: f64 = 1e-12;
const VALUE_MAX: f64 = 1e15;

/// Colours that people who do not tell red from green tell apart, on white and on black.
const COLOURS: [&str; 8] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7f00", "#888888"];

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.value { font-size: 10.5px; }
.page { fill: #ffffff; }
.grid { stroke: #d8dee4; }
.origin { stroke: #57606a; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.page { fill: #0d1117; }
.grid { stroke: #30363d; }
.origin { stroke: #9198a1; }
}
";

/// How lengths of bars follow from values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From zero, in proportion.
    Linear,
    /// From the power of ten below the least value, each power of ten as wide as any other.
    Log,
    /// As [`Scale::Log`], but from 1, where what is equal lies: less to the left, more to the right.
    Ratio,
}

impl Scale {
    fn has(self, value: f64) -> bool {
        (VALUE_MIN..=VALUE_MAX).contains(&value) || (self == Self::Linear && value == 0.0)
    }
}

/// One thing that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What it is.
    pub label: String,
    /// One value for each series of the chart; `None` where it was not measured.
    pub values: Vec<Option<f64>>,
}

/// A chart of grouped bars.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// What the numbers are, and which are good ones.
    pub axis: String,
    /// How the bars' lengths follow from them.
    pub scale: Scale,
    /// Who was measured.
    pub series: Vec<String>,
    /// What was measured.
    pub groups: Vec<Group>,
}

impl Chart {
    /// Draws the chart. A value that the scale has no place for (a negative one, one above 10^15, zero on a logarithmic
    /// scale) is left out like one that is missing.
    pub fn svg(&self) -> String {
        let axis = Axis::new(self.scale, self.groups.iter().flat_map(|group| &group.values).flatten().copied());
        let group_height = BAR_HEIGHT * self.series.len() as f64 + GROUP_GAP;
        let legend = self.legend(TITLE_HEIGHT);
        let top = TITLE_HEIGHT + legend.height;
        let bottom = top + group_height * self.groups.len() as f64;
        let height = bottom + AXIS_HEIGHT;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             role=\"img\" aria-label=\"{title}\">\n<style>\n{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"{MARGIN}\" y=\"28\">{title}</text>\n{legend}",
            title = escaped(&self.title),
            legend = legend.svg,
        );
        self.draw_grid(&mut svg, &axis, top, bottom);
        for (at, group) in self.groups.iter().enumerate() {
            self.draw_group(&mut svg, &axis, group, top + group_height * at as f64);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn legend(&self, top: f64) -> Legend {
        let (mut svg, mut x, mut y) = (String::new(), MARGIN, top + 10.0);
        for (at, name) in self.series.iter().enumerate() {
            let width = 30.0 + LETTER_WIDTH * name.chars().count() as f64;
            if x + width > WIDTH - MARGIN && x > MARGIN {
                (x, y) = (MARGIN, y + 18.0);
            }
            let (swatch, baseline, text) = (y - 10.0, y, x + 16.0);
            let (colour, name) = (colour(at), escaped(name));
            push(
                &mut svg,
                format_args!(
                    "<rect x=\"{x:.1}\" y=\"{swatch:.1}\" width=\"11\" height=\"11\" fill=\"{colour}\"/>\
                     <text x=\"{text:.1}\" y=\"{baseline:.1}\">{name}</text>\n"
                ),
            );
            x += width;
        }
        Legend { svg, height: y - top - 10.0 + LEGEND_HEIGHT }
    }

    fn draw_grid(&self, svg: &mut String, axis: &Axis, top: f64, bottom: f64) {
        for tick in axis.ticks() {
            let (x, class) = (axis.x(tick), if tick == axis.origin { "origin" } else { "grid" });
            push(
                svg,
                format_args!(
                    "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>\
                     <text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>\n",
                    y = bottom + 15.0,
                    label = number(tick),
                ),
            );
        }
        let (x, y, label) = (LABELS_WIDTH + axis_width() / 2.0, bottom + 33.0, escaped(&self.axis));
        push(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>\n"));
    }

    fn draw_group(&self, svg: &mut String, axis: &Axis, group: &Group, top: f64) {
        let middle = top + (GROUP_GAP + BAR_HEIGHT * self.series.len() as f64) / 2.0 + 4.0;
        push(
            svg,
            format_args!(
                "<text x=\"{x:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{label}</text>\n",
                x = LABELS_WIDTH - 8.0,
                label = escaped(&group.label),
            ),
        );
        let values = group.values.iter().enumerate().filter_map(|(at, value)| Some((at, (*value)?)));
        for (at, value) in values.filter(|(_, value)| self.scale.has(*value)) {
            let y = top + GROUP_GAP / 2.0 + BAR_HEIGHT * at as f64;
            let (from, to) = (axis.x(axis.origin), axis.x(value));
            push(
                svg,
                format_args!(
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\">\
                     <title>{label}, {series}: {value}</title></rect>\
                     <text class=\"value\" x=\"{end:.1}\" y=\"{baseline:.1}\">{value}</text>\n",
                    x = from.min(to),
                    width = (from - to).abs().max(0.5),
                    height = BAR_HEIGHT - 2.0,
                    colour = colour(at),
                    label = escaped(&group.label),
                    series = escaped(self.series.get(at).map_or("", String::as_str)),
                    value = number(value),
                    end = from.max(to) + 4.0,
                    baseline = y + 9.5,
                ),
            );
        }
    }
}

struct Legend {
    svg: String,
    height: f64,
}

/// Where values lie.
struct Axis {
    scale: Scale,
    /// Where bars begin.
    origin: f64,
    least: f64,
    greatest: f64,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (least, greatest) = values
            .filter(|value| scale.has(*value))
            .fold((f64::INFINITY, 0.0_f64), |(least, greatest), value| (least.min(value), greatest.max(value)));
        if greatest == 0.0 {
            let origin = if scale == Scale::Linear { 0.0 } else { 1.0 };
            return Self { scale, origin, least: origin, greatest: 10.0 };
        }
        match scale {
            Scale::Linear => Self { scale, origin: 0.0, least: 0.0, greatest },
            Scale::Log => {
                let below = 10_f64.powf(least.log10().floor());
                // A bar as long as nothing would say that there is none.
                let below = if below == least { below / 10.0 } else { below };
                Self { scale, origin: below, least: below, greatest: greatest.max(below * 10.0) }
            }
            Scale::Ratio => Self { scale, origin: 1.0, least: least.min(0.9), greatest: greatest.max(1.1) },
        }
    }

    fn x(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => value / self.greatest,
            Scale::Log | Scale::Ratio => (value / self.least).ln() / (self.greatest / self.least).ln(),
        };
        LABELS_WIDTH + share * axis_width()
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = round_step(self.greatest / 6.0);
                (0_u32..).map(|at| f64::from(at) * step).take_while(|tick| *tick <= self.greatest).collect()
            }
            Scale::Log | Scale::Ratio => {
                let decades = (self.greatest / self.least).log10();
                let steps: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let first = self.least.log10().floor();
                (0_u32..=400)
                    .map(|at| 10_f64.powf(first + f64::from(at)))
                    .take_while(|decade| *decade <= self.greatest)
                    .flat_map(|decade| steps.iter().map(move |step| decade * step))
                    .filter(|tick| (self.least..=self.greatest).contains(tick))
                    .collect()
            }
        }
    }
}

const fn axis_width() -> f64 {
    WIDTH - LABELS_WIDTH - VALUES_WIDTH
}

/// Returns the least of 1, 2 and 5 times a power of ten that is at least this.
fn round_step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|step| step * decade).find(|step| *step >= least).unwrap_or(decade * 10.0)
}

/// Writes a number as short as a reader needs it: three digits that count.
fn number(value: f64) -> String {
    let (scaled, unit) = match value {
        _ if value >= 999.5e6 => (value / 1e9, "G"),
        _ if value >= 999.5e3 => (value / 1e6, "M"),
        _ if value >= 9_999.5 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match scaled {
        _ if scaled >= 99.5 || scaled == 0.0 => 0,
        _ if scaled >= 9.95 => 1,
        _ if scaled >= 0.995 => 2,
        _ => 3,
    };
    let digits = format!("{scaled:.decimals$}");
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{unit}")
}

fn colour(at: usize) -> &'static str {
    COLOURS[at % COLOURS.len()]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn push(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, values: &[&[Option<f64>]]) -> Chart {
        let groups = values.iter().map(|values| Group { label: "a < b & c".to_owned(), values: values.to_vec() });
        Chart {
            title: "Title".to_owned(),
            axis: "ms".to_owned(),
            scale,
            series: vec!["one".to_owned(), "two".to_owned()],
            groups: groups.collect(),
        }
    }

    /// The left ends and widths of the bars.
    fn bars(svg: &str) -> Vec<(f64, f64)> {
        let field = |line: &str, name: &str| {
            let at = line.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
            line[at..].split('"').next().unwrap().parse::<f64>().unwrap()
        };
        let bars = svg.lines().filter(|line| line.contains("<title>"));
        bars.map(|line| (field(line, "x"), field(line, "width"))).collect()
    }

    #[test]
    fn lengths_are_in_proportion() {
        let bars = bars(&chart(Scale::Linear, &[&[Some(50.0), Some(100.0)], &[None, Some(25.0)]]).svg());
        let full = axis_width();
        assert_eq!(bars, [(LABELS_WIDTH, full / 2.0), (LABELS_WIDTH, full), (LABELS_WIDTH, full / 4.0)]);
    }

    #[test]
    fn a_power_of_ten_is_as_long_as_any_other() {
        let bars = bars(&chart(Scale::Log, &[&[Some(10.0), Some(100.0)], &[Some(1000.0), Some(0.0)]]).svg());
        assert_eq!(bars.len(), 3, "zero has no place on a logarithmic scale");
        let decade = bars[0].1;
        assert!(bars.iter().zip([1.0, 2.0, 3.0]).all(|((_, width), decades)| (width - decades * decade).abs() < 1.0));
    }

    #[test]
    fn ratios_lie_on_both_sides_of_one() {
        let bars = bars(&chart(Scale::Ratio, &[&[Some(0.5), Some(2.0)]]).svg());
        let origin = bars[1].0;
        assert!((bars[0].0 + bars[0].1 - origin).abs() < 0.2, "the lesser one ends where the greater one begins");
        assert!((bars[0].1 - bars[1].1).abs() < 0.2, "half and twice are as far from one");
    }

    #[test]
    fn any_numbers_can_be_drawn() {
        let odd = [f64::NAN, f64::INFINITY, -1.0, 0.0, f64::MIN_POSITIVE, f64::MAX, VALUE_MIN, VALUE_MAX, 1.0];
        for scale in [Scale::Linear, Scale::Log, Scale::Ratio] {
            for value in odd {
                let svg = chart(scale, &[&[Some(value), None]]).svg();
                assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("\"inf"), "{value}: {svg}");
            }
            assert!(bars(&chart(scale, &[]).svg()).is_empty());
        }
    }

    #[test]
    fn text_is_escaped() {
        let svg = chart(Scale::Linear, &[&[Some(1.0), None]]).svg();
        assert!(svg.contains("a &lt; b &amp; c") && !svg.contains("a < b"));
    }

    #[test]
    fn numbers_are_short() {
        let written = [0.0, 0.0123, 0.5, 1.0, 1.254, 25.36, 250.4, 9876.0, 12_345.0, 1_500_000.0].map(number);
        assert_eq!(written, ["0", "0.012", "0.5", "1", "1.25", "25.4", "250", "9876", "12.3k", "1.5M"]);
    }
}
