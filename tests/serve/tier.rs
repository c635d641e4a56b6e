//! SYNs that the steering program answers: Linux clients that notice nothing, frames made by hand, and who answers when. What a program
//! puts into a veth arrives only where the other end polls (NAPI); the lab's client does, by its receive offload.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use handfast::bench::clients::{ClientsArgs, Service};
use handfast::observe::report::Stats;

use crate::wire::{ACK, BAD_CHECKSUM, Capture, Checksum, Crafted, FIN, FROM_SERVER, Hand, PSH, RST, SYN, URG};
use crate::world::{HANDFAST, Process, V4, V6, World, differences, http_exchange, run, server};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
const SYN_ACK: &str = "tcp.flags.syn == 1 && tcp.flags.ack == 1";

fn steering(stats: &Stats, name: &str) -> u64 {
    stats.steering.get(name).unwrap()
}

fn engine(stats: &Stats, name: &str) -> u64 {
    stats.total.engine.get(name).unwrap()
}

/// A segment from an address that the client's kernel does not own.
fn segment(address: &str, port: u16, flags: u8) -> Crafted {
    let source = if address == V4 { "198.18.9.9" } else { "2001:2::99" };
    let crafted = Crafted::new(SocketAddr::new(source.parse().unwrap(), port), server(address, 80), flags);
    // An answer is as long as the SYN, so that it does not matter whether the driver has room behind the frame.
    Crafted { options: vec![2, 4, 5, 0xb4], ..crafted }
}

#[test]
fn while_the_steering_program_answers_linux_clients_notice_nothing() {
    let Some(world) = World::up("while_the_steering_program_answers_linux_clients_notice_nothing") else { return };
    for mode in ["native", "generic"] {
        let serve = world.serve(&format!(
            "--listen 80=http --listen 7000=discard --listen 7001=close --time-wait 500ms --syn-xdp always --xdp-mode {mode}"
        ));
        let capture = Capture::start(&world);
        let mut opened = 0;
        for timestamps in ["1", "0"] {
            world.in_client(|| fs::write("/proc/sys/net/ipv4/tcp_timestamps", timestamps).unwrap());
            for (address, service, port) in [
                (V4, Service::Discard, 7000),
                (V6, Service::Discard, 7000),
                (V4, Service::Close, 7001),
                (V6, Service::Close, 7001),
            ] {
                let args = ClientsArgs {
                    connections: 100,
                    concurrency: 4,
                    service,
                    ..ClientsArgs::new(server(address, port))
                };
                opened += world.drive_all(&args).connections.completed;
            }
            for address in [V4, V6] {
                http_exchange(&mut world.connect(server(address, 80)).unwrap(), REQUEST);
                opened += 1;
            }
        }
        let captured = capture.stop();
        captured.assert_undisturbed();
        let offers = format!("{FROM_SERVER} && {SYN_ACK}");
        let expected = usize::try_from(opened).unwrap();
        assert_eq!(captured.count(&offers), expected, "{mode}");
        // Linux offers everything else always, and everything is agreed on.
        let options = "tcp.options.sack_perm && tcp.options.wscale.shift && tcp.options.mss_val";
        assert_eq!(captured.count(&format!("{offers} && {options}")), expected, "{mode}");
        assert_eq!(captured.count(&format!("{offers} && tcp.options.timestamp.tsval")), expected / 2, "{mode}");
        assert_eq!(captured.count(&format!("{FROM_SERVER} && ({BAD_CHECKSUM})")), 0, "{mode}");
        let stats = serve.settled();
        assert_eq!(steering(&stats, "tx_cookie"), opened, "{mode}: {:?}", stats.steering);
        assert_eq!(["cookies_accepted", "passive_opens", "established"].map(|name| engine(&stats, name)), [opened; 3]);
        assert_eq!(
            ["syns_received", "cookies_sent", "cookies_refused", "resets_sent"].map(|name| engine(&stats, name)),
            [0; 4]
        );
        assert_eq!(["pass_no_socket", "drop_bad_checksum"].map(|name| steering(&stats, name)), [0; 2]);
        assert!(stats.syn_xdp.on && stats.syn_xdp.switched_on == 1, "{:?}", stats.syn_xdp);
        serve.end();
    }
}

#[test]
fn frames_by_hand_are_answered_with_their_tag_or_counted_by_reason() {
    let Some(world) = World::up("frames_by_hand_are_answered_with_their_tag_or_counted_by_reason") else { return };
    let serve = world.serve("--listen 80=http --syn-xdp always");
    let mut hand = Hand::new(&world);
    let capture = Capture::start(&world);
    let with = |port: u16, change: &dyn Fn(&mut Crafted)| {
        let mut crafted = segment(V4, port, SYN);
        change(&mut crafted);
        crafted.bytes()
    };
    let flags = |port, flags| segment(V4, port, flags).bytes();
    let mut wrong_ip = segment(V4, 10, SYN).bytes();
    wrong_ip[24] ^= 1;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a SYN", with(1, &|_| {}), "tx_cookie"),
        ("tagged", with(2, &|syn| syn.tags = vec![(0x8100, 0xa007)]), "tx_cookie"),
        ("tagged twice", with(3, &|syn| syn.tags = vec![(0x88a8, 0x012c), (0x8100, 0xa007)]), "tx_cookie"),
        ("IPv6", segment(V6, 4, SYN).bytes(), "tx_cookie"),
        ("IPv6, tagged", Crafted { tags: vec![(0x8100, 0xa007)], ..segment(V6, 5, SYN) }.bytes(), "tx_cookie"),
        ("partial checksum on a veth", with(6, &|syn| syn.checksum = Checksum::Partial), "tx_cookie"),
        ("wrong TCP checksum", with(10, &|syn| syn.checksum = Checksum::Wrong), "drop_bad_checksum"),
        ("wrong IP checksum", wrong_ip, "drop_bad_checksum"),
        ("data offset 4", with(10, &|syn| syn.data_offset = 4), "drop_bad_tcp_header"),
        ("data offset past the end", with(10, &|syn| syn.data_offset = 15), "drop_bad_tcp_header"),
        ("cut in the TCP header", with(10, &|_| {})[..50].to_vec(), "drop_bad_ip_length"),
        ("first fragment", with(10, &|syn| syn.fragment = 0x2000), "drop_fragment"),
        ("later fragment", with(10, &|syn| syn.fragment = 3), "pass_later_fragment"),
        ("XMAS", flags(10, FIN | PSH | URG), "not_a_syn"),
        ("no flag", flags(10, 0), "not_a_syn"),
        ("SYN and FIN", flags(10, SYN | FIN), "bad_flags"),
        ("SYN and RST", flags(10, SYN | RST), "rst_to_closed"),
        ("port 0", with(10, &|syn| syn.src.set_port(0)), "bad_port"),
        ("from loopback", with(10, &|syn| syn.src.set_ip("127.0.0.1".parse().unwrap())), "bad_address"),
        ("an ACK of no cookie", flags(11, ACK), "cookies_refused"),
    ];
    for (what, frame, counter) in cases {
        let before = serve.stats();
        hand.send(&frame);
        let moved = |stats: &Stats| {
            let groups = [
                (&before.steering, &stats.steering),
                (&before.total.drops, &stats.total.drops),
                (&before.total.engine, &stats.total.engine),
            ];
            groups.into_iter().any(|(before, after)| {
                differences(before, after).iter().any(|(name, count)| *name == counter && *count == 1)
            })
        };
        let stats = serve.stats_when(what, moved);
        assert!(stats.ledgers.balanced(), "{what}: {:?}", stats.ledgers);
    }
    let captured = capture.stop();
    let fields = ["tcp.dstport", "tcp.flags", "vlan.id", "vlan.priority", "ieee8021ad.id"];
    let row = |port: &str, flags: &str, vlan: [&str; 3]| [&[port, flags][..], &vlan].concat().join(" ");
    let expected = [
        row("1", "0x0012", [""; 3]),
        row("2", "0x0012", ["7", "5", ""]),
        row("3", "0x0012", ["7", "5", "300"]),
        row("4", "0x0012", [""; 3]),
        row("5", "0x0012", ["7", "5", ""]),
        row("6", "0x0012", [""; 3]),
        row("11", "0x0004", [""; 3]),
    ];
    let got: Vec<String> =
        captured.frames(&format!("{FROM_SERVER} && tcp"), &fields).iter().map(|row| row.join(" ")).collect();
    assert_eq!(got, expected);
    serve.end();
}

/// Sends SYNs from ever new ports.
fn flood(hand: &mut Hand, count: u16) {
    let frames: Vec<_> = (0..count).map(|port| segment(V4, 1_000 + port, SYN).bytes()).collect();
    hand.send_all(&frames);
}

#[test]
fn a_flood_is_taken_over_by_the_steering_program_and_handed_back_after_it() {
    let Some(world) = World::up("a_flood_is_taken_over_by_the_steering_program_and_handed_back_after_it") else {
        return;
    };
    let serve = world.serve("--listen 80=http --syn-cookies always --syn-xdp-at 500");
    let mut hand = Hand::new(&world);
    http_exchange(&mut world.connect(server(V4, 80)).unwrap(), REQUEST);
    assert!(!serve.stats().syn_xdp.on);
    let on = serve.stats_when("the steering program answers", |stats| {
        flood(&mut hand, 200);
        stats.syn_xdp.on
    });
    assert!(engine(&on, "cookies_sent") > 100, "the workers came first");
    let before = serve.stats();
    flood(&mut hand, 500);
    http_exchange(&mut world.connect(server(V6, 80)).unwrap(), REQUEST);
    let after = serve
        .stats_when("the flood answered", |stats| steering(stats, "tx_cookie") - steering(&before, "tx_cookie") >= 501);
    assert_eq!(engine(&after, "cookies_sent"), engine(&before, "cookies_sent"), "the workers see nothing of the flood");
    serve.stats_when("the workers answer again", |stats| !stats.syn_xdp.on);
    http_exchange(&mut world.connect(server(V4, 80)).unwrap(), REQUEST);
    let stats = serve.stats();
    assert!(engine(&stats, "cookies_sent") > engine(&after, "cookies_sent"));
    assert_eq!((stats.syn_xdp.switched_on, engine(&stats, "resets_sent")), (1, 0));
    assert!(stats.ledgers.balanced(), "{:?}", stats.ledgers);
    let log = serve.log();
    assert!(log.contains("cookies a second: the steering program answers SYNs now"), "{log}");
    serve.end();
}

#[test]
fn where_an_answer_might_not_arrive_the_workers_go_on() {
    let Some(world) = World::up("where_an_answer_might_not_arrive_the_workers_go_on") else { return };
    run(&mut world.at_client("ethtool", &["-K", "hf-client", "gro", "off"]));
    let serve = world.serve("--listen 80=http --syn-cookies always --syn-xdp-at 1 --xdp-mode native");
    let log = serve.log();
    assert!(log.contains("will not answer SYNs in a flood: hf-client has neither"), "{log}");
    let remedy = log.split("does not poll; ").nth(1).and_then(|rest| rest.lines().next()).unwrap().to_owned();
    for _ in 0..20 {
        http_exchange(&mut world.connect(server(V4, 80)).unwrap(), REQUEST);
        thread::sleep(Duration::from_millis(50));
    }
    let stats = serve.stats();
    assert_eq!((stats.syn_xdp.on, engine(&stats, "cookies_sent")), (false, 20));
    serve.end();
    // What the message says to do is done, and then it answers.
    let words: Vec<&str> = remedy.split_whitespace().collect();
    run(std::process::Command::new(words[0]).args(&words[1..]));
    let serve = world.serve("--listen 80=http --syn-cookies always --syn-xdp-at 1 --xdp-mode native");
    assert!(!serve.log().contains("will not answer"), "{}", serve.log());
    serve.stats_when("the steering program answers", |stats| {
        http_exchange(&mut world.connect(server(V4, 80)).unwrap(), REQUEST);
        stats.syn_xdp.on
    });
    http_exchange(&mut world.connect(server(V4, 80)).unwrap(), REQUEST);
    assert!(steering(&serve.stats(), "tx_cookie") > 0);
    serve.end();
}

#[test]
fn a_reload_and_a_drain_say_who_answers() {
    let Some(world) = World::up("a_reload_and_a_drain_say_who_answers") else { return };
    let config = |when: &str| format!("listen = [\"80=http\"]\n[steering]\nsyn-xdp = \"{when}\"\n");
    let file = world.file("serve.toml", config("never").as_bytes());
    let serve = world.serve(&format!("--config {file}"));
    http_exchange(&mut world.connect(server(V4, 80)).unwrap(), REQUEST);
    assert_eq!(steering(&serve.stats(), "tx_cookie"), 0);
    world.file("serve.toml", config("always").as_bytes());
    assert!(serve.ask(&["reload"]).status.success());
    serve.stats_when("the steering program answers", |stats| stats.syn_xdp.on);
    let mut open = world.connect(server(V4, 80)).unwrap();
    http_exchange(&mut open, REQUEST);
    let stats = serve.stats();
    assert_eq!((steering(&stats, "tx_cookie"), engine(&stats, "cookies_accepted")), (1, 1));
    // Only a worker can refuse.
    let mut drain = world.at_server(HANDFAST, &["drain", "--timeout", "20s"]);
    let control = world.path("control.sock");
    let mut drain = Process(drain.args(["--control", &control]).spawn().unwrap());
    serve.stats_when("the workers answer again", |stats| stats.draining && !stats.syn_xdp.on);
    let refused = world.connect(server(V4, 80)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(open);
    assert!(drain.wait().success());
    assert!(serve.ended().status.success());
}
