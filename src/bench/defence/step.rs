//! How hard the flood is at a step.

use std::fmt;
use std::str::FromStr;

use crate::control::values::Count;
use crate::flood::args::MAX_RATE;

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many frames a second; none at 0.
    Rate(u64),
    /// As many as the generators' core sends.
    Max,
}

impl Step {
    /// The rate, if there is one.
    pub(super) fn rate(self) -> Option<u64> {
        match self {
            Step::Rate(rate) => Some(rate),
            Step::Max => None,
        }
    }

    /// True if nothing is flooded.
    pub(super) fn is_quiet(self) -> bool {
        self == Step::Rate(0)
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Step::Max);
        }
        let Count(rate) = text.parse().map_err(|_| "must be a rate or `max`, as in 0, 50k or max".to_owned())?;
        if rate <= MAX_RATE { Ok(Step::Rate(rate)) } else { Err(format!("must be at most {MAX_RATE}")) }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Rate(rate) => Count(*rate).fmt(f),
            Step::Max => f.write_str("max"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_written_alike() {
        for text in ["0", "10k", "1M", "max"] {
            assert_eq!(text.parse::<Step>().unwrap().to_string(), text);
        }
        assert!("most".parse::<Step>().unwrap_err().contains("or `max`"));
        assert!("1G".parse::<Step>().is_err());
        assert!(Step::Rate(0).is_quiet() && !Step::Max.is_quiet());
    }
}
