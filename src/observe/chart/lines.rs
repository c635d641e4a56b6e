//! Lines, steps, areas and marks over two axes, with their names at their ends.

use super::super::page::{Colour, escape};
use super::{Axis, LINE, Size, both, fitting, inside, spread, ticks_in, width_of, width_of_name};
use std::fmt::Write as _;

/// How a series of points is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Straight from point to point.
    Line,
    /// The same, dashed.
    Dashed,
    /// Each value holds from the point before up to its own, the first from the lower end of the axis: rates of intervals.
    Steps,
    /// [`Look::Steps`] with what is below shaded, for what lies behind other series.
    Area,
    /// A disc at each point.
    Dots,
    /// A cross at each point.
    Crosses,
}

impl Look {
    /// True if points are not joined; their name then stands above the chart, since they have no end.
    fn is_marks(self) -> bool {
        matches!(self, Self::Dots | Self::Crosses)
    }
}

/// One series.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is called.
    pub name: String,
    /// Its colour.
    pub colour: Colour,
    /// How it is drawn.
    pub look: Look,
    /// Its points, in the order in which they are joined. What is not finite is left out.
    pub points: Vec<(f64, f64)>,
}

/// A chart of several series.
#[derive(Clone, Debug)]
pub struct LineChart {
    /// What a screen reader says first.
    pub title: String,
    /// What it says then: the chart's message in a sentence.
    pub summary: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The series, the hindmost first.
    pub lines: Vec<Line>,
    /// Height of the plot without what stands around it, in pixels.
    pub height: f64,
    /// A tick's text and a series' name that there is to be room for in any case, so that charts under one another have their
    /// axes at the same places; or empty.
    pub room: [&'static str; 2],
}

/// Where the plot lies in the picture.
struct Plot<'a> {
    chart: &'a LineChart,
    size: Size,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// Room above the plot for the label of the vertical axis.
const ABOVE: f64 = 31.0;
/// Room for a mark in the legend, and for what keeps its name from the next.
const BESIDE_NAME: f64 = 32.0;
/// Pixels of the vertical axis for each tick on it.
const PIXELS_A_LEVEL: f64 = 44.0;
/// Room below the plot for ticks and the label of the horizontal axis.
const BELOW: f64 = 44.0;

impl LineChart {
    /// The chart as SVG.
    pub fn svg(&self) -> String {
        both(&self.title, &self.summary, |size| {
            let mut svg = String::new();
            let plot = Plot::of(self, size);
            plot.draw_y_axis(&mut svg);
            plot.draw_x_axis(&mut svg);
            for line in &self.lines {
                plot.draw_line(&mut svg, line);
            }
            plot.draw_names(&mut svg);
            plot.draw_legend(&mut svg);
            (plot.bottom + BELOW, svg)
        })
    }

    fn joined(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| !line.look.is_marks() && line.finite().next().is_some())
    }
}

impl Line {
    fn finite(&self) -> impl DoubleEndedIterator<Item = (f64, f64)> + '_ {
        self.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
    }
}

impl<'a> Plot<'a> {
    fn of(chart: &'a LineChart, size: Size) -> Self {
        let [room_left, room_right] = chart.room;
        let ticks = chart.y.ticks(ticks_in(chart.height, PIXELS_A_LEVEL));
        let texts = ticks.iter().filter_map(|tick| tick.text.as_deref());
        let left = texts.map(width_of).fold(width_of(room_left), f64::max) + 10.0;
        let names = chart.joined().map(|line| width_of_name(&line.name)).fold(width_of_name(room_right), f64::max);
        let right = size.width - if names > 0.0 { names + 16.0 } else { 18.0 };
        let marks = chart.lines.iter().filter(|line| line.look.is_marks());
        let legend: f64 = marks.map(|line| width_of_name(&line.name) + BESIDE_NAME).sum();
        // The legend stands beside the vertical axis's label, or above it where there is no room.
        let fits = width_of(&chart.y.label) + legend <= right;
        let top = if fits { ABOVE } else { ABOVE + LINE };
        Self { chart, size, left, right, top, bottom: top + chart.height }
    }

    fn x(&self, value: f64) -> f64 {
        self.left + self.chart.x.place(value) * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - self.chart.y.place(value) * (self.bottom - self.top)
    }

    fn draw_y_axis(&self, svg: &mut String) {
        let (y, label) = (self.top - ABOVE + 12.0, escape(&self.chart.y.label));
        let _ = writeln!(svg, "<text class=\"soft\" x=\"0\" y=\"{y:.1}\">{label}</text>");
        for tick in self.chart.y.ticks(ticks_in(self.chart.height, PIXELS_A_LEVEL)) {
            let y = self.bottom - tick.place * (self.bottom - self.top);
            let (left, right) = (self.left, self.right);
            let class = if tick.text.is_some() { "grid" } else { "grid faint" };
            let _ = writeln!(svg, "<path class=\"{class}\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>");
            if let Some(text) = tick.text {
                let (x, y, text) = (left - 7.0, y + 4.5, escape(&text));
                let _ =
                    writeln!(svg, "<text class=\"soft\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{text}</text>");
            }
        }
    }

    fn draw_x_axis(&self, svg: &mut String) {
        let (left, right, bottom) = (self.left, self.right, self.bottom);
        let _ = writeln!(svg, "<path class=\"base\" d=\"M{left:.1} {bottom:.1}H{right:.1}\"/>");
        let ticks = self.chart.x.ticks(ticks_in(right - left, self.size.pixels_a_tick));
        let texts: Vec<(f64, String)> =
            ticks.into_iter().filter_map(|tick| Some((left + tick.place * (right - left), tick.text?))).collect();
        for (x, text) in fitting(&texts) {
            let (y, text) = (bottom + LINE, escape(text));
            let _ = writeln!(
                svg,
                "<path class=\"base\" d=\"M{x:.1} {bottom:.1}v5\"/>\
                 <text class=\"soft\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{text}</text>"
            );
        }
        let (x, y, label) = (
            inside((left + right) / 2.0, &self.chart.x.label, self.size),
            bottom + LINE * 2.0 + 4.0,
            escape(&self.chart.x.label),
        );
        let _ = writeln!(svg, "<text class=\"soft\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>");
    }

    fn draw_line(&self, svg: &mut String, line: &Line) {
        let class = line.colour.class();
        let mut path = String::new();
        let mut before = self.left;
        for (i, (x, y)) in line.finite().map(|(x, y)| (self.x(x), self.y(y))).enumerate() {
            let _ = match line.look {
                Look::Line | Look::Dashed => write!(path, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' }),
                Look::Steps | Look::Area if i == 0 => write!(path, "M{before:.1} {y:.1}H{x:.1}"),
                Look::Steps | Look::Area => write!(path, "V{y:.1}H{x:.1}"),
                Look::Dots => write!(svg, "<circle class=\"fill {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>"),
                Look::Crosses => write!(path, "M{:.1} {:.1}l9 9m0 -9l-9 9", x - 4.5, y - 4.5),
            };
            before = x;
        }
        if path.is_empty() {
            return;
        }
        let stroke = match line.look {
            Look::Area => {
                let (left, bottom) = (self.left, self.bottom);
                let _ = writeln!(svg, "<path class=\"area {class}\" d=\"{path}V{bottom:.1}H{left:.1}Z\"/>");
                "thin"
            }
            Look::Dashed => "stroke dashed",
            Look::Line | Look::Steps | Look::Dots | Look::Crosses => "stroke",
        };
        let _ = writeln!(svg, "<path class=\"{stroke} {class}\" d=\"{path}\"/>");
    }

    /// The names of what is joined, each beside its end and with a hair to it, moved apart where they would touch.
    fn draw_names(&self, svg: &mut String) {
        let ends: Vec<(f64, f64)> = self
            .chart
            .joined()
            .filter_map(|line| line.finite().next_back())
            .map(|(x, y)| (self.x(x), self.y(y)))
            .collect();
        let places: Vec<f64> = ends.iter().map(|(_, y)| *y).collect();
        let places = spread(&places, LINE, self.top, self.bottom);
        for ((line, (x, y)), place) in self.chart.joined().zip(ends).zip(places) {
            let (class, name) = (line.colour.class(), escape(&line.name));
            let (hair, text_x, text_y) = (self.right + 9.0, self.right + 12.0, place + 4.5);
            let _ = writeln!(
                svg,
                "<path class=\"thin {class}\" d=\"M{x:.1} {y:.1}L{hair:.1} {place:.1}\"/>\
                 <text class=\"name {class}\" x=\"{text_x:.1}\" y=\"{text_y:.1}\">{name}</text>"
            );
        }
    }

    /// The names of marks, from the right above the plot.
    fn draw_legend(&self, svg: &mut String) {
        let mut x = self.right;
        for line in self.chart.lines.iter().rev().filter(|line| line.look.is_marks()) {
            let (class, name) = (line.colour.class(), escape(&line.name));
            x -= width_of_name(&line.name);
            let _ = writeln!(svg, "<text class=\"name {class}\" x=\"{x:.1}\" y=\"12\">{name}</text>");
            let _ = match line.look {
                Look::Crosses => {
                    writeln!(svg, "<path class=\"stroke {class}\" d=\"M{:.1} 3l9 9m0 -9l-9 9\"/>", x - 14.0)
                }
                _ => writeln!(svg, "<circle class=\"fill {class}\" cx=\"{:.1}\" cy=\"7.5\" r=\"4.5\"/>", x - 10.0),
            };
            x -= BESIDE_NAME;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::number;

    fn chart(lines: Vec<Line>) -> String {
        let axis = |label| Axis::linear(label, 0.0, 10.0, number::short);
        let chart = LineChart {
            title: "t".into(),
            summary: "s".into(),
            x: axis("seconds <s>"),
            y: axis("a second"),
            lines,
            height: 100.0,
            room: ["", ""],
        };
        chart.svg()
    }

    fn line(name: &str, look: Look, points: &[(f64, f64)]) -> Line {
        Line { name: name.into(), colour: Colour::Blue, look, points: points.to_vec() }
    }

    #[test]
    fn axes_have_labels_and_lines_have_names() {
        let svg = chart(vec![line("a & b", Look::Line, &[(0.0, 1.0), (10.0, 2.0)])]);
        for text in [">seconds &lt;s&gt;<", ">a second<", ">a &amp; b<", "class=\"stroke blue\""] {
            assert_eq!(svg.matches(text).count(), 2, "{text} in {svg}");
        }
    }

    #[test]
    fn a_chart_without_points_has_axes_and_nothing_else() {
        for look in [Look::Line, Look::Steps, Look::Area, Look::Dots] {
            let svg = chart(vec![line("none", look, &[(f64::NAN, 1.0)])]);
            assert!(!svg.contains("blue\" d=") && !svg.contains("NaN"), "{svg}");
        }
        assert!(!chart(Vec::new()).contains("NaN"));
    }

    #[test]
    fn what_is_huge_or_not_finite_draws_no_coordinate_outside_the_picture() {
        let points = [(1.0, f64::MAX), (2.0, f64::INFINITY), (1e300, -1e300)];
        for look in [Look::Line, Look::Dashed, Look::Steps, Look::Area, Look::Dots, Look::Crosses] {
            let svg = chart(vec![line("huge", look, &points)]);
            let numbers = svg.split(|c: char| !c.is_ascii_digit() && c != '.');
            let largest = numbers.filter_map(|number| number.parse().ok()).fold(0.0, f64::max);
            assert!(largest <= 880.0 && !svg.contains("inf") && !svg.contains("NaN"), "{look:?}: {svg}");
        }
    }

    #[test]
    fn steps_begin_at_the_axis_and_hold_each_value_up_to_its_point() {
        let svg = chart(vec![line("", Look::Steps, &[(5.0, 10.0), (10.0, 5.0)])]);
        let (_, path) = svg.split_once("stroke blue\" d=\"").unwrap();
        let (path, _) = path.split_once('"').unwrap();
        let commands: String = path.chars().filter(char::is_ascii_alphabetic).collect();
        assert_eq!(commands, "MHVH", "{path}");
        assert!(path.contains(" 31.0H") && path.ends_with("H862.0") && path.contains("V81.0"), "{path}");
    }

    #[test]
    fn names_at_the_same_place_do_not_cover_one_another() {
        let same = [(0.0, 5.0), (10.0, 5.0)];
        let svg = chart(vec![line("one", Look::Line, &same), line("two", Look::Line, &same)]);
        let names = svg.split("<text class=\"name").skip(1);
        let heights: Vec<&str> = names.filter_map(|text| text.split(" y=\"").nth(1)?.split('"').next()).collect();
        assert_eq!(heights.len(), 4);
        assert_ne!(heights[0], heights[1]);
    }

    #[test]
    fn marks_are_named_above_the_plot() {
        let svg = chart(vec![line("dot", Look::Dots, &[(1.0, 1.0)]), line("cross", Look::Crosses, &[(2.0, 2.0)])]);
        assert_eq!(svg.matches("<circle").count(), 4, "one point and one sign, twice");
        assert!(svg.contains("y=\"12\">dot<") && svg.contains("y=\"12\">cross<"), "{svg}");
    }
}
