//! Charts as SVG text: lines over an axis ([`LineChart`]) and horizontal bars with whiskers ([`BarChart`]).
//!
//! Each is drawn twice, for wide and for narrow screens, and the page's styles show one of the two; the colours are the
//! styles' too ([`super::page::Colour`]), so that a chart turns dark with its page. There is no interaction: what a reader
//! might want to point at stands in a table beside the chart.

pub mod axis;
pub mod bars;
pub mod lines;

pub use axis::Axis;
pub use bars::{Bar, BarChart};
pub use lines::{Line, LineChart, Look};

use super::page::escape;

/// One of the two sizes that a chart is drawn in. Lengths are in CSS pixels at the size that it is meant for.
#[derive(Clone, Copy, Debug)]
struct Size {
    class: &'static str,
    width: f64,
    /// Pixels of an axis for each tick on it.
    pixels_a_tick: f64,
}

const SIZES: [Size; 2] = [
    Size { class: "wide", width: 880.0, pixels_a_tick: 90.0 },
    Size { class: "narrow", width: 360.0, pixels_a_tick: 44.0 },
];

/// Height of a line of text.
const LINE: f64 = 17.0;

/// The chart in both sizes; `draw` makes its height and what is in it. A screen reader says title and summary.
fn both(title: &str, summary: &str, draw: impl Fn(Size) -> (f64, String)) -> String {
    let (title, summary) = (escape(title), escape(summary));
    let one = |size: Size| {
        let (height, inside) = draw(size);
        let Size { class, width, .. } = size;
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{title}. {summary}\">\n\
             <title>{title}</title>\n<desc>{summary}</desc>\n{inside}</svg>\n"
        )
    };
    SIZES.map(one).concat()
}

/// The wide one of a chart's two pictures as a file of its own.
pub fn file(svg: &str) -> String {
    let wide = svg.split_inclusive("</svg>\n").next().unwrap_or_default();
    let styled = format!("<style>\n{}</style>\n<title>", super::page::picture_styles());
    wide.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1).replacen("<title>", &styled, 1)
}

/// How wide a text is drawn, at most, in pixels. Only the browser knows which font it has: this has room for DejaVu Sans, the
/// widest of the usual ones.
fn width_of(text: &str) -> f64 {
    text.chars().map(|c| if "iljt.,:; |".contains(c) { 5.2 } else { 8.4 }).sum()
}

/// How wide a name is drawn, which is bold.
fn width_of_name(text: &str) -> f64 {
    width_of(text) * 1.13
}

/// The place nearest to `middle` where a text around it does not leave the picture.
fn inside(middle: f64, text: &str, size: Size) -> f64 {
    let half = (width_of(text) / 2.0).min(size.width / 2.0);
    middle.clamp(half, size.width - half)
}

/// How many ticks an axis of this length has room for.
fn ticks_in(length: f64, pixels_a_tick: f64) -> u32 {
    (2..20).take_while(|ticks| f64::from(*ticks) * pixels_a_tick <= length).last().unwrap_or(2)
}

/// The ticks' texts that do not touch one another, as (place in pixels, text); the last one always stays.
fn fitting(ticks: &[(f64, String)]) -> Vec<(f64, &str)> {
    let half = |text: &str| width_of(text) / 2.0 + 5.0;
    let Some(((last_at, last), others)) = ticks.split_last() else { return Vec::new() };
    let mut kept: Vec<(f64, &str)> = Vec::new();
    for (at, text) in others {
        let free_from = kept.last().map_or(f64::NEG_INFINITY, |(at, text)| at + half(text));
        if at - half(text) >= free_from && at + half(text) <= last_at - half(last) {
            kept.push((*at, text));
        }
    }
    kept.push((*last_at, last));
    kept
}

/// Moves places apart until each is `gap` from the next, within `low` to `high` if there is room. Keeps their order.
fn spread(places: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let mut moved = places.to_vec();
    let mut least = low;
    for i in &order {
        moved[*i] = moved[*i].max(least);
        least = moved[*i] + gap;
    }
    let mut most = high;
    for i in order.iter().rev() {
        moved[*i] = moved[*i].min(most);
        most = moved[*i] - gap;
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_drawn_for_wide_and_for_narrow_screens_with_its_title_escaped() {
        let svg = both("a < b", "\"c\"", |size| (size.width / 2.0, "<path/>\n".to_owned()));
        assert!(
            svg.starts_with("<svg class=\"wide\" viewBox=\"0 0 880 440\" role=\"img\" aria-label=\"a &lt; b. &quot;c")
        );
        assert!(svg.contains("<svg class=\"narrow\" viewBox=\"0 0 360 180\""));
        assert_eq!(svg.matches("<title>a &lt; b</title>").count(), 2);
    }

    #[test]
    fn a_chart_can_be_a_file_with_its_own_styles() {
        let svg = file(&both("title", "summary", |_| (10.0, "<path class=\"stroke\"/>\n".to_owned())));
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"wide\""), "{svg}");
        assert_eq!((svg.matches("<svg").count(), svg.matches("</svg>").count()), (1, 1));
        assert!(svg.contains("svg .stroke{") && !svg.contains("display:none"), "{svg}");
    }

    #[test]
    fn texts_that_would_touch_are_left_out_but_for_the_last() {
        let ticks: Vec<(f64, String)> = [0.0, 10.0, 100.0, 190.0, 200.0].map(|at| (at, "123".to_owned())).into();
        let kept: Vec<f64> = fitting(&ticks).iter().map(|(at, _)| *at).collect();
        assert_eq!(kept, [0.0, 100.0, 200.0]);
        assert!(fitting(&[]).is_empty());
    }

    #[test]
    fn a_label_stays_in_the_picture() {
        let narrow = SIZES[1];
        assert!((inside(100.0, "s", narrow) - 100.0).abs() < 0.01);
        assert!((inside(100.0, &"w".repeat(30), narrow) - 126.0).abs() < 0.01);
        assert!((inside(10.0, &"w".repeat(300), narrow) - 180.0).abs() < 0.01, "in the middle, if nothing helps");
    }

    #[test]
    fn labels_move_apart_and_stay_inside() {
        assert_eq!(spread(&[50.0, 10.0], 10.0, 0.0, 100.0), [50.0, 10.0]);
        assert_eq!(spread(&[50.0, 52.0, 51.0], 10.0, 0.0, 100.0), [50.0, 70.0, 60.0]);
        assert_eq!(spread(&[99.0, 100.0], 10.0, 0.0, 100.0), [90.0, 100.0]);
        assert_eq!(spread(&[], 10.0, 0.0, 100.0), [0.0; 0]);
    }

    #[test]
    fn an_axis_gets_the_ticks_that_it_has_room_for() {
        for (length, expected) in [(0.0, 2), (300.0, 3), (800.0, 8), (1e9, 19)] {
            assert_eq!(ticks_in(length, 100.0), expected);
        }
    }
}
