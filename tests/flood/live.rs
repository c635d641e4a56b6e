//! The built command: what arrives is what it claims, at the rate that was asked for, and what comes back is counted.

use std::fs;
use std::process::{Output, Stdio};
use std::time::Duration;

use handfast::flood::kind::Kind;
use handfast::flood::report::FloodReport;
use rustix::process::Signal;

use crate::wire::{Capture, Captured};
use crate::world::{Process, World, text, wait_for};
use crate::{ENDS, flood, flood_command};

/// The result of a flood: standard output must have it and nothing else.
fn report(output: &Output) -> FloodReport {
    let printed = text(&output.stdout);
    assert_eq!(printed.lines().count(), 1, "{printed}{}", text(&output.stderr));
    let report: FloodReport = serde_json::from_str(&printed).unwrap();
    let replies = report.replies;
    assert_eq!(report.lost, report.frames_sent - report.answered, "{printed}");
    assert!(report.answered + report.repeated <= replies.syn_ack + replies.rst, "{printed}");
    assert_eq!(report.tx_errors, 0, "{printed}");
    report
}

/// A flood that has to go well.
fn flood_all(world: &World, args: &str) -> FloodReport {
    let output = flood(world, &format!("{args} --json"));
    assert!(output.status.success(), "{args}: {}", text(&output.stderr));
    report(&output)
}

/// How many frames a flood of this kind has to have, all of them, by tshark's account.
fn count(captured: &Captured, is_ipv4: bool, kind: Kind) -> usize {
    let (from, whole) = match (is_ipv4, kind) {
        (true, _) => ("ip.src == 198.19.0.0/16 && ip.dst == 198.18.0.1 && ip.checksum.status == 1", "ip.flags.mf == 0"),
        (false, _) => ("ipv6.src == 2001:2:0:1::/64 && ipv6.dst == 2001:2::1", "!ipv6.fraghdr"),
    };
    let fragment = if is_ipv4 { "ip.flags.mf == 1 && ip.proto == 6" } else { "ipv6.fraghdr.more == 1" };
    let what = match kind {
        Kind::Syn => "tcp.flags == 0x002 && tcp.dstport == 7000 && tcp.checksum.status == 1 && tcp.options.mss",
        Kind::Ack => "tcp.flags == 0x010 && tcp.checksum.status == 1 && tcp.ack_raw != 0",
        Kind::Rst => "tcp.flags == 0x004 && tcp.checksum.status == 1",
        Kind::Fin => "tcp.flags == 0x011 && tcp.checksum.status == 1",
        Kind::Xmas => "tcp.flags == 0x029 && tcp.checksum.status == 1",
        Kind::Random => "tcp.dstport == 7000 && tcp.checksum.status == 1",
        Kind::Fragment => return captured.count(&format!("{from} && {fragment}")),
        Kind::BadChecksum => "tcp.flags == 0x002 && tcp.checksum.status == 0",
        // Twelve bytes of the header are no TCP that tshark would take apart.
        Kind::Short if is_ipv4 => "ip.proto == 6 && ip.len == 32 && !tcp.flags",
        Kind::Short => "ipv6.nxt == 6 && ipv6.plen == 12 && !tcp.flags",
    };
    captured.count(&format!("{from} && {whole} && {what}"))
}

#[test]
fn every_kind_arrives_as_it_claims() {
    let Some(world) = World::up("every_kind_arrives_as_it_claims") else { return };
    for kind in Kind::ALL {
        for (target, _) in ENDS {
            let capture = Capture::start_at_server(&world);
            let engine = if kind == Kind::Xmas { "afxdp" } else { "auto" };
            let report = flood_all(
                &world,
                &format!("--target {target} --kind {kind} --rate 500 --duration 400ms --engine {engine}"),
            );
            let captured = capture.stop();
            let expected = usize::try_from(report.frames_sent).unwrap();
            assert_eq!((expected, &report.kind[..]), (200, kind.name()));
            assert_eq!(count(&captured, target.starts_with('1'), kind), expected, "{kind} to {target}");
            let sources = if target.starts_with('1') { "ip.src" } else { "ipv6.src" };
            let filter =
                if target.starts_with('1') { "ip.src == 198.19.0.0/16" } else { "ipv6.src == 2001:2:0:1::/64" };
            let mut seen = captured.frames(filter, &[sources]);
            seen.sort();
            seen.dedup();
            assert!(seen.len() > 190, "{kind}: {} addresses", seen.len());
        }
    }
}

#[test]
fn a_tag_options_and_ports_are_on_the_wire() {
    let Some(world) = World::up("a_tag_options_and_ports_are_on_the_wire") else { return };
    let capture = Capture::start_at_server(&world);
    let args = "--target 198.18.0.1:7000 --vlan 5 --options --ports 4000-4003 --source 198.19.7.0/30 --rate 500 --duration 400ms";
    assert_eq!(flood_all(&world, args).frames_sent, 200);
    let captured = capture.stop();
    let filter = "vlan.id == 5 && ip.src == 198.19.7.0/30 && tcp.srcport >= 4000 && tcp.srcport <= 4003 && \
        tcp.options.mss_val == 1460 && tcp.options.sack_perm && tcp.options.timestamp.tsval && \
        tcp.options.wscale.shift == 7 && tcp.checksum.status == 1";
    assert_eq!(captured.count(filter), 200);
}

#[test]
fn a_rate_is_held_within_one_percent_by_both_engines() {
    let Some(world) = World::up("a_rate_is_held_within_one_percent_by_both_engines") else { return };
    for engine in ["xdp", "afxdp"] {
        for rate in [3_000_u64, 50_000] {
            let args = format!("--target 198.18.0.1:7000 --kind rst --rate {rate} --duration 2s --engine {engine}");
            let report = flood_all(&world, &args);
            assert_eq!((report.engine.as_str(), report.rate, report.frames_sent), (engine, Some(rate), rate * 2));
            let off = report.frames_per_second / f64::from(u32::try_from(rate).unwrap()) - 1.0;
            assert!(off.abs() <= 0.01, "{off}: {report}");
            assert!(!report.series.is_empty(), "{report}");
        }
    }
}

#[test]
fn a_flood_without_a_rate_is_faster_and_is_counted_to_the_frame() {
    let Some(world) = World::up("a_flood_without_a_rate_is_faster_and_is_counted_to_the_frame") else { return };
    let received = || -> u64 {
        let read = || fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let table = world.in_server(read);
        let line = table.lines().find_map(|line| line.trim().strip_prefix("hf-server:").map(str::to_owned)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = received();
    let report = flood_all(&world, "--target 198.18.0.1:7000 --kind bad-checksum --duration 500ms");
    assert!(report.frames_per_second > 50_000.0, "{report}");
    wait_for("frames to arrive", || received() - before >= report.frames_sent);
    // Beside the flood there may be a few frames of ARP and neighbour discovery.
    assert!(received() - before <= report.frames_sent + 20, "{report}");
    assert_eq!((report.answered, report.rate), (0, None), "nobody answers a wrong checksum: {report}");
}

#[test]
fn answers_of_the_kernel_and_of_the_server_are_counted_by_kind() {
    let Some(world) = World::up("answers_of_the_kernel_and_of_the_server_are_counted_by_kind") else { return };
    for (target, _) in ENDS {
        // The kernel, where nothing listens: a RST for each.
        for kind in [Kind::Syn, Kind::Ack, Kind::Fin, Kind::Xmas] {
            let report = flood_all(&world, &format!("--target {target} --kind {kind} --rate 500 --duration 400ms"));
            assert_eq!((report.replies.rst, report.answered, report.lost), (200, 200, 0), "{kind}: {report}");
        }
        let none = flood_all(&world, &format!("--target {target} --kind rst --rate 500 --duration 400ms"));
        assert_eq!((none.answered, none.lost), (0, 200), "nobody answers a RST: {none}");
    }
    let serve = world.serve("--listen 7000=discard");
    for (target, _) in ENDS {
        let report = flood_all(&world, &format!("--target {target} --rate 500 --duration 400ms --options"));
        assert_eq!((report.answered, report.lost, report.replies.rst), (200, 0, 0), "{report}");
        // The server sends its SYN-ACK again after a second, which may come before the flood has ended.
        assert_eq!(report.replies.syn_ack, report.answered + report.repeated, "{report}");
    }
    let half_open = serve.stats().total.states.get("SYN-RECEIVED");
    assert_eq!(half_open, Some(400));
    serve.end();
}

#[test]
fn an_interruption_ends_it_with_its_result() {
    let Some(world) = World::up("an_interruption_ends_it_with_its_result") else { return };
    for engine in ["xdp", "afxdp"] {
        let log = world.path("flood.err");
        let mut command = flood_command(
            &world,
            &format!("--target 198.18.0.1:7000 --rate 1k --duration 1h --engine {engine} --json"),
        );
        command.stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap());
        let mut process = Process(command.spawn().unwrap());
        wait_for("a line of progress", || fs::read_to_string(&log).unwrap().contains("/s sent"));
        process.signal(Signal::INT);
        let status = process.wait();
        let mut printed = String::new();
        std::io::Read::read_to_string(process.0.stdout.as_mut().unwrap(), &mut printed).unwrap();
        let report: FloodReport = serde_json::from_str(&printed).unwrap();
        assert!(status.success(), "{}", fs::read_to_string(&log).unwrap());
        assert!(report.frames_sent >= 900 && report.duration_s < Duration::from_secs(60).as_secs_f64(), "{report}");
        assert!(!world.lab.show().unwrap().client.xdp, "the program is still attached");
    }
}
