//! The http service: what it answers depends neither on how requests are cut into segments, nor on how its send stream is cut
//! into segments, nor on how much of it was acknowledged.
//!
//! The first four bytes of the input say how things are cut; the rest is what a client sends.

use handfast::service::{Http, Reaction, Service, Stream};
use handfast::tcp::tcb::AppState;
use std::sync::LazyLock;

const BODY: &[u8] = b"0123456789";

static HTTP: LazyLock<Http> = LazyLock::new(|| Http::new(BODY, "text/plain").expect("a small body"));

/// Checks what the service says to the bytes behind the first four.
pub fn check(data: &[u8]) {
    let Some(([piece, other_piece, mss, acked], requests)) = data.split_first_chunk() else { return };
    let (app, reaction) = receive(requests, requests.len().max(1), 1);
    let cut = receive(requests, usize::from(*piece) + 1, usize::from(*other_piece) + 1);
    assert_eq!((app, reaction), cut, "the cut decided");
    if reaction.close {
        let mut closed = app;
        assert_eq!(
            HTTP.received(&mut closed, 0, b"GET / HTTP/1.1\r\n\r\n"),
            Reaction::default(),
            "answered after the last"
        );
    }
    let said = fill(&Stream { base: 0, queued: reaction.queue, app }, usize::MAX);
    check_responses(&said, reaction);
    check_positions(&said, app, usize::from(*mss) + 1, *acked);
}

/// All that the service wants after the bytes came in pieces of two lengths, in turn.
fn receive(bytes: &[u8], piece: usize, other_piece: usize) -> (AppState, Reaction) {
    let (mut app, mut total) = (AppState::default(), Reaction::default());
    let mut rest = bytes;
    for len in [piece, other_piece].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(len.min(rest.len()));
        let reaction = HTTP.received(&mut app, total.queue, now);
        total.queue += reaction.queue;
        total.requests += reaction.requests;
        total.close |= reaction.close;
        total.abort |= reaction.abort;
        rest = later;
    }
    (app, total)
}

/// The whole stream, filled in segments of `mss` bytes.
fn fill(stream: &Stream, mss: usize) -> Vec<u8> {
    let mut said = vec![0; usize::try_from(stream.queued).expect("fits")];
    let mut from_una = 0;
    for out in said.chunks_mut(mss) {
        HTTP.fill(stream, from_una, out);
        from_una += u32::try_from(out.len()).expect("fits");
    }
    said
}

/// Any segmentation and any acknowledged part leave the same bytes.
fn check_positions(said: &[u8], app: AppState, mss: usize, acked: u8) {
    let queued = u32::try_from(said.len()).expect("fits");
    assert_eq!(fill(&Stream { base: 0, queued, app }, mss), said, "segments of {mss} bytes");
    // The first bytes, the last bytes, and between them as far as the input says.
    let acked = u32::from(acked);
    for una in [acked.min(queued), queued - acked.min(queued), queued / 256 * acked] {
        let stream = Stream { base: HTTP.rebase(una), queued: queued - una, app };
        let left = &said[usize::try_from(una).expect("fits")..];
        assert_eq!(fill(&stream, mss), left, "{una} bytes acknowledged");
    }
}

/// One response per request, whole, in HTTP, and only the last one ends the connection.
fn check_responses(said: &[u8], reaction: Reaction) {
    let mut rest = core::str::from_utf8(said).expect("the responses are text");
    for number in 1..=reaction.requests {
        let is_last = reaction.close && number == reaction.requests;
        let (head, behind) = rest.split_once("\r\n\r\n").expect("a response with a whole head");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)).expect("a status");
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let length: usize = field("Content-Length").and_then(|length| length.parse().ok()).expect("a length");
        assert_eq!(field("Connection"), Some(if is_last { "close" } else { "keep-alive" }), "response {number}");
        assert!(status == "200" || is_last && ["400", "411", "413"].contains(&status), "status {status}");
        assert_eq!(length, if status == "200" { BODY.len() } else { 0 }, "response {number}");
        // The answer to a HEAD has no body, and is the last one.
        let to_head = is_last && behind.is_empty();
        rest = if to_head { "" } else { behind.get(length..).expect("a whole body") };
    }
    assert_eq!(rest, "", "more than the responses");
    assert!(!reaction.close || reaction.requests > 0, "closed without a word");
}
