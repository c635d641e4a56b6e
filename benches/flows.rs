//! Flow table and timers at three sizes. `cargo bench --bench flows`
#![allow(missing_docs, reason = "criterion's macros make a public function without one")]

mod world;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use handfast::flow::Slot;
use handfast::time::Tick;
use handfast::timer::Wheel;
use std::hint::black_box;
use std::time::{Duration, Instant};
use world::samples::Table;
use world::{Family, Random};

const SIZES: [(&str, u32); 3] = [("16 Ki", 1 << 14), ("1 Mi", 1 << 20), ("8 Mi", 1 << 23)];
const BURST: u32 = 64;

fn finding(c: &mut Criterion) {
    let mut group = c.benchmark_group("find");
    group.throughput(Throughput::Elements(u64::from(BURST)));
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for (name, capacity) in SIZES {
        for load in [0.5, 0.9] {
            let mut table = Table::new(capacity, load, Family::V4);
            let hot = table.burst(true);
            group.bench_function(format!("{name}, load {load}, hit, the same burst"), |b| {
                b.iter(|| table.find(black_box(&hot)))
            });
            for (what, there) in [("hit", true), ("miss", false)] {
                group.bench_function(format!("{name}, load {load}, {what}, random"), |b| {
                    b.iter_custom(|times| (0..times).map(|_| find_once(&mut table, there)).sum());
                });
            }
        }
    }
    group.finish();
}

/// The time that one burst's look-up takes.
fn find_once(table: &mut Table, there: bool) -> Duration {
    let burst = table.burst(there);
    let began = Instant::now();
    let found = black_box(table.find(black_box(&burst)));
    let took = began.elapsed();
    assert_eq!(found, if there { burst.len() } else { 0 });
    took
}

fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers");
    group.throughput(Throughput::Elements(u64::from(BURST)));
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for (name, slots) in SIZES {
        let mut wheel = Wheel::new(slots, Tick(0));
        for slot in 0..slots {
            wheel.start(Slot(slot), Tick(60_000));
        }
        let mut random = Random::new(5);
        group.bench_function(format!("{name}, deadline moved away"), |b| {
            let pick = || -> Vec<u32> { (0..BURST).map(|_| random.below(slots)).collect() };
            b.iter_batched(
                pick,
                |burst| burst.iter().for_each(|slot| wheel.arm(Slot(*slot), Tick(61_000))),
                BatchSize::SmallInput,
            );
        });
        let mut wheel = Wheel::new(slots, Tick(0));
        let mut now = Tick(0);
        group.bench_function(format!("{name}, armed and expired"), |b| {
            b.iter(|| {
                for slot in 0..BURST {
                    wheel.start(Slot(slot * (slots / BURST)), now + 5);
                }
                now = now + 5;
                while wheel.expired(now).is_some() {}
            });
        });
    }
    group.finish();
}

criterion_group!(benches, finding, timers);
criterion_main!(benches);
