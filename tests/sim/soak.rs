//! Seeds without end, for a given time, on every core.

use super::run;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

/// Runs seeds until `time` is over or one fails. The first seed follows from the time of day, so that no two soaks are the same.
pub fn run_for(time: Duration) -> ExitCode {
    let first = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()) << 24;
    let (next, complete, done) = (AtomicU64::new(first), AtomicU64::new(0), AtomicBool::new(false));
    let (began, (failures, failed)) = (Instant::now(), mpsc::channel());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let failure: Option<String> = std::thread::scope(|scope| {
        for _ in 0..cores {
            let failures = failures.clone();
            scope.spawn(|| {
                let failures = failures;
                while !done.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    match run(seed) {
                        Ok(summary) => _ = complete.fetch_add(u64::from(summary.complete), Ordering::Relaxed),
                        Err(report) => _ = failures.send(report),
                    }
                }
            });
        }
        let mut failure = None;
        while failure.is_none() && began.elapsed() < time {
            let left = time.saturating_sub(began.elapsed());
            failure = failed.recv_timeout(left.min(Duration::from_secs(1))).ok();
            let seeds = next.load(Ordering::Relaxed) - first;
            eprintln!("{seeds} seeds in {} s", began.elapsed().as_secs());
        }
        done.store(true, Ordering::Relaxed);
        failure
    });
    let seeds = next.load(Ordering::Relaxed) - first;
    let complete = complete.load(Ordering::Relaxed);
    println!("{seeds} seeds from {first} on in {} s, {complete} of them undisturbed", began.elapsed().as_secs());
    // One that was found while the others came to their end counts, too.
    let failure = failure.or_else(|| failed.try_recv().ok());
    let Some(failure) = failure else { return ExitCode::SUCCESS };
    let _ = writeln!(std::io::stdout(), "{failure}");
    ExitCode::FAILURE
}

/// [`run_for`] a time in words: `30s`, `10m`, `2h`.
pub fn run_words(time: &str) -> ExitCode {
    let (number, unit) = time.split_at(time.len() - usize::from(!time.is_empty()));
    let seconds_each = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        _ => None,
    };
    match number.parse::<u64>().ok().zip(seconds_each) {
        Some((number, seconds)) => run_for(Duration::from_secs(number.saturating_mul(seconds))),
        None => {
            eprintln!("how long to soak is a number with s, m or h, like 30s; not {time:?}");
            ExitCode::from(2)
        }
    }
}
