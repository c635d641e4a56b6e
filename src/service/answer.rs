//! Reads the head and skips the body of one HTTP/1 response (RFC 9112), remembering six bytes between two pieces of input.
//!
//! An answer is whole when as many bytes followed its head as its Content-Length says; one without that field ends with the
//! connection. What is deliberately not here: chunked answers and any other Transfer-Encoding, which count as wrong because
//! their length cannot be checked against anything; and what the body says.

use crate::tcp::tcb::AppState;

/// Where in an answer the reader stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// In "HTTP/1." and the digit and space behind it; `matched` bytes of them were seen.
    #[default]
    Version,
    /// In the three digits of the status; `matched` of them were seen.
    Status,
    /// Behind the status, until the end of the line.
    Reason,
    /// In a field name; `matched` bytes of it were seen.
    Name,
    /// In the value of Content-Length.
    Length,
    /// In a value that does not matter.
    Value,
    /// Behind the CR of the empty line.
    LastLf,
    /// In a body; `length` bytes are left.
    Body,
    /// In a body that ends with the connection.
    UntilClose,
    /// The answer is whole.
    Whole,
    /// This is no answer that was hoped for.
    Wrong,
}

impl Phase {
    const ALL: [Phase; 11] = [
        Phase::Version,
        Phase::Status,
        Phase::Reason,
        Phase::Name,
        Phase::Length,
        Phase::Value,
        Phase::LastLf,
        Phase::Body,
        Phase::UntilClose,
        Phase::Whole,
        Phase::Wrong,
    ];
}

const VERSION: &[u8] = b"HTTP/1.";
const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";

/// Bits of the byte that `matched` shares: the low six count, no word here is longer.
const COUNT: u8 = 0b11_1111;
/// The field name may still be the word of this bit.
const MAYBE_LENGTH: u8 = 1 << 6;
const MAYBE_ENCODING: u8 = 1 << 7;
/// Beside the phase: Content-Length was there.
const HAS_LENGTH: u8 = 1 << 7;

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More has to come.
    Partial,
    /// This was its last byte.
    Whole,
    /// It is not HTTP/1, its status is not 2xx, its length cannot be known, or more came than it said.
    Wrong,
}

/// The reader. [`Answer::load`] and [`Answer::store`] keep it in six bytes.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    phase: Phase,
    has_length: bool,
    matched: u8,
    maybe: u8,
    length: u32,
}

impl Answer {
    /// The reader that [`Answer::store`] wrote; of zeros, a fresh one.
    pub fn load(AppState([first, second, l0, l1, l2, l3]): AppState) -> Self {
        Self {
            phase: Phase::ALL.get(usize::from(first & !HAS_LENGTH)).copied().unwrap_or(Phase::Wrong),
            has_length: first & HAS_LENGTH != 0,
            matched: second & COUNT,
            maybe: second & !COUNT,
            length: u32::from_le_bytes([l0, l1, l2, l3]),
        }
    }

    /// Everything the reader knows.
    pub fn store(self) -> AppState {
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        let has_length = if self.has_length { HAS_LENGTH } else { 0 };
        AppState([self.phase as u8 | has_length, self.matched | self.maybe, l0, l1, l2, l3])
    }

    /// Reads `bytes`.
    pub fn feed(&mut self, bytes: &[u8]) -> Progress {
        let mut rest = bytes;
        while let [byte, tail @ ..] = rest {
            match self.phase {
                Phase::Body => {
                    let skip = rest.len().min(self.length as usize);
                    self.length -= u32::try_from(skip).expect("not more than the length");
                    rest = &rest[skip..];
                    if self.length == 0 {
                        self.phase = Phase::Whole;
                    }
                }
                Phase::UntilClose => return Progress::Partial,
                // Nothing more was asked for.
                Phase::Whole | Phase::Wrong => {
                    self.phase = Phase::Wrong;
                    return Progress::Wrong;
                }
                _ => {
                    self.head(*byte);
                    rest = tail;
                }
            }
        }
        match self.phase {
            Phase::Whole => Progress::Whole,
            Phase::Wrong => Progress::Wrong,
            _ => Progress::Partial,
        }
    }

    /// True if the answer is whole now that the peer has closed.
    pub fn is_whole_at_close(&self) -> bool {
        matches!(self.phase, Phase::Whole | Phase::UntilClose)
    }

    /// True if its last byte has been read.
    pub fn is_whole(&self) -> bool {
        self.phase == Phase::Whole
    }

    /// One byte of the head.
    fn head(&mut self, byte: u8) {
        match self.phase {
            Phase::Version => self.version(byte),
            Phase::Status => self.status(byte),
            Phase::Reason | Phase::Value if byte == b'\n' => self.enter(Phase::Name),
            Phase::Name => self.name(byte),
            Phase::Length => self.content_length(byte),
            Phase::LastLf if byte == b'\n' => self.head_ends(),
            Phase::LastLf => self.phase = Phase::Wrong,
            Phase::Reason | Phase::Value | Phase::Body | Phase::UntilClose | Phase::Whole | Phase::Wrong => {}
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.matched = 0;
        self.maybe = MAYBE_LENGTH | MAYBE_ENCODING;
    }

    /// "HTTP/1.", a digit, a space.
    fn version(&mut self, byte: u8) {
        let at = usize::from(self.matched);
        let fits = match VERSION.get(at) {
            Some(expected) => byte == *expected,
            None if at == VERSION.len() => byte.is_ascii_digit(),
            None => byte == b' ',
        };
        self.matched += 1;
        match (fits, at > VERSION.len()) {
            (true, true) => self.enter(Phase::Status),
            (true, false) => {}
            (false, _) => self.phase = Phase::Wrong,
        }
    }

    /// Three digits, the first of them a 2.
    fn status(&mut self, byte: u8) {
        let fits = if self.matched == 0 { byte == b'2' } else { byte.is_ascii_digit() };
        self.matched += 1;
        match (fits, self.matched) {
            (true, 3) => self.enter(Phase::Reason),
            (true, _) => {}
            (false, _) => self.phase = Phase::Wrong,
        }
    }

    fn name(&mut self, byte: u8) {
        let at = usize::from(self.matched);
        match byte {
            b'\r' if at == 0 => return self.enter(Phase::LastLf),
            b'\n' if at == 0 => return self.head_ends(),
            b':' if self.maybe & MAYBE_LENGTH != 0 && at == CONTENT_LENGTH.len() => {
                // A second one would have to say the same; that there is one is wrong enough.
                let phase = if self.has_length { Phase::Wrong } else { Phase::Length };
                return self.enter(phase);
            }
            b':' if self.maybe & MAYBE_ENCODING != 0 && at == TRANSFER_ENCODING.len() => {
                return self.enter(Phase::Wrong);
            }
            b':' => return self.enter(Phase::Value),
            _ => {}
        }
        let byte = byte.to_ascii_lowercase();
        for (bit, word) in [(MAYBE_LENGTH, CONTENT_LENGTH), (MAYBE_ENCODING, TRANSFER_ENCODING)] {
            if word.get(at) != Some(&byte) {
                self.maybe &= !bit;
            }
        }
        self.matched = (self.matched + 1).min(COUNT);
    }

    /// Digits, with white space around them.
    fn content_length(&mut self, byte: u8) {
        match byte {
            b'0'..=b'9' => {
                let sum = self.length.checked_mul(10).and_then(|tens| tens.checked_add(u32::from(byte - b'0')));
                self.has_length = true;
                match sum {
                    Some(sum) => self.length = sum,
                    None => self.phase = Phase::Wrong,
                }
            }
            b' ' | b'\t' | b'\r' => {}
            b'\n' if self.has_length => self.enter(Phase::Name),
            _ => self.phase = Phase::Wrong,
        }
    }

    fn head_ends(&mut self) {
        self.phase = match (self.has_length, self.length) {
            (true, 0) => Phase::Whole,
            (true, _) => Phase::Body,
            (false, _) => Phase::UntilClose,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `input` is found to be, read in pieces of `piece` bytes through six bytes of memory, and whether it is whole if the
    /// peer closes then.
    fn read(input: &[u8], piece: usize) -> (Progress, bool) {
        let mut app = AppState::default();
        let mut progress = Progress::Partial;
        for bytes in input.chunks(piece) {
            let mut answer = Answer::load(app);
            progress = answer.feed(bytes);
            app = answer.store();
        }
        (progress, Answer::load(app).is_whole_at_close())
    }

    fn in_pieces(input: &str, progress: Progress, whole_at_close: bool) {
        for piece in [1, 2, 7, input.len()] {
            assert_eq!(read(input.as_bytes(), piece), (progress, whole_at_close), "{input:?} by {piece}");
        }
    }

    #[test]
    fn an_answer_is_whole_after_as_many_bytes_as_it_says() {
        in_pieces("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello", Progress::Whole, true);
        in_pieces("HTTP/1.0 204 No Content\ncontent-length:0\n\n", Progress::Whole, true);
        in_pieces("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", Progress::Partial, false);
        in_pieces("HTTP/1.1 200 OK\r\nContent-Le", Progress::Partial, false);
        in_pieces("HTTP/1.1 200 OK\r\nContent-Lengthy: 9\r\nContent-Length: 1\r\n\r\nx", Progress::Whole, true);
    }

    #[test]
    fn without_a_length_it_ends_with_the_connection() {
        in_pieces("HTTP/1.1 200 OK\r\nServer: x\r\n\r\nany", Progress::Partial, true);
        in_pieces("HTTP/1.1 200 OK\r\nServer: x\r\n", Progress::Partial, false);
    }

    #[test]
    fn what_was_not_hoped_for_is_wrong() {
        in_pieces("SSH-2.0-OpenSSH", Progress::Wrong, false);
        in_pieces("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Progress::Wrong, false);
        in_pieces("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", Progress::Wrong, false);
        in_pieces("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Progress::Wrong, false);
        in_pieces("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", Progress::Wrong, false);
        in_pieces("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Progress::Wrong, false);
        in_pieces("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", Progress::Wrong, false);
        in_pieces("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", Progress::Wrong, false);
    }

    #[test]
    fn no_input_makes_it_panic_and_six_bytes_hold_all_of_it() {
        use proptest::prelude::*;
        proptest!(|(state in any::<[u8; 6]>(), bytes in prop::collection::vec(any::<u8>(), 0..60))| {
            let mut answer = Answer::load(AppState(state));
            let _ = answer.feed(&bytes);
            let stored = answer.store();
            prop_assert_eq!(Answer::load(stored).store(), stored);
        });
    }
}
