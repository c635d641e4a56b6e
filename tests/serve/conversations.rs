//! Conversations of curl and ordinary sockets with each service, over IPv4 and IPv6, with a capture that shows that nothing
//! went wrong under the hood.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use crate::wire::Capture;
use crate::world::{V4, V6, World, http_exchange, run, server, text};

const LISTENERS: &str = "--listen 80=http --listen 7000=discard --listen 7001=close --time-wait 500ms";

/// Bytes without a pattern that a wrong offset could meet again.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// curl's arguments before the URLs.
const CURL: [&str; 6] = ["--silent", "--show-error", "--globoff", "--fail", "--max-time", "10"];

#[test]
fn curl_gets_pages_over_ipv4_and_ipv6_and_uses_a_connection_again() {
    let Some(world) = World::up("curl_gets_pages_over_ipv4_and_ipv6_and_uses_a_connection_again") else { return };
    let serve = world.serve(LISTENERS);
    let capture = Capture::start(&world);
    for host in [V4, "[2001:2::1]"] {
        let url = format!("http://{host}/page");
        let page = run(world.at_client("curl", &CURL).arg(&url));
        assert_eq!(page, "Hello from handfast.\n");
        // Each URL prints how many connections had to be made for it: none from the second on.
        let form = ["--write-out", "%{http_code} %{num_connects}\n", "--output", "/dev/null"];
        let mut several = world.at_client("curl", &CURL);
        for _ in 0..5 {
            several.args(form).arg(&url);
        }
        assert_eq!(run(&mut several), "200 1\n200 0\n200 0\n200 0\n200 0\n", "{host}");
    }
    let captured = capture.stop();
    captured.assert_undisturbed();
    assert_eq!(captured.count("tcp.flags.syn == 1 && tcp.flags.ack == 0"), 4);
    assert_eq!(captured.count("http.response.code == 200"), 12);
    let stats = serve.settled();
    assert_eq!(stats.total.engine.get("requests"), Some(12));
    assert_eq!(stats.total.engine.get("closed"), Some(4));
}

#[test]
fn a_file_of_several_megabytes_arrives_as_it_is_and_a_body_is_taken() {
    let Some(world) = World::up("a_file_of_several_megabytes_arrives_as_it_is_and_a_body_is_taken") else { return };
    let content = noise(5_000_001);
    let file = world.file("body.bin", &content);
    let upload = world.file("upload.bin", &noise(300_000));
    // Frames for the ACKs of all that may be under way: on a busy machine they come while the worker waits for a core.
    let serve = world.serve(&format!("--listen 80=http:{file} --frames 32768"));
    let capture = Capture::start(&world);
    for host in [V4, "[2001:2::1]"] {
        let url = format!("http://{host}/");
        let got = world.path("got.bin");
        run(world.at_client("curl", &CURL).args(["--output", &got, &url]));
        assert!(std::fs::read(&got).unwrap() == content, "the file changed on its way");
        // Without Expect: the body follows the head at once.
        let post = ["--header", "Expect:", "--data-binary", &format!("@{upload}"), "--output", &got, &url];
        run(world.at_client("curl", &CURL).args(post));
        assert!(std::fs::read(&got).unwrap() == content, "the answer to a POST differs");
    }
    capture.stop().assert_undisturbed();
    let stats = serve.settled();
    assert_eq!(stats.total.engine.get("requests"), Some(4));
    assert!(stats.total.engine.get("bytes_sent") > Some(4 * 5_000_001));
    assert!(stats.total.engine.get("bytes_received") > Some(2 * 300_000));
}

#[test]
fn either_side_closes_first_and_a_half_closed_connection_is_answered() {
    let Some(world) = World::up("either_side_closes_first_and_a_half_closed_connection_is_answered") else { return };
    let serve = world.serve(LISTENERS);
    let capture = Capture::start(&world);
    for address in [V4, V6] {
        let mut rest = Vec::new();
        // The client closes first: its bytes are taken, and the end comes back.
        let mut discard = world.connect(server(address, 7000)).unwrap();
        discard.write_all(&noise(1_000_000)).unwrap();
        discard.shutdown(Shutdown::Write).unwrap();
        assert_eq!(discard.read_to_end(&mut rest).unwrap(), 0);
        // The server closes first.
        let mut close = world.connect(server(address, 7001)).unwrap();
        assert_eq!(close.read_to_end(&mut rest).unwrap(), 0);
        drop(close);
        // A request and the end of sending in one go: the answer still comes, then the server's end.
        let mut half = world.connect(server(address, 80)).unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n").unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        half.read_to_end(&mut rest).unwrap();
        assert!(text(&rest).ends_with("Hello from handfast.\n"), "{}", text(&rest));
    }
    capture.stop().assert_undisturbed();
    let stats = serve.settled();
    let engine = |name| stats.total.engine.get(name).unwrap();
    assert_eq!((engine("established"), engine("closed"), engine("time_wait_expired")), (6, 4, 2));
    assert!(stats.total.drops.iter().all(|(_, dropped)| dropped == 0), "{:?}", stats.total.drops);
}

#[test]
fn requests_in_pieces_and_several_at_once_are_all_answered() {
    let Some(world) = World::up("requests_in_pieces_and_several_at_once_are_all_answered") else { return };
    let serve = world.serve(LISTENERS);
    let capture = Capture::start(&world);
    for address in [V4, V6] {
        let mut stream = world.connect(server(address, 80)).unwrap();
        stream.set_nodelay(true).unwrap();
        let request = b"GET /some/where HTTP/1.1\r\nHost: lab\r\n\r\n";
        for cut in [1, 14, request.len() - 1] {
            stream.write_all(&request[..cut]).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            let (head, body) = http_exchange(&mut stream, &request[cut..]);
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(text(&body), "Hello from handfast.\n");
        }
        // Pipelined: as many answers as requests, and then the end that was asked for.
        let last = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";
        stream.write_all(&[&request.repeat(3)[..], last].concat()).unwrap();
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        assert_eq!(text(&answers).matches("HTTP/1.1 200 OK\r\n").count(), 4, "{}", text(&answers));
    }
    capture.stop().assert_undisturbed();
    drop(serve);
}
