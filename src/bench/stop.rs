//! How the lab's servers end: by SIGINT, SIGTERM, or the end of their time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use thiserror::Error;

use crate::control::values::Millis;

/// How often the flag is looked at.
const ROUND: Duration = Duration::from_millis(20);

/// Signals that cannot be waited for.
#[derive(Debug, Error)]
#[error("waiting for SIGINT and SIGTERM: {0}")]
pub struct StopError(io::Error);

/// A flag that SIGINT and SIGTERM set.
///
/// # Errors
///
/// If the system takes no handler.
pub(super) fn stop_on_signals() -> Result<Arc<AtomicBool>, StopError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(StopError)?;
    }
    Ok(stop)
}

/// Waits until `stop` is set, the duration is over, or `failed` says that there is nothing to wait for any more.
pub(super) fn wait_for_the_end(stop: &AtomicBool, duration: Option<Millis>, failed: impl Fn() -> bool) {
    let start = Instant::now();
    let over = || duration.is_some_and(|Millis(most)| start.elapsed() >= Duration::from_millis(most));
    while !stop.load(Ordering::Relaxed) && !over() && !failed() {
        thread::sleep(ROUND);
    }
}
