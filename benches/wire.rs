//! Bytes and meaning: reading and writing one frame, sums, hashes. `cargo bench --bench wire`
#![allow(missing_docs, reason = "criterion's macros make a public function without one")]

mod world;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use handfast::flow::hash::FlowHasher;
use handfast::tcp::isn::IsnGenerator;
use handfast::time::Now;
use handfast::wire::checksum::Sum;
use handfast::wire::parse::{PartialChecksums, parse, parse_stepwise};
use handfast::wire::reply::{Addressing, write};
use std::hint::black_box;
use world::Family;
use world::samples::{NONE, SYN_OPTIONS, TIMESTAMPS, frame, reply, tuple};

const SEGMENTS: [(&str, Family, handfast::wire::options::Options); 6] = [
    ("v4, no options", Family::V4, NONE),
    ("v4, timestamps", Family::V4, TIMESTAMPS),
    ("v4, SYN with all options", Family::V4, SYN_OPTIONS),
    ("v6, no options", Family::V6, NONE),
    ("v6, timestamps", Family::V6, TIMESTAMPS),
    ("v6, SYN with all options", Family::V6, SYN_OPTIONS),
];

fn parsing(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    for (name, family, options) in SEGMENTS {
        let frame = frame(family, 1, options);
        group.bench_function(name, |b| b.iter(|| parse(black_box(&frame), PartialChecksums::Refuse)));
    }
    let frame = frame(Family::V4, 1, NONE);
    group
        .bench_function("v4, step by step", |b| b.iter(|| parse_stepwise(black_box(&frame), PartialChecksums::Refuse)));
    group.finish();
}

fn writing(c: &mut Criterion) {
    let mut group = c.benchmark_group("write_reply");
    group.throughput(Throughput::Elements(1));
    for (name, family, options) in SEGMENTS {
        let received = parse(&frame(family, 1, options), PartialChecksums::Refuse).expect("a legal frame");
        let (to, reply) = (Addressing::answering(&received), reply(options));
        let mut out = [0; 160];
        group
            .bench_function(name, |b| b.iter(|| write(black_box(&mut out), black_box(&to), black_box(&reply), |_| {})));
    }
    group.finish();
}

fn sums(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for len in [20, 64, 1_460] {
        let bytes = vec![0x5a; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("{len} bytes"), |b| b.iter(|| Sum::default().bytes(black_box(&bytes)).checksum()));
    }
    // What a template's sum needs for the words that changed.
    let template = Sum::default().bytes(&[0x5a; 40]);
    group.throughput(Throughput::Bytes(12));
    group.bench_function("three words added to a known sum", |b| {
        b.iter(|| {
            black_box(template).double_word(black_box(1)).double_word(black_box(2)).double_word(black_box(3)).checksum()
        });
    });
    group.finish();
}

fn hashes(c: &mut Criterion) {
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Elements(1));
    let (hasher, isn) = (FlowHasher::new([1, 2]), IsnGenerator::new([3; 16]));
    for (name, family) in [("v4", Family::V4), ("v6", Family::V6)] {
        let tuple = tuple(family, 7);
        group.bench_function(format!("flow, {name}"), |b| b.iter(|| hasher.hash(black_box(&tuple))));
        group.bench_function(format!("initial sequence number, {name}"), |b| {
            b.iter(|| isn.isn(black_box(&tuple), Now(5)))
        });
    }
    group.finish();
}

criterion_group!(benches, parsing, writing, sums, hashes);
criterion_main!(benches);
