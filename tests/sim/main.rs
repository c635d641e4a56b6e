//! Runs.
mod smol;

use handfast::sim::scenario::Scenario;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let from: u64 = args[1].parse().unwrap();
    let to: u64 = args[2].parse().unwrap();
    let mut complete = 0;
    for seed in from..to {
        let began = std::time::Instant::now();
        let scenario = Scenario::from_seed(seed, true);
        match scenario.run(Some(&smol::Smol::boxed), || 0) {
            Ok(summary) => {
                complete += usize::from(summary.complete);
                if args.len() > 3 {
                    println!(
                        "{seed} {:?} {:?} steps {} events {} {:?} complete {} est {} {} us",
                        scenario.cast,
                        scenario.malice,
                        summary.steps,
                        summary.events,
                        summary.lasted.0 / 1_000_000_000,
                        summary.complete,
                        summary.counters.established,
                        began.elapsed().as_micros()
                    );
                }
            }
            Err(failure) => println!("SEED {seed} {:?} {:?}\n{failure}", scenario.cast, scenario.malice),
        }
    }
    println!("complete {complete}");
}
