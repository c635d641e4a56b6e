//! What `handfast doctor` found: one row for each check, in its shape for programs and as a table for people.
//!
//! A row that is in order takes one line; any other says why it matters and what mends it. What a verdict follows from is
//! not here (control).

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What was found out about a machine, or about one interface of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkup {
    /// The version of handfast.
    pub version: String,
    /// The interface that was asked about; `None` if all were.
    pub interface: Option<String>,
    /// True if nothing keeps `serve` from starting: no row is a problem.
    pub serves: bool,
    /// How many rows have each verdict.
    pub verdicts: Verdicts,
    /// The rows, in the order of the list of checks.
    pub checks: Vec<Row>,
}

/// How many rows have each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// In order.
    pub ok: usize,
    /// Serving works, but worse than it could.
    pub warning: usize,
    /// Serving does not start.
    pub problem: usize,
    /// It could not be told.
    pub unknown: usize,
    /// It does not apply here.
    pub skipped: usize,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// In order.
    Ok,
    /// Serving works, but worse than it could.
    Warning,
    /// Serving does not start.
    Problem,
    /// It could not be told; what was found says why.
    Unknown,
    /// It does not apply here; what was found says why.
    Skipped,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "problem",
            Verdict::Unknown => "unknown",
            Verdict::Skipped => "skipped",
        }
    }
}

/// One check and what it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The name of the check.
    pub check: String,
    /// The interface that it is about; `None` if it is about the machine.
    pub interface: Option<String>,
    /// What it came to.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// Why it matters.
    pub why: String,
    /// The command that mends it, or what else to do; `None` if nothing needs mending.
    pub remedy: Option<String>,
}

impl Checkup {
    /// A report of these rows.
    pub fn of(interface: Option<String>, checks: Vec<Row>) -> Self {
        let mut verdicts = Verdicts::default();
        for row in &checks {
            *match row.verdict {
                Verdict::Ok => &mut verdicts.ok,
                Verdict::Warning => &mut verdicts.warning,
                Verdict::Problem => &mut verdicts.problem,
                Verdict::Unknown => &mut verdicts.unknown,
                Verdict::Skipped => &mut verdicts.skipped,
            } += 1;
        }
        let serves = verdicts.problem == 0;
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), interface, serves, verdicts, checks }
    }
}

/// The table for people.
pub fn page(checkup: &Checkup) -> String {
    let subject = |row: &Row| match &row.interface {
        // With one interface asked for, the head of the page names it.
        Some(interface) if checkup.interface.is_none() => format!("{} {interface}", row.check),
        _ => row.check.clone(),
    };
    let width = checkup.checks.iter().map(|row| subject(row).len()).max().unwrap_or(0);
    let what = checkup.interface.as_deref().unwrap_or("this machine");
    let mut page = format!("handfast {} doctor: {what}\n\n", checkup.version);
    let indent = " ".repeat("problem".len() + 2 + width + 2);
    for row in &checkup.checks {
        let _ = writeln!(page, "{:<7}  {:<width$}  {}", row.verdict.word(), subject(row), row.found);
        if matches!(row.verdict, Verdict::Ok | Verdict::Skipped) {
            continue;
        }
        let _ = writeln!(page, "{indent}why:  {}", row.why);
        if let Some(remedy) = &row.remedy {
            let _ = writeln!(page, "{indent}mend: {remedy}");
        }
    }
    let Verdicts { ok, warning, problem, unknown, skipped } = checkup.verdicts;
    let conclusion = match (&checkup.interface, checkup.serves) {
        (Some(interface), true) => format!("serve would start on {interface}"),
        (Some(interface), false) => format!("serve would fail on {interface}"),
        (None, true) => "this machine can serve".to_owned(),
        (None, false) => "this machine cannot serve".to_owned(),
    };
    let _ = writeln!(
        page,
        "\n{conclusion}: {ok} ok, {warning} warning, {problem} problem, {unknown} unknown, {skipped} skipped"
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::json;
    use serde_json::Value;

    fn row(check: &str, interface: Option<&str>, verdict: Verdict) -> Row {
        Row {
            check: check.into(),
            interface: interface.map(Into::into),
            verdict,
            found: format!("what {check} found"),
            why: "It matters.".into(),
            remedy: (verdict == Verdict::Problem).then(|| "mend it".into()),
        }
    }

    fn checkup(interface: Option<&str>) -> Checkup {
        let rows = vec![
            row("kernel", None, Verdict::Ok),
            row("rss", Some("hf0"), Verdict::Skipped),
            row("state", Some("hf0"), Verdict::Problem),
            row("merging", Some("hf0"), Verdict::Unknown),
        ];
        Checkup::of(interface.map(Into::into), rows)
    }

    #[test]
    fn what_is_in_order_takes_a_line_and_the_rest_says_why_and_how_to_mend_it() {
        let expected = "\
handfast VERSION doctor: hf0

ok       kernel   what kernel found
skipped  rss      what rss found
problem  state    what state found
                  why:  It matters.
                  mend: mend it
unknown  merging  what merging found
                  why:  It matters.

serve would fail on hf0: 1 ok, 0 warning, 1 problem, 1 unknown, 1 skipped
";
        assert_eq!(page(&checkup(Some("hf0"))), expected.replace("VERSION", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn without_an_interface_rows_name_theirs() {
        let text = page(&checkup(None));
        assert!(text.contains("doctor: this machine\n") && text.contains("problem  state hf0    what"), "{text}");
        assert!(text.contains("\nthis machine cannot serve: "), "{text}");
        let fine = Checkup::of(None, vec![row("kernel", None, Verdict::Warning)]);
        assert!(fine.serves && page(&fine).contains("\nthis machine can serve: "));
    }

    #[test]
    fn keys_keep_their_names_and_order_and_read_back_the_same() {
        let line = json::line(&checkup(Some("hf0")));
        let value: Value = serde_json::from_str(&line).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&value), ["version", "interface", "serves", "verdicts", "checks"]);
        assert_eq!(keys(&value["verdicts"]), ["ok", "warning", "problem", "unknown", "skipped"]);
        assert_eq!(keys(&value["checks"][0]), ["check", "interface", "verdict", "found", "why", "remedy"]);
        assert_eq!(value["checks"][2]["verdict"], "problem");
        assert_eq!(serde_json::from_str::<Checkup>(&line).unwrap(), checkup(Some("hf0")));
    }
}
