//! Where log lines go: standard error, for people or as JSON. Standard output is for results only.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The level for a number of `-v` less the number of `-q`.
fn level(verbosity: i16) -> &'static str {
    match verbosity {
        ..=-2 => "error",
        -1 => "warn",
        0 => "info",
        1 => "debug",
        2.. => "trace",
    }
}

/// What is logged: what `RUST_LOG` says, else handfast's own lines at the level for `verbosity`; and why the former is not
/// followed, if it is there but wrong.
fn filter(rust_log: Option<&str>, verbosity: i16) -> (EnvFilter, Option<String>) {
    let own = || EnvFilter::new(format!("warn,handfast={}", level(verbosity)));
    match rust_log.filter(|text| !text.is_empty()).map(EnvFilter::try_new) {
        None => (own(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (own(), Some(error.to_string())),
    }
}

/// Starts logging for the whole process; `RUST_LOG` comes before `verbosity`. Does nothing if logging runs already.
pub fn start(format: LogFormat, verbosity: i16) {
    let (filter, complaint) = filter(std::env::var("RUST_LOG").ok().as_deref(), verbosity);
    let stderr = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => stderr.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => stderr.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging runs already");
    }
    if let Some(error) = complaint {
        tracing::warn!("RUST_LOG is not followed: {error}; write it like handfast=debug");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbosity_moves_the_level_both_ways() {
        let levels: Vec<_> = (-3..=3).map(level).collect();
        assert_eq!(levels, ["error", "error", "warn", "info", "debug", "trace", "trace"]);
    }

    #[test]
    fn rust_log_comes_first_and_is_complained_about_when_wrong() {
        let (follows, complaint) = filter(Some("handfast=error"), 2);
        assert_eq!((follows.to_string(), complaint), ("handfast=error".into(), None));
        for unset in [None, Some("")] {
            assert_eq!(filter(unset, 1).0.to_string(), filter(Some("warn,handfast=debug"), 0).0.to_string());
        }
        let (follows, complaint) = filter(Some("handfast=loud"), -1);
        assert_eq!(follows.max_level_hint(), Some(tracing_subscriber::filter::LevelFilter::WARN));
        assert!(complaint.is_some());
    }
}
