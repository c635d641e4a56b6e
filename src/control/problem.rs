//! What is wrong before anything runs, in the form in which a person reads it: all of it at once, each with its cause
//! and what to do.

use super::check::Check;
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What was tried, or which option with which value: `--flows 0`, `hf.toml:3: flows = 0`, `interface eth7`.
    pub what: String,
    /// Why that does not do.
    pub cause: String,
    /// What to do about it, if the cause does not say so already.
    pub remedy: Option<String>,
    /// The check that it belongs to; `None` where only a configuration is wrong.
    pub check: Option<Check>,
}

impl Problem {
    /// A problem whose cause says what to do.
    pub fn new(what: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { what: what.into(), cause: cause.into(), remedy: None, check: None }
    }

    /// The same problem with a remedy.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// The same problem as a finding of that check.
    #[must_use]
    pub fn of(self, check: Check) -> Self {
        Self { check: Some(check), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.cause)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with one attempt; never empty when it is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// What was attempted, on what: `the configuration`, `interface eth0`.
    pub subject: String,
    /// What is wrong with it, in the order in which it was found.
    pub list: Vec<Problem>,
}

impl Problems {
    /// `Ok` with `value` if nothing is wrong.
    pub fn none_or<T>(subject: impl Into<String>, list: Vec<Problem>, value: T) -> Result<T, Problems> {
        if list.is_empty() { Ok(value) } else { Err(Self { subject: subject.into(), list }) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.list.len() == 1 { "problem" } else { "problems" };
        write!(f, "{}: {} {plural}", self.subject, self.list.len())?;
        for problem in &self.list {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_listed_each_on_a_line_of_its_own() {
        let list = vec![Problem::new("--flows 0", "must be at least 1"), Problem::new("a", "b").remedy("do c")];
        let text = Problems::none_or("the configuration", list, ()).unwrap_err().to_string();
        assert_eq!(text, "the configuration: 2 problems\n  --flows 0: must be at least 1\n  a: b; do c");
        assert_eq!(Problems::none_or("x", Vec::new(), 7), Ok(7));
    }
}
