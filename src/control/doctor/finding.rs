//! What a check came to, and how what preflight says takes its place among the findings.

use crate::control::check::Check;
use crate::control::problem::Problem;
use crate::observe::checkup::{Row, Verdict};

/// What one check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// What it came to.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What mends it.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(check: Check, verdict: Verdict, found: impl Into<String>, remedy: Option<String>) -> Self {
        Self { check, verdict, found: found.into(), remedy }
    }

    /// In order.
    pub fn ok(check: Check, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, found, None)
    }

    /// Serving works, but worse than it could.
    pub fn warning(check: Check, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warning, found, Some(remedy.into()))
    }

    /// Serving does not start.
    pub fn problem(check: Check, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Verdict::Problem, found, Some(remedy.into()))
    }

    /// It cannot be told; `reason` says why.
    pub fn unknown(check: Check, reason: impl Into<String>) -> Self {
        Self::new(check, Verdict::Unknown, reason, None)
    }

    /// It does not apply; `reason` says why.
    pub fn skipped(check: Check, reason: impl Into<String>) -> Self {
        Self::new(check, Verdict::Skipped, reason, None)
    }

    /// The same finding with something to do about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// The finding as a row of a report, about `interface` or about the machine.
    pub fn row(self, interface: Option<&str>) -> Row {
        Row {
            check: self.check.name().to_owned(),
            interface: interface.map(str::to_owned),
            verdict: self.verdict,
            found: self.found,
            why: self.check.why().to_owned(),
            remedy: self.remedy,
        }
    }
}

impl From<Problem> for Finding {
    /// Every problem of preflight keeps `serve` from starting, whatever it is about.
    fn from(problem: Problem) -> Self {
        let Problem { what, cause, remedy, check } = problem;
        Self::new(check.unwrap_or(Check::Preflight), Verdict::Problem, format!("{what}: {cause}"), remedy)
    }
}

/// Puts each problem in the place of the finding of its check. None is lost: a second one of the same check, or one whose
/// check has no finding, stands beside.
pub fn settle(findings: &mut Vec<Finding>, problems: Vec<Problem>) {
    for problem in problems.into_iter().map(Finding::from) {
        let same = |finding: &&mut Finding| finding.check == problem.check && finding.verdict != Verdict::Problem;
        match findings.iter_mut().find(same) {
            Some(finding) => *finding = problem,
            None => findings.push(problem),
        }
    }
    // A stable sort: what was found first of one check stays first.
    findings.sort_by_key(|finding| Check::ALL.iter().position(|check| *check == finding.check));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_problem_of_preflight_is_lost() {
        let mut findings = vec![Finding::ok(Check::Kernel, "6.18"), Finding::warning(Check::Mtu, "small", "raise it")];
        let problem = |what: &str| Problem::new(what, "is wrong").remedy("mend it");
        let problems = vec![
            problem("mtu 1").of(Check::Mtu),
            problem("mtu 2").of(Check::Mtu),
            problem("state").of(Check::State),
            problem("new"),
        ];
        settle(&mut findings, problems);
        let found: Vec<_> = findings.iter().map(|finding| (finding.check, finding.found.as_str())).collect();
        let expected = [
            (Check::Kernel, "6.18"),
            (Check::State, "state: is wrong"),
            (Check::Mtu, "mtu 1: is wrong"),
            (Check::Mtu, "mtu 2: is wrong"),
            (Check::Preflight, "new: is wrong"),
        ];
        assert_eq!(found, expected);
        assert!(findings[1..].iter().all(|finding| finding.verdict == Verdict::Problem && finding.remedy.is_some()));
    }
}
