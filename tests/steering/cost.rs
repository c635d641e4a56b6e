//! What answering a SYN costs, beside a reflector that only swaps addresses and ports: a run of the program in ns, and frames a
//! second over a veth pair. Measurements, not tests; docs/performance.md has the figures:
//!
//!     cargo test --release --test steering -- --ignored --nocapture --test-threads 1 cost::

use crate::answers::Syn;
use crate::attach::Lab;
use crate::common::root_or_skip;
use crate::frames::{IPV4, TCP, ether, tcp, v4};
use crate::{A4, ANY, mixed, xdp_socket};
use handfast::steer::{AttachMode, SteerCounter, Steering, SynAnswers, TimestampClock};
use handfast::tcp::config::TcpConfig;
use handfast::tcp::cookie::{Key, Keys};
use handfast::wire::parse::PartialChecksums;
use libbpf_rs::libbpf_sys::BPF_F_TEST_XDP_LIVE_FRAMES;
use libbpf_rs::{MapCore as _, MapFlags, Object, ObjectBuilder, ProgramInput, ProgramMut, Xdp, XdpFlags};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Instant;

static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/measure.bpf.o"));

/// Bytes of the template map.
const TEMPLATE: usize = 96;

/// Runs and rounds of a measurement; the figures are medians of the rounds.
const RUNS: u32 = 1_000_000;
const ROUNDS: usize = 9;

fn load(out: u32, frame: &[u8]) -> Object {
    let mut object = ObjectBuilder::default().name("measure").unwrap().open_memory(OBJECT).unwrap();
    for mut map in object.maps_mut() {
        if map.name().to_string_lossy().ends_with(".rodata") {
            map.set_initial_value(&out.to_ne_bytes()).unwrap();
        }
    }
    let object = object.load().unwrap();
    let mut template = [0; TEMPLATE];
    template[..frame.len()].copy_from_slice(frame);
    let map = object.maps().find(|map| map.name() == "template").unwrap();
    map.update(&0_u32.to_ne_bytes(), &template, MapFlags::ANY).unwrap();
    object
}

fn program<'obj>(object: &'obj Object, name: &str) -> ProgramMut<'obj> {
    object.progs_mut().find(|program| program.name() == name).expect("measure.bpf.c defines it")
}

/// A program that answers SYNs.
fn answering() -> Steering {
    let mut steering = mixed();
    let keys = Keys { current: Key([7; 16]), previous: None, parity: true };
    let answers = SynAnswers::new(&keys, &TcpConfig::default(), PartialChecksums::Accept, TimestampClock::default());
    steering.set_answers(&answers).unwrap();
    steering.answer_syns(true).unwrap();
    steering
}

/// The median time of a run in ns of the program in `next`, with the frame written anew before each.
fn ns_with(next: &ProgramMut<'_>, frame: &[u8]) -> f64 {
    let object = load(0, frame);
    let map = object.maps().find(|map| map.name() == "next").unwrap();
    map.update(&0_u32.to_ne_bytes(), &next.as_fd().as_raw_fd().to_ne_bytes(), MapFlags::ANY).unwrap();
    let run = || {
        let input = ProgramInput { data_in: Some(frame), repeat: RUNS, ..Default::default() };
        // The kernel gives whole nanoseconds of the mean, which is too coarse for a difference; the clock around it is not.
        let start = Instant::now();
        program(&object, "handfast_again").test_run(input).unwrap();
        start.elapsed().as_secs_f64() * 1e9 / f64::from(RUNS)
    };
    median((0..ROUNDS).map(|_| run()).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
#[ignore = "a measurement"]
fn of_a_run() {
    if !root_or_skip("cost::of_a_run") {
        return;
    }
    let measure = load(0, &[]);
    let redirecting = mixed();
    let socket = xdp_socket();
    redirecting.set_socket(0, socket.as_fd()).unwrap();
    let answering = answering();
    let mss = vec![2, 4, 5, 0xb4];
    let frames = [
        ("IPv4, bare", Syn::v4().bytes()),
        ("IPv4, MSS only", Syn { options: mss.clone(), ..Syn::v4() }.bytes()),
        ("IPv4, options of Linux", Syn::v4().of_linux().bytes()),
        ("IPv6, MSS only", Syn { options: mss, ..Syn::v6() }.bytes()),
        ("IPv6, options of Linux", Syn::v6().of_linux().bytes()),
    ];
    let elsewhere = ether(IPV4, v4(A4, TCP, tcp(ANY + 1)));
    let base = ns_with(&program(&measure, "handfast_nothing"), &elsewhere);
    println!("{:>6.1} ns  passed: a SYN for no endpoint", ns_with(&answering.program(), &elsewhere) - base);
    for (name, frame) in frames {
        let base = ns_with(&program(&measure, "handfast_nothing"), &frame);
        let bare = ns_with(&program(&measure, "handfast_bare"), &frame) - base;
        let redirected = ns_with(&redirecting.program(), &frame) - base;
        let answered = ns_with(&answering.program(), &frame) - base;
        println!("{bare:>6.1} ns bare reflector, {redirected:>6.1} ns redirected, {answered:>6.1} ns answered: {name}");
    }
}

/// Frames a second that come back to `far0` from `near0`, of those that the kernel sends out of `far0` as fast as it goes.
fn returned_per_second(lab: &Lab, frame: &[u8]) -> f64 {
    lab.inside(&lab.far, || {
        let ifindex = crate::attach::index_of("far0");
        let object = load(ifindex, frame);
        let counting = program(&object, "handfast_count");
        let xdp = Xdp::new(counting.as_fd());
        xdp.attach(i32::try_from(ifindex).unwrap(), XdpFlags::DRV_MODE).unwrap();
        let count = || {
            let map = object.maps().find(|map| map.name() == "returned").unwrap();
            let blocks = map.lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
            blocks.iter().filter_map(|block| block.first_chunk().copied().map(u64::from_ne_bytes)).sum::<u64>()
        };
        let input = ProgramInput {
            data_in: Some(frame),
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            repeat: RUNS,
            ..Default::default()
        };
        let (start, before) = (Instant::now(), count());
        program(&object, "handfast_syns").test_run(input).unwrap();
        let elapsed = start.elapsed().as_secs_f64();
        let returned = u32::try_from(count() - before).unwrap();
        xdp.detach(i32::try_from(ifindex).unwrap(), XdpFlags::DRV_MODE).unwrap();
        f64::from(returned) / elapsed
    })
}

#[test]
#[ignore = "a measurement"]
fn over_a_veth() {
    if !root_or_skip("cost::over_a_veth") {
        return;
    }
    let lab = Lab::new("cost");
    let measure = load(0, &[]);
    let frames = [
        ("bare", Syn::v4().bytes()),
        ("MSS only", Syn { options: vec![2, 4, 5, 0xb4], ..Syn::v4() }.bytes()),
        ("options of Linux", Syn::v4().of_linux().bytes()),
    ];
    lab.near(|ifindex| {
        for (name, frame) in frames {
            let rounds: Vec<_> = (0..ROUNDS)
                .map(|_| (reflected(&lab, ifindex, &measure, &frame), answered(&lab, ifindex, &frame)))
                .collect();
            let of = |figure: fn(&(f64, f64)) -> f64| median(rounds.iter().map(figure).collect());
            println!(
                "{:.2} M/s by a bare reflector, {:.2} M/s answered, ratio {:.2}: {name}",
                of(|(bare, _)| bare / 1e6),
                of(|(_, answered)| answered / 1e6),
                of(|(bare, answered)| answered / bare)
            );
        }
    });
}

/// What comes back while the bare reflector is on the interface.
fn reflected(lab: &Lab, ifindex: u32, measure: &Object, frame: &[u8]) -> f64 {
    let ifindex = i32::try_from(ifindex).unwrap();
    let bare = program(measure, "handfast_bare");
    let xdp = Xdp::new(bare.as_fd());
    xdp.attach(ifindex, XdpFlags::DRV_MODE).unwrap();
    let returned = returned_per_second(lab, frame);
    xdp.detach(ifindex, XdpFlags::DRV_MODE).unwrap();
    returned
}

/// What comes back while the program answers; every frame has to have been answered.
fn answered(lab: &Lab, ifindex: u32, frame: &[u8]) -> f64 {
    let mut steering = answering();
    steering.attach(ifindex, AttachMode::Native).unwrap();
    let returned = returned_per_second(lab, frame);
    let counters = steering.counters().unwrap();
    let others = counters.get(SteerCounter::Seen) - counters.get(SteerCounter::TxCookie);
    assert!(others < 100, "not all were answered: {counters:?}");
    returned
}
