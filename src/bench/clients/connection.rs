//! One connection's conversation: connect, say what the service expects, check what comes back, until both sides have
//! closed. It never blocks: every step goes as far as the socket allows and is taken up again on the next event.
//!
//! Not here: when to open, how long to wait, and what to count; that is the driver's.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

use super::Service;

/// Longest response header that is read, in bytes.
const HEADER_LIMIT: usize = 8192;

/// Why a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A system call failed, or the socket did.
    Os(Errno),
    /// The handshake took too long.
    ConnectTimeout,
    /// The conversation took too long after the handshake.
    ConversationTimeout,
    /// The responder closed a connection that was to be held.
    ClosedWhileHeld,
    /// Data from a service that sends none, or data before it was asked for.
    UnexpectedData,
    /// The responder closed before the answer was complete.
    ShortAnswer,
    /// More bytes than the answer's Content-Length.
    LongAnswer,
    /// A status other than 200.
    BadStatus,
    /// Not an HTTP response, or one without Content-Length.
    BadAnswer,
}

impl Reason {
    /// The name used in reports and JSON: the errno's name, or lower case words joined by `_`.
    pub fn name(self) -> String {
        match self {
            Reason::Os(errno) => format!("{errno:?}"),
            Reason::ConnectTimeout => "connect_timeout".to_owned(),
            Reason::ConversationTimeout => "conversation_timeout".to_owned(),
            Reason::ClosedWhileHeld => "closed_while_held".to_owned(),
            Reason::UnexpectedData => "unexpected_data".to_owned(),
            Reason::ShortAnswer => "short_answer".to_owned(),
            Reason::LongAnswer => "long_answer".to_owned(),
            Reason::BadStatus => "bad_status".to_owned(),
            Reason::BadAnswer => "bad_answer".to_owned(),
        }
    }
}

impl From<std::io::Error> for Reason {
    fn from(error: std::io::Error) -> Self {
        Reason::Os(error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
    }
}

/// What a client says, the same on every connection.
#[derive(Debug)]
pub(super) struct Script {
    pub service: Service,
    /// What is sent as soon as the connection stands.
    pub request: Vec<u8>,
}

impl Script {
    pub fn new(service: Service, bytes: usize, target: SocketAddr) -> Self {
        let request = match service {
            Service::Discard => vec![b'x'; bytes],
            Service::Close => Vec::new(),
            Service::Http => format!("GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n").into_bytes(),
        };
        Self { service, request }
    }
}

/// Where a conversation is.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The SYN is out.
    Connecting,
    /// Established, and nothing said yet.
    Held,
    /// So many bytes of the request are sent.
    Sending(usize),
    /// Everything is said; waiting for the answer and the responder's FIN.
    Receiving,
}

/// What came of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing yet.
    Pending,
    /// Both sides have closed, and all was as the service promises.
    Completed,
    /// It failed; the socket is to be thrown away.
    Failed(Reason),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub stream: TcpStream,
    step: Step,
    answer: HttpAnswer,
    /// When the step's time began: the SYN, then the start of the conversation.
    pub since: Instant,
    /// How long the handshake took, in nanoseconds; 0 before it is done.
    pub connect_ns: u64,
    /// Which deadline is this connection's; older ones are void.
    pub deadline: u64,
}

impl Connection {
    /// Sends the SYN.
    pub fn open(target: SocketAddr, source: Option<IpAddr>, now: Instant) -> Result<Self, Reason> {
        let stream = start_connect(target, source).map_err(Reason::Os)?;
        let (step, answer) = (Step::Connecting, HttpAnswer::default());
        Ok(Self { stream, step, answer, since: now, connect_ns: 0, deadline: 0 })
    }

    pub fn is_connecting(&self) -> bool {
        self.step == Step::Connecting
    }

    pub fn is_held(&self) -> bool {
        self.step == Step::Held
    }

    /// Takes note that the socket became writable or failed: the handshake is over, one way or the other.
    pub fn finish_connect(&mut self) -> Result<(), Reason> {
        match self.stream.take_error() {
            Ok(None) => self.step = Step::Held,
            Ok(Some(error)) | Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Ends the wait of a held connection: from now on [`Connection::advance`] talks.
    pub fn start_conversation(&mut self, now: Instant) {
        debug_assert!(self.is_held(), "a conversation starts once, on an established connection");
        self.step = Step::Sending(0);
        self.since = now;
    }

    /// Goes on as far as the socket allows. `scratch` is where received bytes go.
    pub fn advance(&mut self, script: &Script, scratch: &mut [u8]) -> Outcome {
        loop {
            let result = match self.step {
                Step::Connecting => return Outcome::Pending,
                Step::Held => self.check_held(scratch),
                Step::Sending(sent) => self.send(script, sent),
                Step::Receiving => self.receive(script.service, scratch),
            };
            match result {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => {}
                Err(reason) => return Outcome::Failed(reason),
            }
        }
    }

    /// A held connection has nothing to read: neither data nor a FIN.
    fn check_held(&mut self, scratch: &mut [u8]) -> Result<Option<Outcome>, Reason> {
        match self.stream.read(scratch) {
            Ok(0) => Err(Reason::ClosedWhileHeld),
            Ok(_) => Err(Reason::UnexpectedData),
            Err(error) => or_pending(error),
        }
    }

    fn send(&mut self, script: &Script, sent: usize) -> Result<Option<Outcome>, Reason> {
        if sent < script.request.len() {
            match self.stream.write(&script.request[sent..]) {
                Ok(more) => self.step = Step::Sending(sent + more),
                Err(error) => return or_pending(error),
            }
            return Ok(None);
        }
        if script.service == Service::Discard {
            self.stream.shutdown(Shutdown::Write)?;
        }
        self.step = Step::Receiving;
        Ok(None)
    }

    fn receive(&mut self, service: Service, scratch: &mut [u8]) -> Result<Option<Outcome>, Reason> {
        match (self.stream.read(scratch), service) {
            (Err(error), _) => or_pending(error),
            (Ok(0), Service::Http) => self.answer.check_end().map(|()| Some(Outcome::Completed)),
            (Ok(0), Service::Discard | Service::Close) => Ok(Some(Outcome::Completed)),
            (Ok(n), Service::Http) => self.answer.take(&scratch[..n]).map(|()| None),
            (Ok(_), Service::Discard | Service::Close) => Err(Reason::UnexpectedData),
        }
    }
}

/// What an error of a read or write means for the conversation.
fn or_pending(error: std::io::Error) -> Result<Option<Outcome>, Reason> {
    match error.kind() {
        ErrorKind::WouldBlock => Ok(Some(Outcome::Pending)),
        ErrorKind::Interrupted => Ok(None),
        _ => Err(error.into()),
    }
}

/// A non-blocking socket whose SYN is on its way. With a source address the port is chosen by connect (not by bind), so
/// that all ports can be used again for another target.
fn start_connect(target: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, Errno> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    if let Some(source) = source {
        setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(errno) => Err(errno),
    }
}

/// As much of an HTTP/1.1 response as the check needs: status, Content-Length, and how long the body was.
#[derive(Debug, Default)]
struct HttpAnswer {
    /// The header so far; emptied when it is complete.
    header: Vec<u8>,
    /// Body bytes that are still to come, once the header is known.
    body_left: Option<u64>,
}

impl HttpAnswer {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let Some(left) = self.body_left else { return self.take_header(bytes) };
        self.body_left = Some(left.checked_sub(bytes.len() as u64).ok_or(Reason::LongAnswer)?);
        Ok(())
    }

    fn take_header(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.header.extend_from_slice(bytes);
        let Some(end) = self.header.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if self.header.len() > HEADER_LIMIT { Err(Reason::BadAnswer) } else { Ok(()) };
        };
        let header = std::mem::take(&mut self.header);
        let text = std::str::from_utf8(&header[..end]).map_err(|_| Reason::BadAnswer)?;
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        match status_line.strip_prefix("HTTP/1.1 ").map(|rest| rest.split(' ').next()) {
            Some(Some("200")) => {}
            Some(Some(_)) => return Err(Reason::BadStatus),
            _ => return Err(Reason::BadAnswer),
        }
        let fields = lines.filter_map(|line| line.split_once(':'));
        let length =
            fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value.trim());
        let length: u64 = length.last().and_then(|value| value.parse().ok()).ok_or(Reason::BadAnswer)?;
        self.body_left = Some(length);
        self.take(&header[end + 4..])
    }

    /// The responder has closed: is the answer complete?
    fn check_end(&self) -> Result<(), Reason> {
        if self.body_left == Some(0) { Ok(()) } else { Err(Reason::ShortAnswer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(pieces: &[&str]) -> Result<(), Reason> {
        let mut answer = HttpAnswer::default();
        pieces.iter().try_for_each(|piece| answer.take(piece.as_bytes()))?;
        answer.check_end()
    }

    #[test]
    fn a_response_is_complete_when_its_content_length_is() {
        assert_eq!(answer(&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"]), Ok(()));
        assert_eq!(answer(&["HTTP/1.1 200 OK\r\ncontent-length:3\r", "\n\r", "\na", "bc"]), Ok(()));
        assert_eq!(answer(&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]), Ok(()));
    }

    #[test]
    fn a_response_that_is_not_as_promised_is_refused_by_name() {
        assert_eq!(answer(&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"]), Err(Reason::ShortAnswer));
        assert_eq!(answer(&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd"]), Err(Reason::LongAnswer));
        assert_eq!(answer(&["HTTP/1.1 200 OK\r\n"]), Err(Reason::ShortAnswer));
        assert_eq!(answer(&["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]), Err(Reason::BadStatus));
        assert_eq!(answer(&["HTTP/1.1 200 OK\r\n\r\n"]), Err(Reason::BadAnswer));
        assert_eq!(answer(&["SSH-2.0-x\r\n\r\n"]), Err(Reason::BadAnswer));
        assert_eq!(answer(&["x".repeat(HEADER_LIMIT + 1).as_str()]), Err(Reason::BadAnswer));
        assert_eq!(answer(&[]), Err(Reason::ShortAnswer));
    }

    #[test]
    fn a_reason_is_named_by_its_errno() {
        assert_eq!(Reason::from(std::io::Error::from_raw_os_error(111)).name(), "ECONNREFUSED");
        assert_eq!(Reason::ShortAnswer.name(), "short_answer");
    }

    #[test]
    fn the_request_is_what_the_service_expects() {
        let target = "[2001:2::1]:80".parse().unwrap();
        assert_eq!(Script::new(Service::Discard, 5, target).request, b"xxxxx");
        assert!(Script::new(Service::Close, 5, target).request.is_empty());
        let http = Script::new(Service::Http, 5, target).request;
        assert!(http.starts_with(b"GET / HTTP/1.1\r\nHost: [2001:2::1]:80\r\n") && http.ends_with(b"\r\n\r\n"));
    }
}
