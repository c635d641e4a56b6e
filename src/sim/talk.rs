//! What a peer says to one of our services, and what it must hear: the application's side of one connection, without any TCP.
//!
//! Both streams are known before the first byte is sent. So whatever the network does, what was heard has to be a prefix of what
//! was to be heard, and where nobody gave up, all of it.

use super::random::Random;

/// Which service the other end is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partner {
    /// Takes everything, says nothing, closes behind us.
    Discard,
    /// Says nothing and closes at once.
    Close,
    /// Answers requests with this body.
    Http(Vec<u8>),
}

/// Who closes, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// We do, right behind the last byte that we say.
    AfterTalking,
    /// We do, once all that was to be heard was heard.
    AfterHearing,
    /// The partner does, and we behind it.
    AfterPartner,
}

/// One conversation.
#[derive(Clone, Debug)]
pub struct Talk {
    says: Vec<u8>,
    hears: Vec<u8>,
    said: usize,
    heard: usize,
    ending: Ending,
    partner_closed: bool,
}

/// The response of an http service of ours with this body, as RFC 9112 has it.
fn response(body: &[u8], connection: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: handfast\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Talk {
    /// A conversation with `partner`, drawn from `random`. `most` limits what either side says, in bytes.
    pub fn draw(partner: &Partner, most: usize, random: &mut Random) -> Self {
        match partner {
            Partner::Discard => {
                let len = random.within(0..=most);
                Self::new(random.bytes(len), Vec::new(), Ending::AfterTalking)
            }
            Partner::Close => {
                let len = if random.chance(300) { random.within(0..=most) } else { 0 };
                Self::new(random.bytes(len), Vec::new(), Ending::AfterPartner)
            }
            Partner::Http(body) => Self::draw_http(body, most, random),
        }
    }

    fn draw_http(body: &[u8], most: usize, random: &mut Random) -> Self {
        let most_requests = (most / (body.len() + 150)).clamp(1, 60);
        let requests = random.within(1..=most_requests);
        let ending = random.pick(&[Ending::AfterTalking, Ending::AfterHearing, Ending::AfterPartner]);
        let (mut says, mut hears) = (Vec::new(), Vec::new());
        for i in 1..=requests {
            let is_last = i == requests && ending == Ending::AfterPartner;
            let text_len = if random.chance(200) { random.within(1..=2_000_usize) } else { 0 };
            says.extend(match text_len {
                0 => b"GET / HTTP/1.1\r\nHost: sim\r\n".to_vec(),
                len => format!("POST /{i} HTTP/1.1\r\nContent-Length: {len}\r\n").into_bytes(),
            });
            says.extend_from_slice(if is_last { b"Connection: close\r\n\r\n" } else { b"\r\n" });
            says.extend(random.bytes(text_len));
            hears.extend(response(body, if is_last { "close" } else { "keep-alive" }));
        }
        Self::new(says, hears, ending)
    }

    fn new(says: Vec<u8>, hears: Vec<u8>, ending: Ending) -> Self {
        Self { says, hears, said: 0, heard: 0, ending, partner_closed: false }
    }

    /// What is still to be said.
    pub fn to_say(&self) -> &[u8] {
        &self.says[self.said..]
    }

    /// The TCP took the first `len` bytes of [`Talk::to_say`].
    pub fn said(&mut self, len: usize) {
        self.said += len;
    }

    /// Bytes came.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        let expected = self.hears[self.heard..].get(..bytes.len());
        if expected != Some(bytes) {
            let at = self.hears[self.heard..].iter().zip(bytes).take_while(|(a, b)| a == b).count();
            return Err(format!("byte {} of {} is not what was to be heard", self.heard + at, self.hears.len()));
        }
        self.heard += bytes.len();
        Ok(())
    }

    /// The partner closed.
    pub fn partner_closed(&mut self) {
        self.partner_closed = true;
    }

    /// True once [`Talk::partner_closed`] was told.
    pub fn has_partner_closed(&self) -> bool {
        self.partner_closed
    }

    /// True once we are to close.
    pub fn wants_to_close(&self) -> bool {
        match self.ending {
            Ending::AfterTalking => self.to_say().is_empty(),
            Ending::AfterHearing => self.heard_all(),
            Ending::AfterPartner => self.partner_closed,
        }
    }

    fn heard_all(&self) -> bool {
        self.heard == self.hears.len()
    }

    /// True once everything was said and heard, and the partner closed.
    pub fn is_complete(&self) -> bool {
        self.heard_all() && self.partner_closed && (self.to_say().is_empty() || self.ending == Ending::AfterPartner)
    }

    /// Bytes said and heard so far.
    pub fn bytes(&self) -> (usize, usize) {
        (self.said, self.heard)
    }

    /// How far it got, for a report.
    pub fn progress(&self) -> String {
        let closed = if self.partner_closed { "closed" } else { "not closed" };
        format!(
            "said {} of {} bytes, heard {} of {}, partner {closed}",
            self.said,
            self.says.len(),
            self.heard,
            self.hears.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Http, Service, Stream};
    use crate::tcp::tcb::AppState;

    #[test]
    fn what_is_to_be_heard_is_what_the_service_says() {
        let body = b"hello, world".to_vec();
        let http = Http::new(&body, "text/plain").unwrap();
        for seed in 0..50 {
            let mut talk = Talk::draw(&Partner::Http(body.clone()), 20_000, &mut Random::new(seed));
            let mut app = AppState::default();
            let reaction = http.received(&mut app, 0, talk.to_say());
            let stream = Stream { base: 0, queued: reaction.queue, app };
            let mut said = vec![0; reaction.queue as usize];
            http.fill(&stream, 0, &mut said);
            talk.said(talk.to_say().len());
            talk.hear(&said).unwrap();
            talk.partner_closed();
            assert!(talk.is_complete(), "{}", talk.progress());
        }
    }

    #[test]
    fn a_wrong_byte_and_one_too_many_are_noticed() {
        let mut talk = Talk::new(Vec::new(), b"abc".to_vec(), Ending::AfterHearing);
        assert!(talk.clone().hear(b"ax").unwrap_err().starts_with("byte 1 of 3"));
        assert!(talk.clone().hear(b"abcd").unwrap_err().starts_with("byte 3 of 3"));
        talk.hear(b"ab").unwrap();
        assert!(!talk.wants_to_close() && !talk.is_complete());
        talk.hear(b"c").unwrap();
        assert!(talk.wants_to_close() && !talk.is_complete());
        talk.partner_closed();
        assert!(talk.is_complete());
    }
}
