//! The table of cookies, against the library and against a computation of its own.
//!
//! The last column of the table was computed by a third writing of the layout, in Python with nothing but integers, which had to
//! give the same known vectors as `siphash.rs` first. So table, library and eBPF rest on three pieces of code.

use crate::siphash::siphash;
use handfast::tcp::config::TcpConfig;
use handfast::tcp::cookie::{self, Key, Keys, MSS_V4, MSS_V6};
use handfast::wire::options::Options;
use handfast::wire::segment::Segment;
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::{Addr, FourTuple};
use std::net::{IpAddr, SocketAddr};

const TABLE: &str = include_str!("vectors.txt");

/// A line of the table.
struct Vector {
    key: [u8; 16],
    peer: SocketAddr,
    own: SocketAddr,
    peer_isn: u32,
    mss: Option<u16>,
    wscale: Option<u8>,
    sack: bool,
    parity: bool,
    isn: u32,
}

impl Vector {
    fn read(line: &str) -> Self {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [key, peer, own, peer_port, own_port, peer_isn, mss, wscale, sack, parity, isn] = fields[..] else {
            panic!("not the fields of a vector: {line}");
        };
        let end = |addr: &str, port: &str| SocketAddr::new(addr.parse().unwrap(), port.parse().unwrap());
        let hex = |text: &str| u32::from_str_radix(text, 16).unwrap();
        Self {
            key: std::array::from_fn(|i| u8::from_str_radix(&key[2 * i..2 * i + 2], 16).unwrap()),
            peer: end(peer, peer_port),
            own: end(own, own_port),
            peer_isn: hex(peer_isn),
            mss: (mss != "-").then(|| mss.parse().unwrap()),
            wscale: (wscale != "-").then(|| wscale.parse().unwrap()),
            sack: sack == "1",
            parity: parity == "1",
            isn: hex(isn),
        }
    }

    fn syn(&self) -> Segment {
        Segment {
            tuple: FourTuple::new(self.own, self.peer),
            seq: SeqNum(self.peer_isn),
            options: Options {
                mss: self.mss,
                window_scale: self.wscale,
                sack_permitted: self.sack,
                timestamps: Some((1, 0)),
            },
            ..crate::segment()
        }
    }

    /// The number by the description of the layout, and by nothing of the library but its tables of sizes.
    fn recomputed(&self) -> u32 {
        let (table, default) = match self.peer.ip() {
            IpAddr::V4(_) => (MSS_V4, 536),
            IpAddr::V6(_) => (MSS_V6, 1220),
        };
        let mss = self.mss.unwrap_or(default);
        let index = table.iter().rposition(|size| *size <= mss).unwrap_or(0);
        let shift = self.wscale.map_or(15, |shift| shift.min(14));
        let flags = u8::from(self.parity) << 7 | u8::try_from(index).unwrap() << 5 | shift << 1 | u8::from(self.sack);
        let mut message = Vec::new();
        for addr in [self.peer.ip(), self.own.ip()] {
            match addr {
                IpAddr::V4(v4) => message.extend(v4.octets()),
                IpAddr::V6(v6) => message.extend(v6.octets()),
            }
        }
        message.extend(self.own.port().to_le_bytes());
        message.extend(self.peer.port().to_le_bytes());
        message.extend(self.peer_isn.to_le_bytes());
        message.push(flags);
        assert_eq!(message.len(), if self.peer.is_ipv4() { 17 } else { 41 });
        let word = (siphash((1, 3), &self.key, &message) & 0xffff_ffff) as u32;
        word & 0xffff_ff00 | u32::from(flags) ^ word >> 24
    }
}

fn vectors() -> Vec<(&'static str, Vector)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| (line, Vector::read(line))).collect()
}

#[test]
fn the_table_is_what_the_layout_describes() {
    assert!(vectors().len() > 50);
    for (line, vector) in vectors() {
        assert_eq!(vector.recomputed(), vector.isn, "{line}");
    }
}

#[test]
fn the_library_makes_the_numbers_of_the_table_and_takes_them_back() {
    let config = TcpConfig::default();
    for (line, vector) in vectors() {
        let other = Key([0xaa; 16]);
        let keys = Keys { current: Key(vector.key), previous: Some(other), parity: vector.parity };
        assert_eq!(cookie::isn(&vector.syn(), &keys, &config), SeqNum(vector.isn), "{line}");
        let next = Keys { current: other, previous: Some(Key(vector.key)), parity: !vector.parity };
        for keys in [keys, next] {
            let ack = crate::ack_of(&vector.syn(), SeqNum(vector.isn), None);
            let recovered = cookie::check(&ack, &keys, crate::env(&config)).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(recovered.syn.options.window_scale, vector.wscale.map(|shift| shift.min(14)), "{line}");
            assert_eq!(recovered.syn.options.sack_permitted, vector.sack, "{line}");
            assert_eq!((recovered.syn.seq, recovered.iss), (SeqNum(vector.peer_isn), SeqNum(vector.isn)), "{line}");
        }
    }
}

#[test]
fn the_table_has_both_families_parities_and_every_size() {
    let config = TcpConfig::default();
    let mut seen = std::collections::BTreeSet::new();
    for (_, vector) in vectors() {
        let keys = Keys { current: Key(vector.key), previous: None, parity: vector.parity };
        let ack = crate::ack_of(&vector.syn(), SeqNum(vector.isn), None);
        let recovered = cookie::check(&ack, &keys, crate::env(&config)).unwrap();
        let v4 = Addr::from(vector.own.ip()).is_v4();
        seen.insert((v4, recovered.syn.options.mss));
        seen.insert((vector.parity, None));
    }
    let sizes = |v4: bool, table: [u16; 4]| table.map(|mss| (v4, Some(mss)));
    let all = [(true, None), (false, None)].into_iter().chain(sizes(true, MSS_V4)).chain(sizes(false, MSS_V6));
    assert_eq!(seen, all.collect());
}
