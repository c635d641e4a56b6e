//! Names the seed of a run that does not come to its end: an endless loop breaks no rule, because rules are checked after steps.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// A run takes milliseconds; one that takes this long, on whatever machine, is in a loop.
const ENDLESS: Duration = Duration::from_secs(120);

/// What each thread runs, since when.
static RUNNING: LazyLock<Mutex<HashMap<ThreadId, (u64, Instant)>>> = LazyLock::new(|| {
    thread::spawn(watch);
    Mutex::default()
});

/// The calling thread begins `seed`, and is done with the one before.
pub fn begins(seed: u64) {
    running().insert(thread::current().id(), (seed, Instant::now()));
}

/// The calling thread is done.
pub fn ends() {
    running().remove(&thread::current().id());
}

fn running() -> std::sync::MutexGuard<'static, HashMap<ThreadId, (u64, Instant)>> {
    RUNNING.lock().expect("nothing panics with the lock held")
}

fn watch() {
    loop {
        thread::sleep(Duration::from_secs(1));
        let endless = running().values().find(|(_, since)| since.elapsed() > ENDLESS).copied();
        if let Some((seed, since)) = endless {
            eprintln!("seed {seed} runs for {} s already: an endless loop", since.elapsed().as_secs());
            std::process::exit(1);
        }
    }
}
