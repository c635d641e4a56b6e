//! The language of `--capture-filter`: text into a filter, or what is wrong with it.
//!
//! Alternatives are separated by `,` or `or`; an alternative is terms joined by `and`; a term is a question, `not` in front of it if the
//! answer is to be no. There are no parentheses: what would need them can be written as alternatives. It is no language of libpcap's, and
//! needs no compiler: each term is one comparison.

use crate::steer::Prefix;
use crate::verdict::DropReason;
use crate::wire::segment::Control;
use crate::wire::tuple::Addr;
use crate::worker::capture::Way;
use crate::worker::capture::filter::{Filter, Net, Term, What};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Terms of a filter at most: each costs a comparison a frame.
pub const MAX_TERMS: usize = 32;

/// The questions, for messages.
const QUESTIONS: &str =
    "host ADDR, net CIDR, port N, syn, fin, rst, ack, psh, in, out, dropped, drop=REASON, answered, accepted";

/// A filter and the text that it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
    /// What the text means.
    pub filter: Filter,
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// A term was expected.
    #[error("{0} where a term was expected: one of {QUESTIONS}, with `not` in front or without")]
    NoTerm(String),
    /// Something other than a joining word behind a term.
    #[error("{0} behind a term: terms are joined by `and`, alternatives by `,` or `or`; there are no parentheses")]
    NotJoined(String),
    /// A question without what it asks for.
    #[error("`{word}` must be followed by {wanted}, and {found} is none")]
    Operand {
        /// The question.
        word: &'static str,
        /// What it asks for.
        wanted: &'static str,
        /// What stands there.
        found: String,
    },
    /// A prefix that is none.
    #[error("`net {text}`: {cause}")]
    Net {
        /// What stands there.
        text: String,
        /// What is wrong with it.
        cause: String,
    },
    /// No such reason.
    #[error("`drop={0}`: no frame is dropped for that; the reasons are {list}", list = reasons())]
    Reason(String),
    /// Too many terms.
    #[error("has more than {MAX_TERMS} terms")]
    TooLong,
}

/// The names of all reasons.
fn reasons() -> String {
    DropReason::ALL.iter().map(|reason| reason.name()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let spaced = text.replace(',', " , ");
        let mut words = spaced.split_whitespace();
        let mut alternatives = vec![Vec::new()];
        loop {
            let terms = alternatives.last_mut().expect("there is always one");
            terms.push(term(&mut words)?);
            match words.next() {
                None => break,
                Some("and") => {}
                Some("," | "or") => alternatives.push(Vec::new()),
                Some(other) => return Err(ExpressionError::NotJoined(quoted(Some(other)))),
            }
        }
        if alternatives.iter().map(Vec::len).sum::<usize>() > MAX_TERMS {
            return Err(ExpressionError::TooLong);
        }
        Ok(Self { text: text.to_owned(), filter: Filter::new(alternatives) })
    }
}

/// A word as a message has it.
fn quoted(word: Option<&str>) -> String {
    word.map_or_else(|| "the end".to_owned(), |word| format!("`{word}`"))
}

/// The next term.
fn term<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<Term, ExpressionError> {
    let mut word = words.next();
    let not = word == Some("not");
    if not {
        word = words.next();
    }
    let what = match word {
        Some("host") => {
            let addr = operand::<IpAddr>("host", "an address, as in 192.0.2.7 or 2001:db8::1", words.next())?;
            What::Net(Net::new(addr.to_canonical().into(), 128))
        }
        Some("net") => What::Net(net(words.next())?),
        Some("port") => What::Port(operand("port", "a number up to 65535", words.next())?),
        Some("syn") => What::Control(Control::SYN),
        Some("fin") => What::Control(Control::FIN),
        Some("rst") => What::Control(Control::RST),
        Some("ack") => What::Control(Control::ACK),
        Some("psh") => What::Control(Control::PSH),
        Some("in") => What::Way(Way::In),
        Some("out") => What::Way(Way::Out),
        Some("dropped") => What::Dropped(None),
        Some("answered") => What::Answered,
        Some("accepted") => What::Accepted,
        Some(other) => match other.strip_prefix("drop=") {
            Some(name) => {
                let known = DropReason::ALL.iter().find(|reason| reason.name() == name);
                What::Dropped(Some(*known.ok_or_else(|| ExpressionError::Reason(name.to_owned()))?))
            }
            None => return Err(ExpressionError::NoTerm(quoted(word))),
        },
        None => return Err(ExpressionError::NoTerm(quoted(word))),
    };
    Ok(Term { what, not })
}

/// What a question is about.
fn operand<T: FromStr>(word: &'static str, wanted: &'static str, found: Option<&str>) -> Result<T, ExpressionError> {
    let parsed = found.and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| ExpressionError::Operand { word, wanted, found: quoted(found) })
}

/// A prefix.
fn net(text: Option<&str>) -> Result<Net, ExpressionError> {
    let wanted = "a prefix, as in 198.51.100.0/24 or 2001:db8::/32";
    let text = text.ok_or(ExpressionError::Operand { word: "net", wanted, found: quoted(None) })?;
    let refused = |cause: &dyn ToString| ExpressionError::Net { text: text.to_owned(), cause: cause.to_string() };
    let prefix: Prefix = text.parse().map_err(|error| refused(&error))?;
    let before = if prefix.addr().is_ipv4() { 96 } else { 0 };
    Ok(Net::new(Addr::from(prefix.addr()), before + u32::from(prefix.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;
    use crate::wire::tuple::FourTuple;
    use crate::worker::capture::Glance;
    use proptest::prelude::*;

    const DROP: Verdict = Verdict::Drop(DropReason::BadTcpChecksum);

    /// A segment from `remote` to `local`.
    fn glance(local: &str, remote: &str, control: Control) -> Glance {
        Glance { tuple: FourTuple::new(local.parse().unwrap(), remote.parse().unwrap()), control }
    }

    fn fits(text: &str, glance: Option<&Glance>, way: Way, verdict: Option<Verdict>) -> bool {
        text.parse::<Expression>().unwrap_or_else(|error| panic!("{text}: {error}")).filter.fits(glance, way, verdict)
    }

    #[test]
    fn each_question_is_answered_by_what_it_asks() {
        let syn = glance("10.0.0.1:80", "10.0.9.7:40000", Control::SYN);
        let v6 = glance("[2001:db8::1]:443", "[2001:db8:1::2]:50000", Control::ACK | Control::FIN);
        let (answered, accepted) = (Verdict::Transmit { len: 54 }, Verdict::Accept);
        // Text; whether it fits: the SYN that was answered, the same dropped, the IPv6 segment that was accepted, the same sent.
        let table = [
            ("host 10.0.9.7", [true, true, false, false]),
            ("host 10.0.0.1", [true, true, false, false]),
            ("host 10.0.0.2", [false; 4]),
            ("host ::ffff:10.0.0.1", [true, true, false, false]),
            ("host 2001:db8::1", [false, false, true, true]),
            ("net 10.0.0.0/16", [true, true, false, false]),
            ("net 10.0.9.0/24", [true, true, false, false]),
            ("net 10.1.0.0/16", [false; 4]),
            ("net 0.0.0.0/0", [true, true, false, false]),
            ("net ::/0", [false, false, true, true]),
            ("net 2001:db8:1::/48", [false, false, true, true]),
            ("port 80", [true, true, false, false]),
            ("port 50000", [false, false, true, true]),
            ("syn", [true, true, false, false]),
            ("fin", [false, false, true, true]),
            ("ack", [false, false, true, true]),
            ("rst", [false; 4]),
            ("psh", [false; 4]),
            ("in", [true, true, true, false]),
            ("out", [false, false, false, true]),
            ("dropped", [false, true, false, false]),
            ("drop=bad_tcp_checksum", [false, true, false, false]),
            ("drop=truncated", [false; 4]),
            ("answered", [true, false, false, false]),
            ("accepted", [false, false, true, false]),
            ("not dropped", [true, false, true, true]),
            ("syn and not dropped", [true, false, false, false]),
            ("rst, fin and out", [false, false, false, true]),
            ("rst or dropped,fin and port 443", [false, true, true, true]),
        ];
        for (text, expected) in table {
            let found = [
                fits(text, Some(&syn), Way::In, Some(answered)),
                fits(text, Some(&syn), Way::In, Some(DROP)),
                fits(text, Some(&v6), Way::In, Some(accepted)),
                fits(text, Some(&v6), Way::Out, None),
            ];
            assert_eq!(found, expected, "{text}");
            assert_eq!(text.parse::<Expression>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_frame_whose_ends_cannot_be_read_fits_no_term_about_them() {
        for text in ["host 10.0.0.1", "net 0.0.0.0/0", "port 80", "syn"] {
            assert!(!fits(text, None, Way::In, Some(DROP)), "{text}");
            assert!(fits(&format!("not {text}"), None, Way::In, Some(DROP)), "{text}");
        }
        assert!(fits("dropped", None, Way::In, Some(DROP)));
    }

    #[test]
    fn every_reason_can_be_named() {
        for reason in DropReason::ALL {
            let text = format!("drop={}", reason.name());
            assert!(fits(&text, None, Way::In, Some(Verdict::Drop(*reason))), "{text}");
        }
    }

    #[test]
    fn each_mistake_is_named_with_what_was_expected() {
        let mistakes = [
            ("", "the end where a term was expected: one of host ADDR"),
            ("tcp", "`tcp` where a term was expected"),
            ("syn and", "the end where a term was expected"),
            ("syn,,fin", "`,` where a term was expected"),
            ("not not syn", "`not` where a term was expected"),
            ("(syn)", "`(syn)` where a term was expected"),
            ("syn fin", "`fin` behind a term: terms are joined by `and`"),
            ("host", "`host` must be followed by an address, as in 192.0.2.7 or 2001:db8::1, and the end is none"),
            (
                "host 10.0.0",
                "`host` must be followed by an address, as in 192.0.2.7 or 2001:db8::1, and `10.0.0` is none",
            ),
            ("port 70000", "`port` must be followed by a number up to 65535, and `70000` is none"),
            ("net", "`net` must be followed by a prefix"),
            ("net 10.0.0.1/8", "`net 10.0.0.1/8`: names an address inside of the prefix; write 10.0.0.0/8"),
            ("drop=bad", "`drop=bad`: no frame is dropped for that; the reasons are truncated, not_ip,"),
        ];
        for (text, start) in mistakes {
            let error = text.parse::<Expression>().unwrap_err().to_string();
            assert!(error.starts_with(start), "{text}: {error}");
        }
        let terms = |count: usize| vec!["syn"; count].join(" and ");
        assert!(terms(MAX_TERMS).parse::<Expression>().is_ok());
        assert_eq!(terms(MAX_TERMS + 1).parse::<Expression>(), Err(ExpressionError::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,40}", near in "((not|and|or|host|net|port|syn|drop=|,|::|10\\.0\\.0\\.1|/8) ?){0,8}") {
            let _ = text.parse::<Expression>();
            let _ = near.parse::<Expression>();
        }
    }
}
