//! What is said to data: the application's side of a connection.
//!
//! A [`Service`] hears what happens to a connection and answers with a [`Reaction`]. What it sends is never buffered per
//! connection: it says how many bytes it queues, and fills them in whenever a segment needs them, first time or again.
//!
//! What is deliberately not here: sequence numbers, windows, timers. A service remembers [`AppState`], six bytes.
#![forbid(unsafe_code)]

mod answer;
mod basic;
mod client;
mod http;
mod parser;

pub use basic::{Close, Discard};
pub use client::{Client, MAX_REQUEST_BYTES};
pub use http::{Http, MAX_BODY_BYTES};

use crate::tcp::tcb::AppState;

/// What a service wants done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaction {
    /// Bytes to add to the send stream.
    pub queue: u32,
    /// Close after what is queued.
    pub close: bool,
    /// Give the connection up with a RST: it asks for more than a limit allows.
    pub abort: bool,
    /// Requests that were answered, by a server or to a client; for the counter.
    pub requests: u32,
}

/// The send stream of a connection, as a service sees it.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// The service's own name for the first unacknowledged byte: bytes acknowledged so far, as [`Service::rebase`] leaves it.
    pub base: u32,
    /// Bytes queued from there on.
    pub queued: u32,
    /// What the service remembers.
    pub app: AppState,
}

/// An application over TCP. Shared by all connections of a listener, immutable.
pub trait Service {
    /// The connection was opened.
    fn established(&self, _app: &mut AppState) -> Reaction {
        Reaction::default()
    }

    /// Bytes came, in order and each once. `queued` bytes of the send stream are unacknowledged.
    fn received(&self, _app: &mut AppState, _queued: u32, _bytes: &[u8]) -> Reaction {
        Reaction::default()
    }

    /// The peer closed; no more bytes come.
    fn peer_closed(&self, _app: &mut AppState) -> Reaction {
        Reaction { close: true, ..Reaction::default() }
    }

    /// How many queued bytes are enough: above, the connection's receive window is closed until half are acknowledged.
    fn backlog_bytes(&self) -> u32 {
        u32::MAX
    }

    /// The shortest equivalent of a position: called whenever bytes were acknowledged, so that positions never wrap.
    fn rebase(&self, base: u32) -> u32 {
        base
    }

    /// Writes the bytes that stand `from_una` bytes behind `stream.base` into all of `out`.
    fn fill(&self, stream: &Stream, from_una: u32, out: &mut [u8]);
}

/// One of the services there are: a closed set, so that no call on the data path is an indirect one.
#[derive(Clone, Debug)]
pub enum AnyService {
    /// Acknowledges and discards data, closes when the peer closes.
    Discard(Discard),
    /// Closes right after accepting.
    Close(Close),
    /// Answers HTTP requests with one fixed response.
    Http(Http),
    /// Opened the connection.
    Client(Client),
}

macro_rules! dispatch {
    ($self:ident, $service:ident => $call:expr) => {
        match $self {
            AnyService::Discard($service) => $call,
            AnyService::Close($service) => $call,
            AnyService::Http($service) => $call,
            AnyService::Client($service) => $call,
        }
    };
}

impl Service for AnyService {
    fn established(&self, app: &mut AppState) -> Reaction {
        dispatch!(self, service => service.established(app))
    }

    fn received(&self, app: &mut AppState, queued: u32, bytes: &[u8]) -> Reaction {
        dispatch!(self, service => service.received(app, queued, bytes))
    }

    fn peer_closed(&self, app: &mut AppState) -> Reaction {
        dispatch!(self, service => service.peer_closed(app))
    }

    fn backlog_bytes(&self) -> u32 {
        dispatch!(self, service => service.backlog_bytes())
    }

    fn rebase(&self, base: u32) -> u32 {
        dispatch!(self, service => service.rebase(base))
    }

    fn fill(&self, stream: &Stream, from_una: u32, out: &mut [u8]) {
        dispatch!(self, service => service.fill(stream, from_una, out));
    }
}
