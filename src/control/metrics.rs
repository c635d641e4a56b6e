//! The metrics' HTTP server: `/metrics` in Prometheus' text format, `/healthz` for whoever watches over the process.
//!
//! One thread that serves all its clients at once, none of them longer than [`PATIENCE`]; a connection carries one request.
//! Of HTTP it speaks what a scraper needs and no more, which is why it stands on a parser (httparse) and not on a server:
//! small ones keep no limit in time, and a slow client would hold them. It reads reports and changes nothing. What is not here: authentication and
//! TLS (listen on a loopback address, or put a proxy in front), and what the metrics are (observe::metrics).

use super::socket::Handler;
use crate::observe::metrics;
use crate::observe::report::Stats;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many clients are served at the same time; others wait in the listener's queue.
pub const MAX_CLIENTS: usize = 16;

/// The longest request, headers included, in bytes.
pub const MAX_REQUEST_BYTES: usize = 8 * 1024;

/// The most headers that a request may have.
pub const MAX_HEADERS: usize = 64;

/// How long a client may take, from its connection to the last byte of its answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A worker whose figures are older than this gives no sign of life; an idle one publishes every 20 ms.
const SIGN_OF_LIFE_NS: u64 = 2_000_000_000;

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
#[error("serving metrics on {address}: cannot {what}: {source}; {}", remedy(source))]
pub struct MetricsError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What was tried.
    pub what: &'static str,
    /// The cause.
    pub source: io::Error,
}

/// What to do about it.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there (ss -ltnp shows it): stop it, or give --metrics another port"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: add it, or give --metrics a higher port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this network namespace has that address: give --metrics one that `ip addr` shows, or 0.0.0.0"
        }
        _ => "give --metrics another address, or leave it out",
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    /// Closing it tells the thread to end.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// An address that is listened on, and where nothing is answered yet.
#[derive(Debug)]
pub struct MetricsListener {
    address: SocketAddr,
    socket: TcpListener,
}

impl MetricsListener {
    /// Listens on `address`.
    ///
    /// # Errors
    ///
    /// If the address is taken, foreign or not allowed.
    pub fn bind(address: SocketAddr) -> Result<Self, MetricsError> {
        let failed = |source| MetricsError { address, what: "listen", source };
        let socket = TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self { address: socket.local_addr().map_err(failed)?, socket })
    }
}

impl MetricsServer {
    /// Answers with the reports of `source`.
    ///
    /// # Errors
    ///
    /// If the system makes no thread.
    pub fn start(listener: MetricsListener, source: Arc<dyn Handler>) -> Result<Self, MetricsError> {
        let MetricsListener { address, socket: listener } = listener;
        let failed = |what| move |source| MetricsError { address, what, source };
        let (stop, stopped) = UnixStream::pair().map_err(failed("make a stop signal"))?;
        let thread = thread::Builder::new()
            .name("metrics".into())
            .spawn(move || Serving { listener, stopped, source, clients: Vec::new() }.run())
            .map_err(failed("start a thread"))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens; tells the port if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(address = %self.address, "the metrics' thread ended with a panic");
        }
    }
}

/// What the thread holds.
struct Serving {
    listener: TcpListener,
    stopped: UnixStream,
    source: Arc<dyn Handler>,
    clients: Vec<Client>,
}

/// One connection.
struct Client {
    stream: TcpStream,
    deadline: Instant,
    request: Vec<u8>,
    /// The answer, once there is one, and how much of it is sent.
    answer: Option<(Vec<u8>, usize)>,
}

/// What becomes of a client after it was looked after.
#[derive(PartialEq, Eq)]
enum Then {
    Stays,
    Goes,
}

impl Serving {
    fn run(mut self) {
        loop {
            match self.wait() {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => return tracing::error!(%error, "the metrics' server cannot wait for clients and closes"),
            }
            self.accept();
            let now = Instant::now();
            let source = Arc::clone(&self.source);
            self.clients.retain_mut(|client| client.advance(&*source, now) == Then::Stays);
        }
    }

    /// Waits for something to do. True once the server is to stop.
    fn wait(&self) -> io::Result<bool> {
        let mut fds = vec![PollFd::new(&self.stopped, PollFlags::IN)];
        if self.clients.len() < MAX_CLIENTS {
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        for client in &self.clients {
            let sending = matches!(&client.answer, Some((bytes, sent)) if *sent < bytes.len());
            fds.push(PollFd::new(&client.stream, if sending { PollFlags::OUT } else { PollFlags::IN }));
        }
        let first = self.clients.iter().map(|client| client.deadline).min();
        let limit = first.and_then(|at| Timespec::try_from(at.saturating_duration_since(Instant::now())).ok());
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[0].revents().is_empty()),
            Err(error) => Err(error.into()),
        }
    }

    fn accept(&mut self) {
        while self.clients.len() < MAX_CLIENTS {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
                Err(error) => {
                    tracing::warn!(%error, "a client of the metrics could not be accepted");
                    // Out of file descriptors, most likely: the client stays in the queue, so do not spin on it.
                    return thread::sleep(Duration::from_millis(100));
                }
            };
            if stream.set_nonblocking(true).is_ok() {
                let deadline = Instant::now() + PATIENCE;
                self.clients.push(Client { stream, deadline, request: Vec::new(), answer: None });
            }
        }
    }
}

impl Client {
    /// Reads, answers, sends, as far as that goes without waiting.
    fn advance(&mut self, source: &dyn Handler, now: Instant) -> Then {
        if now >= self.deadline {
            return Then::Goes;
        }
        if self.answer.is_none()
            && let Then::Goes = self.receive(source)
        {
            return Then::Goes;
        }
        match &mut self.answer {
            None => Then::Stays,
            Some((bytes, sent)) if *sent < bytes.len() => match self.stream.write(&bytes[*sent..]) {
                Ok(count) => {
                    *sent += count;
                    if *sent == bytes.len() {
                        // The client closes next. Closing first, with something unread, would be a RST behind the answer.
                        let _ = self.stream.shutdown(Shutdown::Write);
                    }
                    Then::Stays
                }
                Err(error) => after(&error),
            },
            Some(_) => match self.stream.read(&mut [0; 1024]) {
                Ok(0) => Then::Goes,
                Ok(_) => Then::Stays,
                Err(error) => after(&error),
            },
        }
    }

    /// Takes in what has arrived, and makes the answer once the request is whole or cannot become one.
    fn receive(&mut self, source: &dyn Handler) -> Then {
        let mut chunk = [0; 2048];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Then::Goes,
            Ok(count) => self.request.extend_from_slice(&chunk[..count]),
            Err(error) => return after(&error),
        }
        self.answer = answer(&self.request, source).map(|bytes| (bytes, 0));
        Then::Stays
    }
}

/// What an error of a socket means for its client.
fn after(error: &io::Error) -> Then {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Then::Stays,
        _ => Then::Goes,
    }
}

/// The whole answer to what was received so far; `None` if the request is not complete.
fn answer(request: &[u8], source: &dyn Handler) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let outcome = parsed.parse(request);
    let plain = "text/plain; charset=utf-8";
    let (status, kind, body) = match outcome {
        Ok(httparse::Status::Partial) if request.len() <= MAX_REQUEST_BYTES => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            ("431 Request Header Fields Too Large", plain, "the request is too long\n".to_owned())
        }
        Err(_) => ("400 Bad Request", plain, "not an HTTP request\n".to_owned()),
        Ok(httparse::Status::Complete(_)) => match (parsed.method, parsed.path.map(without_query)) {
            (Some("GET" | "HEAD"), Some("/metrics")) => match source.stats() {
                Ok(stats) => ("200 OK", metrics::MEDIA_TYPE, metrics::text(&stats)),
                Err(refusal) => ("503 Service Unavailable", plain, format!("{refusal}\n")),
            },
            (Some("GET" | "HEAD"), Some("/healthz")) => match source.stats().map_err(|refusal| refusal.to_string()) {
                Ok(stats) => health(&stats).map_or_else(
                    |dead| ("503 Service Unavailable", plain, dead),
                    |alive| ("200 OK", plain, alive.to_owned()),
                ),
                Err(reason) => ("503 Service Unavailable", plain, format!("{reason}\n")),
            },
            (Some("GET" | "HEAD"), _) => ("404 Not Found", plain, "there are /metrics and /healthz\n".to_owned()),
            _ => ("405 Method Not Allowed", plain, "GET and HEAD only\n".to_owned()),
        },
    };
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    );
    let body = if parsed.method == Some("HEAD") { String::new() } else { body };
    Some([head, body].concat().into_bytes())
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

/// Whether every worker gives signs of life; the error names one that does not.
fn health(stats: &Stats) -> Result<&'static str, String> {
    match stats.workers.iter().find(|worker| worker.figures.age_ns > SIGN_OF_LIFE_NS) {
        Some(worker) => {
            let ms = worker.figures.age_ns / 1_000_000;
            Err(format!("the worker of queue {} has given no sign of life for {ms} ms\n", worker.queue))
        }
        None if stats.draining => Ok("draining\n"),
        None => Ok("ok\n"),
    }
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
