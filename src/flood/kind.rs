//! What a flood consists of: one kind of segment, and what it is for the target.

use std::fmt;
use std::str::FromStr;

use crate::wire::segment::Control;

/// A kind of frame. Every checksum is right and every header whole, but for what the kind is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SYN: the target is to keep a half-open connection for each.
    Syn,
    /// ACK of no connection: a RST for each, or the check of a cookie.
    Ack,
    /// RST of no connection.
    Rst,
    /// FIN with ACK, of no connection.
    Fin,
    /// FIN, PSH and URG together, as port scanners send them.
    Xmas,
    /// Any of the eight control bits.
    Random,
    /// The first fragment of a SYN whose others never come.
    Fragment,
    /// SYN with a wrong TCP checksum.
    BadChecksum,
    /// SYN whose packet ends after twelve bytes of the TCP header.
    Short,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 9] = [
        Kind::Syn,
        Kind::Ack,
        Kind::Rst,
        Kind::Fin,
        Kind::Xmas,
        Kind::Random,
        Kind::Fragment,
        Kind::BadChecksum,
        Kind::Short,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Syn => "syn",
            Kind::Ack => "ack",
            Kind::Rst => "rst",
            Kind::Fin => "fin",
            Kind::Xmas => "xmas",
            Kind::Random => "random",
            Kind::Fragment => "fragment",
            Kind::BadChecksum => "bad-checksum",
            Kind::Short => "short",
        }
    }

    /// The control bits of its segments; none where they are random.
    pub fn control(self) -> Control {
        match self {
            Kind::Syn | Kind::Fragment | Kind::BadChecksum | Kind::Short => Control::SYN,
            Kind::Ack => Control::ACK,
            Kind::Rst => Control::RST,
            Kind::Fin => Control::FIN | Control::ACK,
            Kind::Xmas => Control::FIN | Control::PSH | Control::URG,
            Kind::Random => Control::default(),
        }
    }

    /// True if its segments have the options of a SYN.
    pub const fn has_options(self) -> bool {
        matches!(self, Kind::Syn | Kind::Fragment | Kind::BadChecksum)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("must be one of {}", Kind::ALL.map(Kind::name).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_by_its_name() {
        assert!(Kind::ALL.iter().all(|kind| kind.to_string().parse() == Ok(*kind)));
        assert!("smurf".parse::<Kind>().unwrap_err().contains("bad-checksum, short"));
    }
}
