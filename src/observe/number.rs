//! Numbers for people: grouped, with the SI's letters, as shares, as times. What a program reads is the JSON.

use super::text::grouped;

/// With `decimals` and grouped thousands: `12,345.6`. A number that is none is a dash.
pub fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    // What has more digits than a u64 is shown as it is: nobody counts those groups.
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), grouped);
    let sign = if value < 0.0 && text.contains(|c: char| ('1'..='9').contains(&c)) { "-" } else { "" };
    fraction.map_or_else(|| format!("{sign}{whole}"), |fraction| format!("{sign}{whole}.{fraction}"))
}

/// Short, with at most three digits behind the point and the SI's letter: `0`, `12.5k`, `3M`.
pub fn short(value: f64) -> String {
    let letters = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What would be rounded up to the next letter belongs there: 999,999.9 is 1M and not 1000k.
    let (unit, letter) = letters.into_iter().find(|(unit, _)| value.abs() >= unit * 0.999_999_5).unwrap_or((1.0, ""));
    format!("{}{letter}", trimmed(value / unit, 3))
}

/// A time given in microseconds, in the unit in which it has at most three digits before the point: `250 ns`, `1.5 ms`.
pub fn time(us: f64) -> String {
    let units = [(1e6, "s"), (1e3, "ms"), (1.0, "µs")];
    let (unit, name) = units.into_iter().find(|(unit, _)| us.abs() >= unit * 0.999_5).unwrap_or((1e-3, "ns"));
    let value = us / unit;
    let decimals = if value.abs() < 9.995 { 2 } else { usize::from(value.abs() < 99.95) };
    format!("{} {name}", trimmed(value, decimals))
}

/// A part of a whole in percent. What is neither none nor all is not rounded to look like it.
pub fn share(part: f64, whole: f64) -> String {
    let percent = part / whole * 100.0;
    if !percent.is_finite() {
        "–".to_owned()
    } else if percent > 0.0 && percent < 0.01 {
        "< 0.01 %".to_owned()
    } else if percent < 100.0 && percent > 99.99 {
        "> 99.99 %".to_owned()
    } else {
        format!("{} %", trimmed(percent, 2))
    }
}

/// With up to `decimals`, without zeros at the end.
pub fn trimmed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_rounded() {
        for (value, decimals, text) in [
            (0.0, 0, "0"),
            (-0.04, 1, "0.0"),
            (-1_234.56, 1, "-1,234.6"),
            (999.95, 1, "1,000.0"),
            (1e21, 0, "1000000000000000000000"),
            (f64::NAN, 1, "–"),
            (f64::INFINITY, 1, "–"),
        ] {
            assert_eq!(fixed(value, decimals), text);
        }
    }

    #[test]
    fn short_numbers_have_the_letters_of_the_si() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (999.0, "999"),
            (1_000.0, "1k"),
            (12_500.0, "12.5k"),
            (999_999.9, "1M"),
            (-2e6, "-2M"),
            (1.8e19, "18E"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        for (us, text) in [
            (0.0, "0 ns"),
            (0.25, "250 ns"),
            (1.0, "1 µs"),
            (12.34, "12.3 µs"),
            (999.7, "1 ms"),
            (1_500.0, "1.5 ms"),
            (2e6, "2 s"),
            (3.6e9, "3,600 s"),
        ] {
            assert_eq!(time(us), text);
        }
    }

    #[test]
    fn a_share_is_not_rounded_to_none_or_all() {
        for (part, whole, text) in [
            (0.0, 10.0, "0 %"),
            (10.0, 10.0, "100 %"),
            (1.0, 1e9, "< 0.01 %"),
            (1e9 - 1.0, 1e9, "> 99.99 %"),
            (1.0, 3.0, "33.33 %"),
            (0.0, 0.0, "–"),
        ] {
            assert_eq!(share(part, whole), text);
        }
    }
}
