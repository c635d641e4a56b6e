//! Other ways to serve: generic mode, and a link with larger packets.

use handfast::bench::clients::{ClientsArgs, Service};

use crate::wire::{Capture, FROM_SERVER};
use crate::world::{V4, V6, World, run, server, text};

const CURL: [&str; 5] = ["--silent", "--show-error", "--globoff", "--max-time", "10"];

#[test]
fn in_generic_mode_everything_works_the_same() {
    let Some(world) = World::up("in_generic_mode_everything_works_the_same") else { return };
    let body = world.file("body.bin", &[b'x'; 60_000]);
    let serve =
        world.serve(&format!("--listen 80=http:{body} --listen 7000=discard --xdp-mode generic --time-wait 500ms"));
    assert!(serve.log().contains("hf-server (generic, copy)"), "{}", serve.log());
    let capture = Capture::start(&world);
    for host in [V4, "[2001:2::1]"] {
        let got = world.path("got.bin");
        run(world.at_client("curl", &CURL).args(["--output", &got, &format!("http://{host}/")]));
        assert!(std::fs::read(&got).unwrap() == vec![b'x'; 60_000]);
    }
    capture.stop().assert_undisturbed();
    // The kernel at the other end would hand over 64 KiB at once; the remedy in the log makes it split them.
    let log = serve.log();
    assert!(log.contains("on the other end of hf-server, run ethtool -K PEER tso off gso off"), "{log}");
    run(&mut world.at_client("ethtool", &["-K", "hf-client", "tso", "off", "gso", "off"]));
    let upload = world.file("upload.bin", &[b'z'; 1_000_000]);
    let post = ["--header", "Expect:", "--data-binary", &format!("@{upload}"), "--output", "/dev/null"];
    run(world.at_client("curl", &CURL).args(post).arg(format!("http://{V4}/")));
    for (address, service, port) in [(V4, Service::Discard, 7000), (V6, Service::Http, 80)] {
        let args =
            ClientsArgs { connections: 1_000, concurrency: 16, service, ..ClientsArgs::new(server(address, port)) };
        world.drive_all(&args);
    }
    let stats = serve.settled();
    let ends = ["closed", "time_wait_expired", "time_wait_reused"].map(|end| stats.total.engine.get(end).unwrap());
    assert_eq!((stats.mode.xdp.as_str(), ends.iter().sum::<u64>()), ("generic", 2_003), "{:?}", stats.total.engine);
    serve.end();
    assert!(!world.has_xdp(), "generic mode outlives its server");
}

#[test]
fn where_native_mode_is_refused_auto_takes_generic_mode_and_says_why() {
    let Some(world) = World::up("where_native_mode_is_refused_auto_takes_generic_mode_and_says_why") else { return };
    // A veth takes no program while its peer may send more than a page holds.
    run(&mut world.at_client("ip", &["link", "set", "hf-client", "mtu", "9000"]));
    let output = world.serve_to_the_end("--listen 80=http --xdp-mode native");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("hf-server in native mode") && message.contains("use generic mode, or"), "{message}");
    let serve = world.serve("--listen 80=http");
    let log = serve.log();
    assert!(log.contains("it runs in generic mode, which is slower (on a veth, native mode needs a peer"), "{log}");
    assert!(log.contains("tso off gso off") && log.contains("hf-server (generic, copy)"), "{log}");
    assert_eq!(serve.stats().mode.xdp, "generic");
}

#[test]
fn with_an_mtu_of_3000_larger_segments_are_announced_and_used() {
    let Some(world) = World::up_with("with_an_mtu_of_3000_larger_segments_are_announced_and_used", |config| {
        config.mtu = 3000;
    }) else {
        return;
    };
    let body = world.file("body.bin", &[b'y'; 200_000]);
    let serve = world.serve(&format!("--listen 80=http:{body} --listen 7000=discard"));
    assert!(serve.log().contains("16.0 MiB for packets"), "4096 frames of 4096 bytes: {}", serve.log());
    let capture = Capture::start(&world);
    for host in [V4, "[2001:2::1]"] {
        let got = world.path("got.bin");
        run(world.at_client("curl", &CURL).args(["--output", &got, &format!("http://{host}/")]));
        assert!(std::fs::read(&got).unwrap() == vec![b'y'; 200_000]);
    }
    // The other way, too: segments as large as the link takes.
    for address in [V4, V6] {
        let args = ClientsArgs { connections: 20, bytes: 100_000, ..ClientsArgs::new(server(address, 7000)) };
        world.drive_all(&args);
    }
    let captured = capture.stop();
    captured.assert_undisturbed();
    let announced = |version: &str| {
        let filter = format!("{FROM_SERVER} && tcp.flags.syn == 1 && {version}");
        let mut sizes = captured.frames(&filter, &["tcp.options.mss_val"]).concat();
        sizes.dedup();
        sizes
    };
    assert_eq!((announced("ip"), announced("ipv6")), (vec!["2960".to_owned()], vec!["2940".to_owned()]));
    let longest = |direction: &str| {
        let lengths = captured.frames(&format!("tcp && {direction}"), &["frame.len"]).concat();
        lengths.iter().map(|len| len.parse::<u32>().unwrap()).max()
    };
    assert_eq!(longest(FROM_SERVER), Some(3014));
    assert_eq!(longest("eth.dst == 02:68:66:00:00:01"), Some(3014));
    serve.settled();
}
