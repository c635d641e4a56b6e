//! Horizontal bars from zero, each with its name above it, its value behind it and, where it has one, its spread as a
//! whisker. Names stand above the bars so that a long one fits on any screen.

use super::super::page::{Colour, escape};
use super::{Axis, LINE, Size, both, fitting, inside, ticks_in, width_of_name};
use std::fmt::Write as _;

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it is called.
    pub name: String,
    /// Its length; of several runs the median.
    pub value: f64,
    /// The least and the most of several runs.
    pub spread: Option<(f64, f64)>,
    /// What is written behind it: the value as people read it.
    pub text: String,
    /// Its colour.
    pub colour: Colour,
}

/// A chart of bars.
#[derive(Clone, Debug)]
pub struct BarChart {
    /// What a screen reader says first.
    pub title: String,
    /// What it says then: the chart's message in a sentence.
    pub summary: String,
    /// What the bars' length counts, with its unit.
    pub label: String,
    /// The bars, from the top.
    pub bars: Vec<Bar>,
}

/// Height of a bar.
const THICK: f64 = 18.0;
/// From one bar's name to the next one's.
const PITCH: f64 = LINE + THICK + 13.0;
/// Room below the last bar for ticks and the label.
const BELOW: f64 = 44.0;

impl BarChart {
    /// The chart as SVG.
    pub fn svg(&self) -> String {
        both(&self.title, &self.summary, |size| self.draw(size))
    }

    fn draw(&self, size: Size) -> (f64, String) {
        let mut svg = String::new();
        let bottom = self.bars.iter().fold(4.0, |height, _| height + PITCH);
        let axis = Axis::from_zero(&self.label, self.longest(), 6, super::super::number::short);
        // Behind the longest bar there has to be room for the widest text.
        let texts = self.bars.iter().map(|bar| width_of_name(&bar.text)).fold(0.0, f64::max);
        let (left, right) = (4.0, size.width - texts - 14.0);
        let x = |value: f64| left + axis.place(value) * (right - left);
        let ticks = axis.ticks(ticks_in(right - left, size.pixels_a_tick));
        let ticks: Vec<(f64, String)> =
            ticks.into_iter().filter_map(|tick| Some((left + tick.place * (right - left), tick.text?))).collect();
        for (i, (x, text)) in fitting(&ticks).into_iter().enumerate() {
            let (y, text, anchor) = (bottom + LINE, escape(text), if i == 0 { "start" } else { "middle" });
            let text_x = if i == 0 { 0.0 } else { x };
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} 4V{bottom:.1}\"/>\
                 <text class=\"soft\" x=\"{text_x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
            );
        }
        let mut top = 4.0;
        for bar in &self.bars {
            draw_bar(&mut svg, bar, top, &x);
            top += PITCH;
        }
        let (middle, y, label) =
            (inside((left + right) / 2.0, &self.label, size), bottom + LINE * 2.0 + 4.0, escape(&self.label));
        let _ = writeln!(
            svg,
            "<path class=\"base\" d=\"M{left:.1} 4V{bottom:.1}\"/>\
             <text class=\"soft\" x=\"{middle:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>"
        );
        (bottom + BELOW, svg)
    }

    /// The largest value that any bar or whisker reaches.
    fn longest(&self) -> f64 {
        let ends = self.bars.iter().flat_map(|bar| [bar.value, bar.spread.map_or(0.0, |(_, most)| most)]);
        ends.filter(|value| value.is_finite()).fold(0.0, f64::max)
    }
}

/// One bar whose name begins at `top`.
fn draw_bar(svg: &mut String, bar: &Bar, top: f64, x: &impl Fn(f64) -> f64) {
    let (class, name, text) = (bar.colour.class(), escape(&bar.name), escape(&bar.text));
    let (y, middle) = (top + LINE + 2.0, top + LINE + 2.0 + THICK / 2.0);
    let (zero, end) = (x(0.0), x(bar.value));
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\">{name}</text>\
         <path class=\"fill {class}\" d=\"M{zero:.1} {y:.1}H{end:.1}v{THICK:.1}H{zero:.1}Z\"/>",
        zero + 2.0,
        top + 13.0
    );
    let mut behind = end;
    if let Some((least, most)) = bar.spread {
        let (least, most) = (x(least), x(most));
        let top = middle - 5.0;
        let path = format!("M{least:.1} {middle:.1}H{most:.1}M{least:.1} {top:.1}v10M{most:.1} {top:.1}v10");
        // What lies over the bar would not be seen on a dark one without an edge in the colour of the ground.
        let _ = writeln!(svg, "<path class=\"edge\" d=\"{path}\"/><path class=\"whisker\" d=\"{path}\"/>");
        behind = behind.max(most);
    }
    let _ =
        writeln!(svg, "<text class=\"name {class}\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", behind + 6.0, middle + 4.5);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(bars: Vec<Bar>) -> String {
        BarChart { title: "t".into(), summary: "s".into(), label: "connections/s".into(), bars }.svg()
    }

    fn bar(name: &str, value: f64, spread: Option<(f64, f64)>) -> Bar {
        Bar { name: name.into(), value, spread, text: format!("{value}"), colour: Colour::Blue }
    }

    /// The horizontal end of each bar in the wide chart.
    fn ends(svg: &str) -> Vec<f64> {
        let (wide, _) = svg.split_once("</svg>").unwrap();
        let bars = wide.split("fill blue\" d=\"M4.0 ").skip(1);
        bars.map(|bar| bar.split(['H', 'v']).nth(1).unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let ends = ends(&chart(vec![bar("a", 100.0, None), bar("b", 50.0, None), bar("c", 0.0, None)]));
        assert!((ends[0] - 4.0 - 2.0 * (ends[1] - 4.0)).abs() < 0.2, "{ends:?}");
        assert!((ends[2] - 4.0).abs() < 0.01, "{ends:?}");
    }

    #[test]
    fn a_whisker_runs_from_the_least_to_the_most_and_fits() {
        let svg = chart(vec![bar("a", 100.0, Some((90.0, 190.0))), bar("b", 50.0, None)]);
        assert_eq!(svg.matches("class=\"whisker\"").count(), 2, "one bar has a spread, drawn in two sizes");
        let axis = Axis::from_zero("", 190.0, 5, |_| String::new());
        assert!((axis.place(190.0) - 0.95).abs() < 0.01);
        assert!(svg.contains(">200<"), "{svg}");
    }

    #[test]
    fn names_are_escaped_and_nothing_draws_nothing() {
        assert!(chart(vec![bar("<b>", 1.0, None)]).contains(">&lt;b&gt;<"));
        for value in [0.0, f64::NAN, f64::INFINITY] {
            let svg = chart(vec![Bar { text: String::new(), ..bar("a", value, None) }]);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert!(chart(Vec::new()).contains("connections/s"));
    }
}
