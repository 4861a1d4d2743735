//! Plots as SVG text: lines over time and grouped bars, each with title, axes, units and legend.
//! Colours differ in lightness too, so that a grey print keeps them apart.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 70.0;
const COLOURS: [&str; 6] = ["#0b5fa5", "#e07b00", "#2b8a3e", "#b02a37", "#6f42c1", "#6c757d"];
const TICKS: u32 = 5;

/// A named row of values: points of a line, or bars of a group's colour.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    /// Lines: (x, y). Bars: x is the group's index.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub series: Vec<Series>,
    /// Moments to mark, with a word: (x, word). Lines only.
    pub marks: Vec<(f64, String)>,
}

impl Plot {
    /// Lines over a numeric x axis.
    pub fn lines(&self) -> String {
        self.lines_on(Axis::Linear(self.y_max()))
    }

    /// Lines whose values go over several powers of ten.
    pub fn log_lines(&self) -> String {
        let positive = || self.points().map(|(_, y)| y).filter(|y| *y > 0.0);
        let least = positive().fold(f64::INFINITY, f64::min).log10().floor();
        let most = positive().fold(0.0, f64::max).log10().ceil();
        if least.is_finite() && most > least {
            self.lines_on(Axis::Powers(least, most))
        } else {
            self.lines()
        }
    }

    fn lines_on(&self, axis: Axis) -> String {
        let x_max = self.points().map(|(x, _)| x).fold(1.0, f64::max);
        let mut svg = self.frame(axis);
        let step = round_up(x_max / f64::from(TICKS));
        let ticks = (0..).map(|tick| f64::from(tick) * step).take_while(|x| *x <= x_max);
        for x in ticks {
            text(&mut svg, at_x(x, x_max), HEIGHT - BOTTOM + 18.0, "middle", &figure(x));
        }
        for (x, word) in &self.marks {
            let x = at_x(*x, x_max);
            line(&mut svg, (x, TOP), (x, HEIGHT - BOTTOM), "#999", "4 3");
            text(&mut svg, x + 4.0, TOP + 12.0, "start", word);
        }
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let points: Vec<_> = series
                .points
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", at_x(*x, x_max), axis.at(*y)))
                .collect();
            push(
                &mut svg,
                format_args!(
                    "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\n",
                    points.join(" ")
                ),
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// Bars in groups, a colour for each series.
    pub fn bars(&self, groups: &[String]) -> String {
        let axis = Axis::Linear(self.y_max());
        let mut svg = self.frame(axis);
        let group_width = (WIDTH - LEFT - RIGHT) / groups.len().max(1) as f64;
        let bar_width = group_width * 0.8 / self.series.len().max(1) as f64;
        for (idx, group) in groups.iter().enumerate() {
            let middle = LEFT + group_width * (idx as f64 + 0.5);
            for (line, words) in two_lines(group).into_iter().enumerate() {
                text(&mut svg, middle, HEIGHT - BOTTOM + 16.0 + 13.0 * line as f64, "middle", words);
            }
        }
        for (number, (series, colour)) in self.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
            for (group, value) in &series.points {
                let x = LEFT + group_width * (group + 0.1) + bar_width * number as f64;
                let y = axis.at(*value);
                push(
                    &mut svg,
                    format_args!(
                        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\n",
                        bar_width - 2.0,
                        HEIGHT - BOTTOM - y
                    ),
                );
                small_text(&mut svg, x + bar_width / 2.0, y - 4.0, &figure(*value));
            }
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// Title, legend, y axis, x axis' label.
    fn frame(&self, axis: Axis) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        push(
            &mut svg,
            format_args!(
                "<text x=\"{LEFT}\" y=\"24\" font-size=\"16\" font-weight=\"bold\">{}</text>\n",
                escaped(&self.title)
            ),
        );
        let mut x = LEFT;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            push(
                &mut svg,
                format_args!("<rect x=\"{x:.1}\" y=\"38\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\n"),
            );
            text(&mut svg, x + 17.0, 49.0, "start", &series.name);
            x += 40.0 + 7.0 * series.name.chars().count() as f64;
        }
        for value in axis.ticks() {
            let y = axis.at(value);
            line(&mut svg, (LEFT, y), (WIDTH - RIGHT, y), "#ddd", "none");
            text(&mut svg, LEFT - 8.0, y + 4.0, "end", &figure(value));
        }
        line(&mut svg, (LEFT, TOP), (LEFT, HEIGHT - BOTTOM), "#333", "none");
        line(&mut svg, (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM), "#333", "none");
        text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 18.0, "middle", &self.x_label);
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        push(
            &mut svg,
            format_args!(
                "<text transform=\"translate(18 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                escaped(&self.y_label)
            ),
        );
        svg
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.series.iter().flat_map(|series| series.points.iter().copied())
    }

    /// The axis ends at the next 1, 2 or 5 times a power of ten.
    fn y_max(&self) -> f64 {
        round_up(self.points().map(|(_, y)| y).fold(0.0, f64::max))
    }
}

/// The next 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0].map(|step| step * power).into_iter().find(|end| *end >= value).unwrap_or(10.0 * power)
}

/// Cut at the space nearest to the middle, so that neighbours do not overlap.
fn two_lines(words: &str) -> Vec<&str> {
    let middle = words.len() / 2;
    let cut = words.match_indices(' ').min_by_key(|(at, _)| at.abs_diff(middle));
    match cut.and_then(|(at, _)| words.split_at_checked(at)) {
        Some((first, second)) => vec![first, second.trim_start()],
        None => vec![words],
    }
}

fn at_x(x: f64, x_max: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * x / x_max
}

/// Of values: from 0 to this, or from one power of ten to another.
#[derive(Clone, Copy)]
enum Axis {
    Linear(f64),
    Powers(f64, f64),
}

impl Axis {
    fn at(self, y: f64) -> f64 {
        let share = match self {
            Self::Linear(y_max) => y / y_max,
            Self::Powers(least, most) => ((y.log10() - least) / (most - least)).clamp(0.0, 1.0),
        };
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    }

    fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear(y_max) => {
                (0..=TICKS).map(|tick| y_max * f64::from(tick) / f64::from(TICKS)).collect()
            }
            Self::Powers(least, most) => {
                (least as i32..=most as i32).map(|power| 10_f64.powi(power)).collect()
            }
        }
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, dashes: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    push(
        svg,
        format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" \
         stroke-dasharray=\"{dashes}\"/>\n"
        ),
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    push(
        svg,
        format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n", escaped(words)),
    );
}

fn small_text(svg: &mut String, x: f64, y: f64, words: &str) {
    push(
        svg,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" font-size=\"8\">{}</text>\n",
            escaped(words)
        ),
    );
}

/// 1234567 as 1.2M: three figures are all that an axis has room for.
fn figure(value: f64) -> String {
    match value.abs() {
        big if big >= 1e6 => format!("{:.1}M", value / 1e6),
        big if big >= 1e4 => format!("{:.0}k", value / 1e3),
        big if big >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        big if big >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn push(svg: &mut String, piece: std::fmt::Arguments<'_>) {
    svg.write_fmt(piece).expect("writing to a String cannot fail");
}
