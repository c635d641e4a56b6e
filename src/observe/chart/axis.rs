//! Axes: where a value stands on them, and which values are written beside them. Nothing is drawn here.

use super::super::number;

/// How an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Log,
}

/// One axis of a chart.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it counts, with its unit.
    pub label: String,
    scale: Scale,
    low: f64,
    high: f64,
    written: fn(f64) -> String,
    /// Most intervals between ticks, so that an axis ends at one of them.
    most: u32,
    /// Places with a text of their own, for an axis that does not write what it counts.
    named: Vec<(f64, String)>,
}

/// A value that is marked beside an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where, as a part of the axis.
    pub place: f64,
    /// What is written there; nothing where there is a line only.
    pub text: Option<String>,
}

/// Most ticks that an axis has, whatever it is asked for.
const MOST_TICKS: u32 = 40;

impl Axis {
    /// From `low` to `high`, evenly. `written` makes the text of a tick.
    pub fn linear(label: &str, low: f64, high: f64, written: fn(f64) -> String) -> Self {
        // A chart of nothing, or of a single value, still has an axis.
        let high = if high.is_finite() && high > low { high } else { low + 1.0 };
        Self { label: label.to_owned(), scale: Scale::Linear, low, high, written, most: MOST_TICKS, named: Vec::new() }
    }

    /// From 0 evenly up to the first round value that is not below `high`, in at most `steps` round steps.
    pub fn from_zero(label: &str, high: f64, steps: u32, written: fn(f64) -> String) -> Self {
        let mut axis = Self { most: steps, ..Self::linear(label, 0.0, high, written) };
        let step = round_step(axis.high / f64::from(steps.max(1)));
        axis.high = (axis.high / step - 1e-9).ceil() * step;
        axis
    }

    /// Every factor of ten as long as every other, from the round value below `low` to the one above `high`. What is not
    /// above zero has no place on it and is drawn at its lower end.
    pub fn log(label: &str, low: f64, high: f64, written: fn(f64) -> String) -> Self {
        let low = if low.is_finite() && low > 0.0 { low } else { 1.0 };
        let high = if high.is_finite() && high > low { high } else { low };
        let (mut low, mut high) = (round_down(low), 1.0 / round_down(1.0 / high));
        if high / low < 4.0 {
            // A single value stands in the middle.
            (low, high) = (low / 2.0, high * 2.0);
        }
        Self { label: label.to_owned(), scale: Scale::Log, low, high, written, most: MOST_TICKS, named: Vec::new() }
    }

    /// Shares in percent, on the scale on which tails are looked at: 90, 99, 99.9 percent and so on are equally far apart. Values on it
    /// come from [`Axis::tail`]; `last` is the largest of them, and the longest of all stands beyond it.
    pub fn percentiles(label: &str, last: f64) -> Self {
        let last = if last.is_finite() { last.max(1.0) } else { 1.0 };
        let high = Self::beyond(last);
        let nines = std::iter::successors(Some(1.0), |nines| Some(nines + 1.0)).take(9);
        let mut named = vec![(0.5f64.recip().log10(), "50".to_owned())];
        named.extend(nines.take_while(|nines| *nines <= last + 0.01).map(|nines| {
            let percent = 100.0 - 10f64.powf(2.0 - nines);
            (nines, number::trimmed(percent, 9))
        }));
        named.push((high, "max".to_owned()));
        Self {
            label: label.to_owned(),
            scale: Scale::Linear,
            low: 0.0,
            high,
            written: number::short,
            most: MOST_TICKS,
            named,
        }
    }

    /// Where a share of less than 1 stands on [`Axis::percentiles`].
    pub fn tail(share: f64) -> f64 {
        -(1.0 - share.clamp(0.0, 1.0)).log10()
    }

    /// Where the longest of all stands on [`Axis::percentiles`].
    pub fn beyond(last: f64) -> f64 {
        last.max(1.0) + 0.4
    }

    /// Where a value stands, as a part of the axis; at an end, if it lies beyond it.
    pub fn place(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).log10() / (self.high / self.low).log10(),
        };
        if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Round values along the axis, about as many as wanted.
    pub fn ticks(&self, wanted: u32) -> Vec<Tick> {
        let wanted = wanted.min(self.most);
        let named = self.named.iter().map(|(value, text)| (*value, Some(text.clone())));
        let values: Vec<(f64, Option<String>)> = match self.scale {
            _ if !self.named.is_empty() => named.collect(),
            Scale::Linear => {
                let values = linear_ticks(self.low, self.high, wanted);
                values.into_iter().map(|value| (value, Some((self.written)(value)))).collect()
            }
            Scale::Log => {
                let values = log_ticks(self.low, self.high, wanted);
                values.into_iter().map(|(value, written)| (value, written.then(|| (self.written)(value)))).collect()
            }
        };
        values.into_iter().map(|(value, text)| Tick { place: self.place(value), text }).collect()
    }
}

/// The round step (1, 2 or 5 times a power of ten) that is at least `wanted`.
fn round_step(wanted: f64) -> f64 {
    let power = 10f64.powf(wanted.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    factors.into_iter().map(|factor| factor * power).find(|step| *step >= wanted * 0.999_999).unwrap_or(wanted)
}

/// The largest 1, 2 or 5 times a power of ten that is at most `value`.
fn round_down(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let factors = [5.0, 2.0, 1.0];
    factors.into_iter().map(|factor| factor * power).find(|round| *round <= value * 1.000_001).unwrap_or(power)
}

/// Multiples of a round step from `low` to `high`, at most `wanted` and one.
fn linear_ticks(low: f64, high: f64, wanted: u32) -> Vec<f64> {
    let step = round_step((high - low) / f64::from(wanted.max(1)));
    let first = (low / step - 1e-9).ceil();
    let values = (0..MOST_TICKS).map(|i| (first + f64::from(i)) * step);
    values.take_while(|value| *value <= high + step * 1e-6).collect()
}

/// Powers of ten from `low` to `high`, each with whether it is written. Where they are few, 2 and 5 times a power as well:
/// written if there is room, and as lines only if not. Where they are many, some are left out.
fn log_ticks(low: f64, high: f64, wanted: u32) -> Vec<(f64, bool)> {
    let decades = (high / low).log10();
    let every = (decades / f64::from(wanted.max(1))).ceil().max(1.0);
    let write_all = decades * 3.0 <= f64::from(wanted);
    let first = low.log10().floor();
    let mut ticks = Vec::new();
    for i in 0..MOST_TICKS {
        let power = 10f64.powf(first + f64::from(i) * every);
        let factors: &[f64] = if every > 1.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        ticks.extend(factors.iter().map(|factor| (factor * power, *factor == 1.0 || write_all)));
    }
    ticks.retain(|(value, _)| *value >= low * 0.999_999 && *value <= high * 1.000_001);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis, wanted: u32) -> String {
        let texts: Vec<String> = axis.ticks(wanted).into_iter().filter_map(|tick| tick.text).collect();
        texts.join(" ")
    }

    #[test]
    fn linear_ticks_are_round_and_about_as_many_as_wanted() {
        for (low, high, wanted, expected) in [
            (0.0, 10.0, 5, "0 2 4 6 8 10"),
            (0.0, 1.0, 5, "0 0.2 0.4 0.6 0.8 1"),
            (0.0, 0.3, 3, "0 0.1 0.2 0.3"),
            (0.0, 7.3, 5, "0 2 4 6"),
            (0.0, 59.7, 6, "0 10 20 30 40 50"),
            (3.0, 17.0, 4, "5 10 15"),
            (0.0, 198_734.0, 4, "0 50k 100k 150k"),
            (0.0, 1.8e19, 4, "0 5E 10E 15E"),
            (5.0, 5.0, 5, "5 5.2 5.4 5.6 5.8 6"),
            (0.0, f64::NAN, 2, "0 0.5 1"),
            (0.0, 100.0, 0, "0 100"),
        ] {
            assert_eq!(texts(&Axis::linear("", low, high, number::short), wanted), expected, "{low} to {high}");
        }
    }

    #[test]
    fn an_axis_from_zero_ends_at_a_round_value_that_is_not_exceeded() {
        for (high, expected) in [
            (0.0, "0 0.2 0.4 0.6 0.8 1"),
            (10.0, "0 2 4 6 8 10"),
            (10.1, "0 5 10 15"),
            (97_000.0, "0 20k 40k 60k 80k 100k"),
            (1.0, "0 0.2 0.4 0.6 0.8 1"),
        ] {
            let axis = Axis::from_zero("", high, 5, number::short);
            assert_eq!(texts(&axis, 5), expected, "{high}");
            assert!(axis.place(high) <= 1.0 && axis.ticks(5).last().unwrap().place > 0.999, "{high}");
        }
    }

    #[test]
    fn log_ticks_are_powers_of_ten_unless_they_are_too_few_or_too_many() {
        for (low, high, wanted, expected) in [
            (10.0, 10_000.0, 6, "10 µs 100 µs 1 ms 10 ms"),
            (37.0, 62.0, 6, "20 µs 50 µs 100 µs"),
            (37.0, 420.0, 6, "20 µs 50 µs 100 µs 200 µs 500 µs"),
            (0.3, 70_000.0, 6, "1 µs 10 µs 100 µs 1 ms 10 ms 100 ms"),
            (1.0, 1e9, 4, "1 µs 1 ms 1 s 1,000 s"),
            (5.0, 5.0, 6, "5 µs 10 µs"),
            (0.0, 0.0, 6, "500 ns 1 µs 2 µs"),
            (f64::NAN, f64::INFINITY, 6, "500 ns 1 µs 2 µs"),
        ] {
            assert_eq!(texts(&Axis::log("", low, high, number::time), wanted), expected, "{low} to {high}");
        }
    }

    #[test]
    fn values_stand_in_proportion_and_never_outside() {
        let linear = Axis::linear("", 0.0, 10.0, number::short);
        let log = Axis::log("", 1.0, 10_000.0, number::short);
        for (axis, value, expected) in [
            (&linear, 2.5, 0.25),
            (&linear, -1.0, 0.0),
            (&linear, 11.0, 1.0),
            (&linear, f64::NAN, 0.0),
            (&log, 100.0, 0.5),
            (&log, 0.0, 0.0),
            (&log, f64::INFINITY, 0.0),
        ] {
            assert!((axis.place(value) - expected).abs() < 1e-9, "{value} at {}", axis.place(value));
        }
    }

    #[test]
    fn each_further_nine_is_as_far_as_the_one_before() {
        let axis = Axis::percentiles("", Axis::tail(0.9999));
        assert_eq!(texts(&axis, 0), "50 90 99 99.9 99.99 max");
        let places: Vec<f64> = axis.ticks(0).iter().map(|tick| tick.place).collect();
        assert!((places[2] - places[1] - (places[4] - places[3])).abs() < 1e-9);
        assert!(places[5] > places[4]);
        assert_eq!(texts(&Axis::percentiles("", 0.0), 0), "50 90 max");
        assert!(texts(&Axis::percentiles("", Axis::tail(1.0)), 0).ends_with("max"), "a share of 1 is not finite there");
    }
}
