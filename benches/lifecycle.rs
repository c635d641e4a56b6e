//! Whole connections through a worker over memory, and the same through smoltcp. `cargo bench --bench lifecycle`
//!
//! The throughput is in received segments; a connection has four.
#![allow(missing_docs, reason = "criterion's macros make a public function without one")]

mod world;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use world::smol::Smol;
use world::{Family, Order, Population, Setup};

fn quick(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
}

fn handfast(c: &mut Criterion) {
    let mut group = c.benchmark_group("handfast");
    quick(&mut group);
    for (size, flows) in [("16 Ki", 1 << 14), ("1 Mi", 1 << 20), ("8 Mi", 1 << 23)] {
        for (order, name) in [(Order::Hot, "the same 64"), (Order::Random, "random")] {
            for (family, family_name) in [(Family::V4, "v4"), (Family::V6, "v6")] {
                let setup = Setup { family, ..Setup::new(flows, order) };
                bench(&mut group, &format!("{size} flows, {name}, {family_name}"), &setup);
            }
        }
    }
    bench(
        &mut group,
        "16 Ki flows, random, v4, all options",
        &Setup { options: true, ..Setup::new(1 << 14, Order::Random) },
    );
    bench(&mut group, "1,000 connections", &Setup { load: 1.0, ..Setup::new(750, Order::Random) });
    bench(&mut group, "1 connection", &Setup { burst: 1, ..Setup::new(2, Order::Hot) });
    group.finish();
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, setup: &Setup) {
    let mut population = Population::new(setup);
    group.throughput(Throughput::Elements(u64::from(setup.burst)));
    group.bench_function(name, |b| b.iter_custom(|bursts| population.run(bursts)));
}

fn smoltcp(c: &mut Criterion) {
    let mut group = c.benchmark_group("smoltcp");
    quick(&mut group);
    for (name, sockets, burst) in [("1,000 sockets", 1_000, 64_u32), ("1 socket", 1, 1)] {
        let mut host = Smol::new(sockets, burst);
        group.throughput(Throughput::Elements(u64::from(burst)));
        group.bench_function(name, |b| b.iter_custom(|bursts| host.run(bursts)));
    }
    group.finish();
}

criterion_group!(benches, handfast, smoltcp);
criterion_main!(benches);
