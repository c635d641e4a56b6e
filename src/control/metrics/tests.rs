//! The metrics' server over real sockets: what it answers, its limits, and how it fails to start.

use super::*;
use crate::control::protocol::{DrainRequest, FlowsRequest, ProfileRequest, Refusal, ReloadRequest, WhyRequest};
use crate::observe::profile::ProfileReport;
use crate::observe::report::{Drained, Flows, Past, Reloaded, tests::example};
use crate::observe::why::Diagnosis;

/// Always the same report.
struct Same(Stats);

impl Handler for Same {
    fn stats(&self) -> Result<Stats, Refusal> {
        Ok(self.0.clone())
    }

    fn history(&self) -> Result<Past, Refusal> {
        Ok(Past::default())
    }

    fn flows(&self, _: &FlowsRequest) -> Result<Flows, Refusal> {
        Ok(Flows::default())
    }

    fn reload(&self, _: &ReloadRequest) -> Result<Reloaded, Refusal> {
        Ok(Reloaded::default())
    }

    fn drain(&self, _: &DrainRequest) -> Result<Drained, Refusal> {
        Ok(Drained::default())
    }

    fn why(&self, _: &WhyRequest) -> Result<Diagnosis, Refusal> {
        Ok(Diagnosis::default())
    }

    fn profile(&self, _: &ProfileRequest, _: &dyn Fn() -> bool) -> Result<ProfileReport, Refusal> {
        Ok(ProfileReport::default())
    }
}

fn start() -> MetricsServer {
    let listener = MetricsListener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    MetricsServer::start(listener, Arc::new(Same(example()))).unwrap()
}

/// All that the server answers to these bytes.
fn say(server: &MetricsServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let _ = stream.write_all(bytes);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn each_request_gets_its_answer() {
    let server = start();
    for (request, start, end) in [
        ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\nok\n"),
        ("GET /healthz?verbose HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\nok\n"),
        ("HEAD /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "Connection: close\r\n\r\n"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", "there are /metrics and /healthz\n"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 ", "GET and HEAD only\n"),
        ("nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", "not an HTTP request\n"),
    ] {
        let text = say(&server, request.as_bytes());
        assert!(text.starts_with(start) && text.ends_with(end), "{request:?}: {text}");
    }
    let text = say(&server, b"GET /metrics HTTP/1.1\r\n\r\n");
    assert!(text.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{text}");
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, metrics::text(&example()));
    assert!(text.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{text}");
}

#[test]
fn a_request_without_an_end_is_refused_at_its_limit() {
    let server = start();
    let long = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; MAX_REQUEST_BYTES]].concat();
    assert!(say(&server, &long).starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS + 1));
    assert!(say(&server, many.as_bytes()).starts_with("HTTP/1.1 431 "));
}

#[test]
fn slow_clients_hold_nobody_up_and_are_let_go_in_time() {
    let server = start();
    let mut slow: Vec<TcpStream> = (0..MAX_CLIENTS - 1)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(b"GET /metr").unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    assert!(say(&server, b"GET /healthz HTTP/1.1\r\n\r\n").ends_with("ok\n"));
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    for stream in &mut slow {
        stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0, "closed without an answer");
    }
}

#[test]
fn a_start_that_fails_says_why_and_what_to_do() {
    let server = start();
    let taken = MetricsListener::bind(server.address()).unwrap_err().to_string();
    assert!(taken.starts_with(&format!("serving metrics on {}: cannot listen: Address", server.address())), "{taken}");
    assert!(taken.contains("ss -ltnp"), "{taken}");
    let foreign = MetricsListener::bind(([198, 51, 100, 7], 0).into()).unwrap_err().to_string();
    assert!(foreign.contains("`ip addr` shows"), "{foreign}");
    let privileged = MetricsError {
        address: ([127, 0, 0, 1], 80).into(),
        what: "listen",
        source: io::ErrorKind::PermissionDenied.into(),
    };
    assert!(privileged.to_string().contains("CAP_NET_BIND_SERVICE"), "{privileged}");
}

#[test]
fn a_worker_without_a_sign_of_life_is_not_healthy() {
    let mut stats = example();
    assert_eq!(health(&stats), Ok("ok\n"));
    stats.draining = true;
    assert_eq!(health(&stats), Ok("draining\n"));
    stats.workers[1].figures.age_ns = 3_000_000_000;
    assert_eq!(health(&stats), Err("the worker of queue 1 has given no sign of life for 3000 ms\n".to_owned()));
}
