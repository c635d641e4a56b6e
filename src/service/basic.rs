//! The two services that send nothing.

use super::{Reaction, Service, Stream};
use crate::tcp::tcb::AppState;

/// Acknowledges and discards data, closes when the peer closes (RFC 863).
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Service for Discard {
    fn fill(&self, _stream: &Stream, _from_una: u32, out: &mut [u8]) {
        unreachable_fill(out);
    }
}

/// Closes first, right after accepting. What still comes is acknowledged and discarded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Close;

impl Service for Close {
    fn established(&self, _app: &mut AppState) -> Reaction {
        Reaction { close: true, ..Reaction::default() }
    }

    fn fill(&self, _stream: &Stream, _from_una: u32, out: &mut [u8]) {
        unreachable_fill(out);
    }
}

/// A service that queues nothing is never asked for bytes; an empty buffer is all it could fill.
fn unreachable_fill(out: &[u8]) {
    assert!(out.is_empty(), "a service that queued nothing was asked for {} bytes", out.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discard_closes_after_the_peer_and_close_before() {
        let app = &mut AppState::default();
        assert!(!Discard.established(app).close);
        assert_eq!(Discard.received(app, 0, b"anything"), Reaction::default());
        assert!(Discard.peer_closed(app).close);
        assert!(Close.established(app).close);
    }
}
