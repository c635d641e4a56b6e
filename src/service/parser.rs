//! An HTTP/1 request parser that remembers six bytes between two pieces of input.
//!
//! It reads only what decides about the response: is it a HEAD, which version, does the connection stay open, how
//! many bytes of body follow. Everything else is stepped over, of any length, because nothing of it is kept.

use crate::tcp::tcb::AppState;

/// How a connection's last response reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The response, with `Connection: close`.
    Close,
    /// The head of the response alone.
    Head,
    /// 400.
    BadRequest,
    /// 411: a body of unknown length.
    LengthRequired,
    /// 413: a body beyond 2^24 bytes.
    TooLarge,
}

impl Tail {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// All, in the order of [`Tail::index`].
    pub const ALL: [Tail; Self::COUNT] =
        [Tail::Close, Tail::Head, Tail::BadRequest, Tail::LengthRequired, Tail::TooLarge];

    /// Position in [`Tail::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A request was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Answer, and stay open.
    Keep,
    /// Answer with this, and close.
    Last(Tail),
}

/// Where in a request the parser stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Before the method; empty lines are skipped (RFC 9112 2.2).
    Start,
    Method,
    Target,
    /// In "HTTP/1.x"; `matched` bytes of it were seen.
    Version,
    /// Behind the version, until the end of the line.
    VersionEnd,
    /// In a field name; `matched` bytes of it were seen.
    Name,
    /// In the value of Connection.
    Connection,
    /// In the value of Content-Length.
    Length,
    /// In a value that does not matter.
    Value,
    /// Behind the CR of the empty line.
    LastLf,
    /// In the body; `length` bytes are left.
    Body,
    /// The last request was answered; everything is ignored.
    Done,
}

impl Phase {
    const ALL: [Phase; 12] = [
        Phase::Start,
        Phase::Method,
        Phase::Target,
        Phase::Version,
        Phase::VersionEnd,
        Phase::Name,
        Phase::Connection,
        Phase::Length,
        Phase::Value,
        Phase::LastLf,
        Phase::Body,
        Phase::Done,
    ];
}

/// Words that are compared letter by letter as they come. Which are still possible is kept as bits.
const HEAD: &[u8] = b"HEAD";
const VERSION: &[u8] = b"HTTP/1.";
const NAMES: [&[u8]; 3] = [b"connection", b"content-length", b"transfer-encoding"];
const TOKENS: [&[u8]; 2] = [b"close", b"keep-alive"];

/// Bits of `flags`: the low three say which words are still possible.
const CANDIDATES: u8 = 0b111;
const IS_HEAD: u8 = 1 << 3;
const IS_HTTP_1_0: u8 = 1 << 4;
const SAID_CLOSE: u8 = 1 << 5;
const SAID_KEEP_ALIVE: u8 = 1 << 6;
const HAS_DIGITS: u8 = 1 << 7;

/// Bodies are skipped up to this length.
const MAX_LENGTH: u32 = (1 << 24) - 1;

/// The parser. [`Parser::load`] and [`Parser::store`] keep it in six bytes.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    phase: Phase,
    tail: Option<Tail>,
    matched: u8,
    flags: u8,
    length: u32,
}

impl Parser {
    /// The parser that [`Parser::store`] wrote; of zeros, a fresh one.
    pub fn load(AppState([first, matched, flags, l0, l1, l2]): AppState) -> Self {
        Self {
            phase: Phase::ALL.get(usize::from(first & 0x0f)).copied().unwrap_or(Phase::Done),
            tail: usize::from(first >> 4).checked_sub(1).and_then(|i| Tail::ALL.get(i)).copied(),
            matched,
            flags,
            length: u32::from_le_bytes([l0, l1, l2, 0]),
        }
    }

    /// Everything the parser knows.
    pub fn store(self) -> AppState {
        let [l0, l1, l2, _] = self.length.to_le_bytes();
        let tail = self.tail.map_or(0, |tail| tail as u8 + 1);
        AppState([self.phase as u8 | tail << 4, self.matched, self.flags, l0, l1, l2])
    }

    /// How the connection's last response reads, once it has been asked for.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Reads `bytes` and yields an event for every request that ends in them.
    pub fn feed<'a>(&'a mut self, bytes: &'a [u8]) -> impl Iterator<Item = Event> + 'a {
        let mut rest = bytes;
        core::iter::from_fn(move || {
            while let [byte, tail @ ..] = rest {
                if self.phase == Phase::Body {
                    let skip = rest.len().min(self.length as usize);
                    rest = &rest[skip..];
                    self.length -= u32::try_from(skip).expect("not more than the length");
                    if self.length == 0 {
                        return Some(self.finish());
                    }
                    continue;
                }
                rest = tail;
                if let Some(event) = self.step(*byte) {
                    return Some(event);
                }
            }
            None
        })
    }

    /// One byte outside a body.
    fn step(&mut self, byte: u8) -> Option<Event> {
        match self.phase {
            Phase::Start => self.start(byte),
            Phase::Method => self.method(byte),
            Phase::Target => match byte {
                b' ' => self.enter(Phase::Version),
                b'\r' | b'\n' => self.fail(Tail::BadRequest),
                _ => None,
            },
            Phase::Version => self.version(byte),
            Phase::VersionEnd => match byte {
                b'\r' => None,
                b'\n' => self.enter(Phase::Name),
                _ => self.fail(Tail::BadRequest),
            },
            Phase::Name => self.name(byte),
            Phase::Connection => self.connection(byte),
            Phase::Length => self.length(byte),
            Phase::Value => {
                if byte == b'\n' {
                    self.enter(Phase::Name)
                } else {
                    None
                }
            }
            Phase::LastLf => {
                if byte == b'\n' {
                    self.headers_end()
                } else {
                    self.fail(Tail::BadRequest)
                }
            }
            Phase::Body | Phase::Done => None,
        }
    }

    /// Goes on to `phase`, with every word possible again.
    fn enter(&mut self, phase: Phase) -> Option<Event> {
        self.phase = phase;
        self.matched = 0;
        self.flags |= CANDIDATES;
        None
    }

    fn fail(&mut self, tail: Tail) -> Option<Event> {
        self.phase = Phase::Done;
        self.tail = Some(tail);
        Some(Event::Last(tail))
    }

    fn start(&mut self, byte: u8) -> Option<Event> {
        if byte == b'\r' || byte == b'\n' {
            return None;
        }
        self.flags = 0;
        self.length = 0;
        self.enter(Phase::Method);
        self.method(byte)
    }

    /// A method is a token (RFC 9110 5.6.2) and ends with a space.
    fn method(&mut self, byte: u8) -> Option<Event> {
        match byte {
            b' ' if self.matched > 0 => {
                let head = self.flags & 1 != 0 && usize::from(self.matched) == HEAD.len();
                self.flags |= if head { IS_HEAD } else { 0 };
                self.enter(Phase::Target)
            }
            byte if byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte) => {
                self.compare(&[HEAD], byte);
                None
            }
            _ => self.fail(Tail::BadRequest),
        }
    }

    /// "HTTP/1." and one digit: 1.0 closes unless asked otherwise, any other minor version counts as 1.1.
    fn version(&mut self, byte: u8) -> Option<Event> {
        match VERSION.get(usize::from(self.matched)) {
            Some(expected) if byte == *expected => {
                self.matched += 1;
                None
            }
            None if byte.is_ascii_digit() => {
                self.flags |= if byte == b'0' { IS_HTTP_1_0 } else { 0 };
                self.enter(Phase::VersionEnd)
            }
            _ => self.fail(Tail::BadRequest),
        }
    }

    fn name(&mut self, byte: u8) -> Option<Event> {
        match byte {
            b'\n' if self.matched == 0 => self.headers_end(),
            b'\r' if self.matched == 0 => self.enter(Phase::LastLf),
            b'\r' | b'\n' => self.fail(Tail::BadRequest),
            b':' => match self.whole_word(&NAMES) {
                Some(0) => self.enter(Phase::Connection),
                Some(1) => {
                    self.flags &= !HAS_DIGITS;
                    self.length = 0;
                    self.enter(Phase::Length)
                }
                Some(_) => self.fail(Tail::LengthRequired),
                None => self.enter(Phase::Value),
            },
            _ => {
                self.compare(&NAMES, byte.to_ascii_lowercase());
                None
            }
        }
    }

    /// A list of tokens, separated by commas and spaces (RFC 9110 7.6.1).
    fn connection(&mut self, byte: u8) -> Option<Event> {
        if !matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n') {
            self.compare(&TOKENS, byte.to_ascii_lowercase());
            return None;
        }
        match self.whole_word(&TOKENS) {
            Some(0) => self.flags |= SAID_CLOSE,
            Some(_) => self.flags |= SAID_KEEP_ALIVE,
            None => {}
        }
        self.enter(if byte == b'\n' { Phase::Name } else { Phase::Connection })
    }

    fn length(&mut self, byte: u8) -> Option<Event> {
        match byte {
            b'0'..=b'9' => {
                self.flags |= HAS_DIGITS;
                self.length = self.length * 10 + u32::from(byte - b'0');
                if self.length > MAX_LENGTH { self.fail(Tail::TooLarge) } else { None }
            }
            b' ' | b'\t' | b'\r' => None,
            b'\n' if self.flags & HAS_DIGITS != 0 => self.enter(Phase::Name),
            _ => self.fail(Tail::BadRequest),
        }
    }

    fn headers_end(&mut self) -> Option<Event> {
        if self.length > 0 { self.enter(Phase::Body) } else { Some(self.finish()) }
    }

    /// The request is complete.
    fn finish(&mut self) -> Event {
        let keep = self.flags & SAID_CLOSE == 0 && (self.flags & IS_HTTP_1_0 == 0 || self.flags & SAID_KEEP_ALIVE != 0);
        let tail = if self.flags & IS_HEAD != 0 { Tail::Head } else { Tail::Close };
        if keep && tail == Tail::Close {
            self.phase = Phase::Start;
            return Event::Keep;
        }
        self.phase = Phase::Done;
        self.tail = Some(tail);
        Event::Last(tail)
    }

    /// Takes one more letter of a word: those of `words` that have another letter there are ruled out.
    fn compare(&mut self, words: &[&[u8]], byte: u8) {
        for (i, word) in words.iter().enumerate() {
            if word.get(usize::from(self.matched)) != Some(&byte) {
                self.flags &= !(1 << i);
            }
        }
        self.matched = self.matched.saturating_add(1);
    }

    /// Which of `words` was spelt out whole.
    fn whole_word(&self, words: &[&[u8]]) -> Option<usize> {
        (0..words.len()).find(|i| self.flags >> i & 1 == 1 && words[*i].len() == usize::from(self.matched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(input: &[u8], piece: usize) -> Vec<Event> {
        let mut app = AppState::default();
        let mut events = Vec::new();
        for bytes in input.chunks(piece) {
            let mut parser = Parser::load(app);
            events.extend(parser.feed(bytes));
            app = parser.store();
        }
        events
    }

    #[test]
    fn whether_the_connection_stays_open_follows_version_and_connection() {
        for (request, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", Event::Keep),
            ("GET / HTTP/1.1\n\n", Event::Keep),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Event::Keep),
            ("GET / HTTP/1.1\r\ncOnNeCtIoN: foo, Close\r\n\r\n", Event::Last(Tail::Close)),
            ("GET / HTTP/1.1\r\nConnection: closed\r\n\r\n", Event::Keep),
            ("GET / HTTP/1.1\r\nConnections: close\r\n\r\n", Event::Keep),
            ("GET / HTTP/1.0\r\n\r\n", Event::Last(Tail::Close)),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Event::Keep),
            ("HEAD / HTTP/1.1\r\n\r\n", Event::Last(Tail::Head)),
            ("HEADER / HTTP/1.1\r\n\r\n", Event::Keep),
            (" / HTTP/1.1\r\n\r\n", Event::Last(Tail::BadRequest)),
        ] {
            for piece in [1, 5, 100] {
                assert_eq!(events(request.as_bytes(), piece), [expected], "{request:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_body_is_skipped_whatever_it_holds() {
        let input = b"PUT / HTTP/1.1\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(events(input, 4), [Event::Keep, Event::Keep]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_and_the_cut_does_not_matter(
            input in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..20,
        ) {
            prop_assert_eq!(events(&input, piece), events(&input, 1000));
        }

        #[test]
        fn requests_made_of_likely_words_do_not_depend_on_the_cut(
            words in proptest::collection::vec(proptest::sample::select(vec![
                "GET ", "HEAD ", "/ ", "HTTP/1.1", "HTTP/1.0", "\r\n", "\n", "Connection:", "close", ", ", "keep-alive",
                "Content-Length: ", "7", "Transfer-Encoding:", "x",
            ]), 0..30),
            piece in 1_usize..20,
        ) {
            let input = words.concat();
            prop_assert_eq!(events(input.as_bytes(), piece), events(input.as_bytes(), 1000));
        }
    }
}
