//! The veth lab and the kernel clients, end to end: real namespaces, real sockets, and a plain kernel listener as the
//! responder. Every test makes a lab of its own name, so they run side by side.
#![cfg(feature = "xdp")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::root_or_skip;
use handfast::bench::clients::{ClientsArgs, ClientsReport, Service, drive};
use handfast::bench::lab::{Lab, LabConfig, LabError};
use handfast::bench::netns::inside;

const IPV4: &str = "198.18.0.1:7000";
const IPV6: &str = "[2001:2::1]:7000";

/// A lab that is removed at the end of its test, also when the test fails.
struct TestLab(Lab);

impl TestLab {
    fn up(test: &str) -> Self {
        let config = config(test);
        // The guard comes first: a lab that came up halfway is removed as well.
        let guard = Self(Lab::named(&config.name).unwrap());
        Lab::up(&config).unwrap();
        guard
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        if let Err(error) = self.0.down(true) {
            eprintln!("cannot clean up: {error}");
        }
    }
}

fn config(test: &str) -> LabConfig {
    LabConfig::named(&format!("hflab-{test}-{}", std::process::id()))
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs kernel clients against a kernel listener in `lab` whose every connection is handled by `handle`. The listener
/// takes a free port at the target's address: a child process that another test forks keeps an old listener open for a moment.
fn clients_against(lab: &Lab, args: &ClientsArgs, handle: fn(TcpStream)) -> ClientsReport {
    let stop = AtomicBool::new(false);
    let address = (args.target.ip(), 0);
    let listener = inside(&lab.server_namespace(), || TcpListener::bind(address).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let args = ClientsArgs { target: listener.local_addr().unwrap(), ..args.clone() };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        scope.spawn(move || handle(stream));
                    }
                    Err(_) => thread::sleep(Duration::from_micros(200)),
                }
            }
        });
        let report = inside(&lab.client_namespace(), || drive(&args, &mut |_| {}).unwrap());
        stop.store(true, Ordering::Relaxed);
        report.unwrap()
    })
}

fn discard(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

fn close_first(stream: TcpStream) {
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    discard(stream);
}

fn http(mut stream: TcpStream) {
    let mut request = [0; 4096];
    let n = stream.read(&mut request).unwrap();
    assert!(request[..n].starts_with(b"GET / HTTP/1.1\r\n"), "{:?}", &request[..n]);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
}

fn args(target: &str) -> ClientsArgs {
    let target: SocketAddr = target.parse().unwrap();
    ClientsArgs { connections: 200, concurrency: 16, timeout: Duration::from_secs(5), ..ClientsArgs::new(target) }
}

#[test]
fn up_joins_two_ends_and_down_leaves_nothing() {
    if !root_or_skip("up_joins_two_ends_and_down_leaves_nothing") {
        return;
    }
    let lab = TestLab::up("up");
    let view = lab.0.show().unwrap();
    assert!(view.up && !view.client.xdp);
    assert_eq!((view.server.mtu, view.server.rx_queues, view.server.tx_queues), (Some(1500), Some(1), Some(1)));
    for address in ["198.18.0.2/16", "2001:2::2/64"] {
        assert!(view.client.addresses.iter().any(|have| have == address), "{view}");
    }
    let client = lab.0.client_namespace();
    for target in ["198.18.0.1", "2001:2::1"] {
        ip(&format!("netns exec {client} ping -c 1 -W 2 {target}"));
    }
    assert!(ip(&format!("netns exec {client} ethtool -k hf-client")).contains("generic-receive-offload: on"));
    lab.0.down(false).unwrap();
    assert!(!ip("netns list").contains(&client));
    assert!(!std::path::Path::new("/etc/netns").join(&client).exists());
    let view = lab.0.show().unwrap();
    assert!(!view.up && view.server.state == "MISSING");
    lab.0.down(false).expect("a lab that is not there is removed already");
}

#[test]
fn up_mends_a_lab_that_is_there() {
    if !root_or_skip("up_mends_a_lab_that_is_there") {
        return;
    }
    let lab = TestLab::up("mend");
    let (client, server) = (lab.0.client_namespace(), lab.0.server_namespace());
    let index = || ip(&format!("-n {server} -o link show hf-server"));
    let before = index();
    Lab::up(&config("mend")).unwrap();
    assert_eq!(index(), before, "a lab that is as it should be is left as it is");

    ip(&format!("-n {client} address flush dev hf-client"));
    ip(&format!("-n {server} link set hf-server down mtu 1400"));
    let ports = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    inside(&client, || std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "30000 30001").unwrap()).unwrap();
    Lab::up(&config("mend")).unwrap();
    let view = lab.0.show().unwrap();
    assert!(view.up && view.server.mtu == Some(1500), "{view}");
    assert!(view.client.addresses.iter().any(|address| address == "198.18.0.2/16"), "{view}");
    assert_eq!(inside(&client, ports).unwrap(), "1024\t65535\n");

    ip(&format!("-n {client} link delete hf-client"));
    Lab::up(&config("mend")).unwrap();
    assert!(lab.0.show().unwrap().up);
}

#[test]
fn other_queue_counts_make_the_pair_anew() {
    if !root_or_skip("other_queue_counts_make_the_pair_anew") {
        return;
    }
    let lab = TestLab::up("queues");
    Lab::up(&LabConfig { queues: 3, mtu: 3000, no_offload: true, ..config("queues") }).unwrap();
    let view = lab.0.show().unwrap();
    for end in [&view.client, &view.server] {
        assert_eq!((end.rx_queues, end.tx_queues, end.mtu), (Some(3), Some(3), Some(3000)), "{view}");
        let features = ip(&format!("netns exec {} ethtool -k {}", end.namespace, end.interface));
        assert!(features.contains("tx-checksumming: off"), "{features}");
    }
}

#[test]
fn down_does_not_pull_the_network_from_under_a_process_unless_forced() {
    if !root_or_skip("down_does_not_pull_the_network_from_under_a_process_unless_forced") {
        return;
    }
    let lab = TestLab::up("busy");
    let server = lab.0.server_namespace();
    let mut arguments = vec!["netns", "exec", &server, "sh", "-c", "echo inside; exec sleep 60"];
    let mut child = Command::new("ip").args(arguments.drain(..)).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 7];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    let refused = lab.0.down(false);
    let still_up = lab.0.show().unwrap().up;
    let forced = lab.0.down(true);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(&refused, Err(LabError::Busy { pids, .. }) if *pids == child.id().to_string()), "{refused:?}");
    assert!(still_up && forced.is_ok(), "{forced:?}");
    assert!(!ip("netns list").contains(&server));
}

#[test]
fn clients_complete_every_service_over_ipv4_and_ipv6() {
    if !root_or_skip("clients_complete_every_service_over_ipv4_and_ipv6") {
        return;
    }
    let lab = TestLab::up("services");
    let pool = ["198.18.0.2", "198.18.1.7", "198.18.1.8"].map(|address| address.parse().unwrap()).to_vec();
    for (target, source) in [(IPV4, pool), (IPV6, Vec::new())] {
        for (service, handle) in
            [(Service::Discard, discard as fn(TcpStream)), (Service::Close, close_first), (Service::Http, http)]
        {
            let args = ClientsArgs { service, source: source.clone(), threads: 2, bytes: 100_000, ..args(target) };
            let report = clients_against(&lab.0, &args, handle);
            let connections = &report.connections;
            assert_eq!((connections.attempted, connections.established), (200, 200), "{service:?} {target}: {report}");
            assert_eq!((connections.completed, report.failed_total()), (200, 0), "{service:?} {target}: {report}");
            let latency = &report.latency_us;
            assert!(latency.connect.p50 > 0.0 && latency.connect.p50 <= latency.total.max, "{latency:?}");
        }
    }
}

#[test]
fn held_connections_are_alive_at_the_end_and_then_used() {
    if !root_or_skip("held_connections_are_alive_at_the_end_and_then_used") {
        return;
    }
    let lab = TestLab::up("hold");
    let hold_time = Duration::from_millis(300);
    let args = ClientsArgs { hold: Some(150), hold_time, threads: 2, ..args(IPV4) };
    let report = clients_against(&lab.0, &args, discard);
    let hold = report.hold.as_ref().unwrap();
    assert_eq!((hold.held, hold.alive, report.connections.completed), (150, 150, 150), "{report}");
    assert!(report.duration_s >= 0.3, "{report}");
}

#[test]
fn a_responder_that_drops_held_connections_is_found_out() {
    if !root_or_skip("a_responder_that_drops_held_connections_is_found_out") {
        return;
    }
    let lab = TestLab::up("drops");
    let args = ClientsArgs { hold: Some(20), hold_time: Duration::from_millis(500), ..args(IPV4) };
    let report = clients_against(&lab.0, &args, |_| thread::sleep(Duration::from_millis(200)));
    assert_eq!(report.connections.failed.get("closed_while_held"), Some(&20), "{report}");
    assert_eq!(report.hold.as_ref().unwrap().alive, 0);
}

#[test]
fn every_kind_of_failure_has_its_name() {
    if !root_or_skip("every_kind_of_failure_has_its_name") {
        return;
    }
    let lab = TestLab::up("failures");
    let few = |target| ClientsArgs { connections: 5, timeout: Duration::from_millis(200), ..args(target) };
    let failed = |report: ClientsReport| report.connections.failed.into_iter().collect::<Vec<_>>();
    let alone = |args: &ClientsArgs| inside(&lab.0.client_namespace(), || drive(args, &mut |_| {}).unwrap()).unwrap();

    assert_eq!(failed(alone(&few(IPV4))), [("ECONNREFUSED".to_owned(), 5)]);
    assert_eq!(failed(alone(&few("203.0.113.1:80"))), [("ENETUNREACH".to_owned(), 5)]);
    assert_eq!(failed(alone(&few("198.18.0.77:80"))), [("connect_timeout".to_owned(), 5)]);

    let silent = |_| thread::sleep(Duration::from_millis(500));
    let report = clients_against(&lab.0, &few(IPV4), silent);
    assert_eq!(failed(report), [("conversation_timeout".to_owned(), 5)]);
    let talkative = |mut stream: TcpStream| drop(stream.write_all(b"hello").map(|()| discard(stream)));
    let report = clients_against(&lab.0, &few(IPV4), talkative);
    assert_eq!(failed(report), [("unexpected_data".to_owned(), 5)]);
    let cut = |mut stream: TcpStream| {
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut").unwrap();
    };
    let report = clients_against(&lab.0, &ClientsArgs { service: Service::Http, ..few(IPV4) }, cut);
    assert_eq!(failed(report), [("short_answer".to_owned(), 5)]);
}
