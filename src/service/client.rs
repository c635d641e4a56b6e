//! `client`: the side that opened a connection. Says nothing, or sends one request and reads its answer.
//!
//! What is deliberately not here: when to close, beyond closing at once; whoever opened the connection decides that.

use std::sync::Arc;

use super::answer::{Answer, Progress};
use super::{Reaction, Service, Stream};
use crate::tcp::tcb::AppState;

/// Longest request in bytes.
pub const MAX_REQUEST_BYTES: usize = 16 << 10;

/// The service of connections that were opened actively.
#[derive(Clone, Debug)]
pub struct Client {
    /// What is sent first; empty for nothing.
    request: Arc<[u8]>,
    /// Close as soon as there is nothing more to do: with the handshake's last segment, or with the acknowledgment of the
    /// answer.
    close_at_once: bool,
}

impl Client {
    /// A client that sends `request`, or nothing if that is empty.
    ///
    /// # Errors
    ///
    /// The length of the request, if it is more than [`MAX_REQUEST_BYTES`].
    pub fn new(request: &[u8], close_at_once: bool) -> Result<Self, usize> {
        if request.len() > MAX_REQUEST_BYTES {
            return Err(request.len());
        }
        Ok(Self { request: request.into(), close_at_once })
    }

    /// The reaction to a whole answer.
    fn answered(&self) -> Reaction {
        Reaction { requests: 1, close: self.close_at_once, ..Reaction::default() }
    }
}

impl Service for Client {
    fn established(&self, _app: &mut AppState) -> Reaction {
        let queue = u32::try_from(self.request.len()).expect("limited when it was made");
        Reaction { queue, close: self.close_at_once && queue == 0, ..Reaction::default() }
    }

    fn received(&self, app: &mut AppState, _queued: u32, bytes: &[u8]) -> Reaction {
        if self.request.is_empty() {
            return Reaction::default();
        }
        let mut answer = Answer::load(*app);
        let progress = answer.feed(bytes);
        *app = answer.store();
        match progress {
            Progress::Partial => Reaction::default(),
            Progress::Whole => self.answered(),
            Progress::Wrong => Reaction { abort: true, ..Reaction::default() },
        }
    }

    fn peer_closed(&self, app: &mut AppState) -> Reaction {
        let answer = Answer::load(*app);
        if self.request.is_empty() || answer.is_whole() {
            Reaction { close: true, ..Reaction::default() }
        } else if answer.is_whole_at_close() {
            Reaction { close: true, ..self.answered() }
        } else {
            Reaction { abort: true, ..Reaction::default() }
        }
    }

    fn fill(&self, stream: &Stream, from_una: u32, out: &mut [u8]) {
        let start = usize::try_from(stream.base + from_una).expect("a position in the request");
        out.copy_from_slice(&self.request[start..start + out.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    #[test]
    fn without_a_request_it_closes_at_once_or_after_the_peer() {
        let app = &mut AppState::default();
        assert!(Client::new(b"", true).unwrap().established(app).close);
        let patient = Client::new(b"", false).unwrap();
        assert_eq!(patient.established(app), Reaction::default());
        assert_eq!(patient.received(app, 0, b"a greeting"), Reaction::default());
        assert_eq!(patient.peer_closed(app), Reaction { close: true, ..Reaction::default() });
    }

    #[test]
    fn a_request_is_sent_and_its_whole_answer_is_told_once() {
        let client = Client::new(b"GET / HTTP/1.1\r\n\r\n", true).unwrap();
        let app = &mut AppState::default();
        assert_eq!(client.established(app), Reaction { queue: 18, ..Reaction::default() });
        let mut out = [0; 5];
        client.fill(&Stream { base: 4, queued: 14, app: *app }, 2, &mut out);
        assert_eq!(&out, b"HTTP/");
        assert_eq!(client.received(app, 18, &ANSWER[..10]), Reaction::default());
        assert_eq!(
            client.received(app, 0, &ANSWER[10..]),
            Reaction { requests: 1, close: true, ..Reaction::default() }
        );
        assert_eq!(client.peer_closed(app), Reaction { close: true, ..Reaction::default() });
    }

    #[test]
    fn a_wrong_or_unfinished_answer_gives_the_connection_up() {
        let client = Client::new(b"x", false).unwrap();
        assert!(client.received(&mut AppState::default(), 0, b"HTTP/1.1 500 ").abort);
        let app = &mut AppState::default();
        assert!(!client.received(app, 0, &ANSWER[..ANSWER.len() - 1]).abort);
        assert!(client.peer_closed(app).abort);
        let app = &mut AppState::default();
        assert!(!client.received(app, 0, b"HTTP/1.1 200 OK\r\n\r\nuntil the end").close);
        assert_eq!(client.peer_closed(app), Reaction { requests: 1, close: true, ..Reaction::default() });
    }

    #[test]
    fn a_request_has_a_longest_length() {
        assert_eq!(Client::new(&[b'x'; MAX_REQUEST_BYTES + 1], true).unwrap_err(), MAX_REQUEST_BYTES + 1);
    }
}
