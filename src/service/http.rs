//! `http`: one fixed HTTP/1.1 200 response per request (RFC 9112), keep-alive honoured.
//!
//! The send stream of a connection is the same response over and over, and perhaps one other at its end. So a position in
//! it is an offset into shared bytes: the responses that keep the connection open stand one after another, and the last
//! one (the same with `Connection: close`, a HEAD's, or an error) is recognised by its distance from the end of the queue.
//!
//! What is deliberately not here: a Date header (there is no clock), bodies in requests beyond being skipped by their
//! Content-Length, chunked requests (answered with 411), and answers other than the one.

use std::sync::Arc;

use super::parser::{Event, Parser, Tail};
use super::{Reaction, Service, Stream};
use crate::tcp::tcb::AppState;

/// Largest body of the response in bytes.
pub const MAX_BODY_BYTES: usize = 16 << 20;
/// Responses queued on one connection before its receive window closes.
const BACKLOG_RESPONSES: u32 = 256;
/// Bytes queued on one connection before it is given up: positions in the stream are 32-bit.
const MAX_QUEUED_BYTES: u32 = 1 << 31;

/// The service: all its responses, made once.
#[derive(Clone, Debug)]
pub struct Http {
    /// The response that keeps the connection open.
    keep: Arc<[u8]>,
    /// The responses that end a connection, at their [`Tail`].
    tails: [Arc<[u8]>; Tail::COUNT],
}

impl Http {
    /// A service that answers with `body`, announced as `content_type`.
    ///
    /// # Errors
    ///
    /// The length of the body, if it is more than [`MAX_BODY_BYTES`].
    pub fn new(body: &[u8], content_type: &str) -> Result<Self, usize> {
        if body.len() > MAX_BODY_BYTES {
            return Err(body.len());
        }
        let length = body.len();
        let ok = |connection: &str| {
            format!(
                "HTTP/1.1 200 OK\r\nServer: handfast\r\nContent-Type: {content_type}\r\n\
                 Content-Length: {length}\r\nConnection: {connection}\r\n\r\n"
            )
        };
        let with_body = |head: String| -> Arc<[u8]> { [head.as_bytes(), body].concat().into() };
        let error = |status: &str| -> Arc<[u8]> {
            let head =
                format!("HTTP/1.1 {status}\r\nServer: handfast\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            head.into_bytes().into()
        };
        let tail = |tail: Tail| match tail {
            Tail::Close => with_body(ok("close")),
            Tail::Head => ok("close").into_bytes().into(),
            Tail::BadRequest => error("400 Bad Request"),
            Tail::LengthRequired => error("411 Length Required"),
            Tail::TooLarge => error("413 Content Too Large"),
        };
        Ok(Self { keep: with_body(ok("keep-alive")), tails: Tail::ALL.map(tail) })
    }

    /// Length of the response that keeps the connection open, in bytes.
    fn keep_len(&self) -> u32 {
        len_u32(&self.keep)
    }
}

/// The length of a response: at most [`MAX_BODY_BYTES`] and a short head.
fn len_u32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("limited when it was made")
}

impl Service for Http {
    fn received(&self, app: &mut AppState, queued: u32, bytes: &[u8]) -> Reaction {
        let mut reaction = Reaction::default();
        let mut parser = Parser::load(*app);
        for event in parser.feed(bytes) {
            let response = match event {
                Event::Keep => &self.keep,
                Event::Last(tail) => {
                    reaction.close = true;
                    &self.tails[tail.index()]
                }
            };
            reaction.requests += 1;
            reaction.queue = reaction.queue.saturating_add(len_u32(response));
        }
        *app = parser.store();
        reaction.abort = queued.saturating_add(reaction.queue) > MAX_QUEUED_BYTES;
        reaction
    }

    fn backlog_bytes(&self) -> u32 {
        self.keep_len().saturating_mul(BACKLOG_RESPONSES).min(MAX_QUEUED_BYTES / 2)
    }

    fn rebase(&self, base: u32) -> u32 {
        base % self.keep_len()
    }

    fn fill(&self, stream: &Stream, from_una: u32, out: &mut [u8]) {
        let tail: &[u8] = Parser::load(stream.app).tail().map_or(&[], |tail| &self.tails[tail.index()]);
        let mut at = from_una;
        let mut out = out;
        while !out.is_empty() {
            // Where `at` lies: so far from the end that it is in a response that keeps the connection, or in the last one.
            let to_end = stream.queued.saturating_sub(at) as usize;
            assert!(to_end > 0, "asked for bytes beyond the queue");
            let source = if to_end <= tail.len() {
                &tail[tail.len() - to_end..]
            } else {
                let offset = (u64::from(stream.base) + u64::from(at)) % u64::from(self.keep_len());
                &self.keep[usize::try_from(offset).expect("an offset into the response")..]
            };
            let len = source.len().min(out.len());
            let (now, later) = out.split_at_mut(len);
            now.copy_from_slice(&source[..len]);
            out = later;
            at += len_u32(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> Http {
        Http::new(b"hello", "text/plain").unwrap()
    }

    /// All that the service says to `input`, given in pieces of `piece` bytes and read back in pieces of `mss` bytes.
    fn conversation(input: &[u8], piece: usize, mss: usize) -> (String, Reaction) {
        let http = http();
        let mut app = AppState::default();
        let mut total = Reaction::default();
        for bytes in input.chunks(piece) {
            let reaction = http.received(&mut app, total.queue, bytes);
            total.queue += reaction.queue;
            total.requests += reaction.requests;
            total.close |= reaction.close;
        }
        let stream = Stream { base: 0, queued: total.queue, app };
        let mut said = vec![0; total.queue as usize];
        for (i, out) in said.chunks_mut(mss).enumerate() {
            http.fill(&stream, u32::try_from(i * mss).unwrap(), out);
        }
        (String::from_utf8(said).unwrap(), total)
    }

    const OK_KEEP: &str = "HTTP/1.1 200 OK\r\nServer: handfast\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello";

    #[test]
    fn pipelined_requests_are_answered_one_by_one_however_they_are_cut() {
        let input = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        for piece in [1, 2, 7, 1000] {
            for mss in [1, 10, 150, 536] {
                let (said, reaction) = conversation(input, piece, mss);
                let last = OK_KEEP.replace("keep-alive", "close");
                assert_eq!(said, [OK_KEEP, OK_KEEP, &last].concat(), "pieces of {piece}, segments of {mss}");
                assert_eq!((reaction.requests, reaction.close), (3, true));
            }
        }
    }

    #[test]
    fn a_head_is_answered_without_body_and_ends_the_connection() {
        let (said, reaction) = conversation(b"HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", 9, 100);
        assert!(said.ends_with("Content-Length: 5\r\nConnection: close\r\n\r\n"), "{said}");
        assert_eq!((reaction.requests, reaction.close), (1, true));
    }

    #[test]
    fn errors_have_their_status_and_end_the_connection() {
        for (input, status) in [
            (&b"\x16\x03\x01\x02\x00"[..], "400"),
            (b"GET /\r\n\r\n", "400"),
            (b"GET / HTTP/2.0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
            (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", "413"),
            (b"POST / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", "400"),
        ] {
            let (said, reaction) = conversation(input, 3, 100);
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
            assert!(reaction.close && reaction.requests == 1);
        }
    }

    #[test]
    fn a_position_survives_rebasing() {
        let http = http();
        let mut app = AppState::default();
        let reaction = http.received(&mut app, 0, b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
        let whole = OK_KEEP.repeat(2);
        for acked in 0..reaction.queue {
            let stream = Stream { base: http.rebase(acked), queued: reaction.queue - acked, app };
            let mut out = [0; 1];
            http.fill(&stream, 0, &mut out);
            assert_eq!(out[0], whole.as_bytes()[acked as usize]);
        }
    }

    #[test]
    fn a_body_beyond_the_limit_is_refused() {
        assert_eq!(Http::new(&vec![0; MAX_BODY_BYTES + 1], "x").err(), Some(MAX_BODY_BYTES + 1));
    }

    #[test]
    fn a_peer_that_asks_for_gigabytes_is_given_up() {
        let http = Http::new(&vec![0; MAX_BODY_BYTES], "x").unwrap();
        let mut app = AppState::default();
        let input = b"GET / HTTP/1.1\r\n\r\n".repeat(200);
        assert!(http.received(&mut app, 0, &input).abort);
    }
}
