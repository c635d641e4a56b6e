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

/// Starts logging for the whole process; `RUST_LOG` comes before `verbosity`. Does nothing if logging runs already.
pub fn start(format: LogFormat, verbosity: i16) {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .try_from_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,handfast={}", level(verbosity))));
    let stderr = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => stderr.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => stderr.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging runs already");
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
}
