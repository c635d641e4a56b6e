//! The link seen from the client's end: what is captured there with tcpdump and read with tshark, and frames that are made
//! by hand and put on it.
//!
//! The frames are made without the library's own code for headers and checksums: a bug must not agree with itself. They
//! come from addresses that the client's kernel does not own, so it answers nothing to what they bring about.
#![allow(dead_code, reason = "not every test program that takes this file in uses all of it")]

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::Duration;

use handfast::port::Port as _;
use handfast::port::xsk::{XskConfig, XskPort};
use rustix::process::Signal;

use crate::world::{Process, World, run, wait_for};

/// What does not happen on a link without loss: segments sent again, duplicate ACKs, connections torn down. Only the server's
/// window has to stay open; a client that reads slowly may shut its own.
pub const DISTURBANCES: &str = "tcp.analysis.retransmission || tcp.analysis.fast_retransmission || \
    tcp.analysis.spurious_retransmission || tcp.analysis.duplicate_ack || tcp.analysis.lost_segment || \
    tcp.analysis.out_of_order || tcp.flags.reset == 1 || \
    (tcp.analysis.zero_window && eth.src == 02:68:66:00:00:01)";

/// Frames that come from the server's end.
pub const FROM_SERVER: &str = "eth.src == 02:68:66:00:00:01";

/// Whole checksums: our own frames always carry them.
pub const BAD_CHECKSUM: &str = "tcp.checksum.status == 0 || ip.checksum.status == 0";

/// A running capture on the client's interface.
pub struct Capture {
    tcpdump: Process,
    file: String,
    log: String,
}

/// What was captured.
pub struct Captured {
    file: String,
}

impl Capture {
    /// Captures from now on.
    pub fn start(world: &World) -> Self {
        Self::start_on(world, "hf-client", |args| world.at_client("tcpdump", args))
    }

    /// The same on the server's interface: what a program redirects out of the client's is seen only there.
    pub fn start_at_server(world: &World) -> Self {
        Self::start_on(world, "hf-server", |args| world.at_server("tcpdump", args))
    }

    fn start_on(world: &World, interface: &str, command: impl Fn(&[&str]) -> Command) -> Self {
        let (file, log) = (world.path(&format!("{interface}.pcap")), world.path("tcpdump.err"));
        // The kernel's buffer of 64 MiB has a slot of this snapshot length for each frame.
        let args =
            ["-i", interface, "-n", "-U", "--immediate-mode", "-s", "4096", "-B", "65536", "-Z", "root", "-w", &file];
        let child = command(&args).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let capture = Self { tcpdump: Process(child), file, log };
        wait_for("tcpdump", || fs::read_to_string(&capture.log).unwrap().contains("listening on"));
        capture
    }

    /// Ends the capture once nothing more comes, and insists that it is complete.
    pub fn stop(mut self) -> Captured {
        let size = || fs::metadata(&self.file).unwrap().len();
        let mut before = None;
        while before != Some(size()) {
            before = Some(size());
            thread::sleep(Duration::from_millis(150));
        }
        self.tcpdump.signal(Signal::INT);
        assert!(self.tcpdump.wait().success());
        let log = fs::read_to_string(&self.log).unwrap();
        assert!(log.contains("\n0 packets dropped by kernel"), "the capture has gaps: {log}");
        Captured { file: self.file }
    }
}

impl Captured {
    /// What lies in a file.
    pub fn of(file: &str) -> Self {
        Self { file: file.to_owned() }
    }

    /// The frames that a display filter of tshark selects, each as the values of `fields`.
    pub fn frames(&self, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let mut tshark = Command::new("tshark");
        tshark.args(["-n", "-r", &self.file, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]);
        tshark.args(["-Y", filter, "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"]);
        tshark.args(fields.iter().flat_map(|field| ["-e", field]));
        let printed = run(&mut tshark);
        printed.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    }

    /// How many frames a display filter selects.
    pub fn count(&self, filter: &str) -> usize {
        self.frames(filter, &["frame.number"]).len()
    }

    /// Insists that nothing disturbed the connections and that the server's frames have whole checksums.
    pub fn assert_undisturbed(&self) {
        let fields = ["frame.number", "frame.time_relative", "_ws.col.Info"];
        let found = self.frames(DISTURBANCES, &fields);
        assert!(found.is_empty(), "{found:#?}");
        let found = self.frames(&format!("({BAD_CHECKSUM}) && {FROM_SERVER}"), &fields);
        assert!(found.is_empty(), "{found:#?}");
        assert!(self.count("tcp") > 0, "nothing was captured");
    }
}

/// Puts frames on the link at the client's end, as they are.
pub struct Hand {
    port: XskPort,
}

impl Hand {
    pub fn new(world: &World) -> Self {
        // Sent through an AF_XDP socket: the kernel neither completes nor corrects what it is given.
        let config = XskConfig {
            frames: 256,
            rx_ring: 64,
            tx_ring: 64,
            fill_ring: 64,
            completion_ring: 64,
            ..XskConfig::new("hf-client", 0)
        };
        Self::with(world, config)
    }

    /// With a socket of its own making.
    pub fn with(world: &World, config: XskConfig) -> Self {
        Self { port: world.in_client(|| XskPort::open(&config)).unwrap() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.queue(bytes);
        self.flush();
    }

    /// Sends many frames, as few at a time as fit a veth's ring.
    pub fn send_all(&mut self, frames: &[Vec<u8>]) {
        for some in frames.chunks(16) {
            some.iter().for_each(|bytes| self.queue(bytes));
            self.flush();
        }
    }

    fn queue(&mut self, bytes: &[u8]) {
        let mut frame = self.port.take_free().expect("frames come back as fast as they are sent here");
        self.port.bytes_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
        self.port.transmit(frame, bytes.len());
    }

    fn flush(&mut self) {
        self.port.flush();
        wait_for("a frame sent", || {
            self.port.flush();
            !self.port.tx_outstanding()
        });
    }
}

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const URG: u8 = 0x20;

pub const CLIENT_MAC: [u8; 6] = [2, 0x68, 0x66, 0, 0, 2];
pub const SERVER_MAC: [u8; 6] = [2, 0x68, 0x66, 0, 0, 1];

/// How a segment's TCP checksum is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    Whole,
    /// As a kernel leaves it to hardware: the sum of the pseudo-header, not complemented.
    Partial,
    Wrong,
}

/// A TCP segment in a frame, every field at hand.
#[derive(Clone)]
pub struct Crafted {
    pub dst_mac: [u8; 6],
    /// Ethertype and tag control information of VLAN tags, outer first.
    pub tags: Vec<(u16, u16)>,
    pub src: SocketAddr,
    pub dst: SocketAddr,
    /// IPv4: flags and fragment offset.
    pub fragment: u16,
    /// IPv6: types and bodies of extension headers; a body has 6 bytes, or 8 more for each further unit.
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// As it stands in the header.
    pub window: u16,
    /// In words; 0 for what fits the options.
    pub data_offset: u8,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    pub checksum: Checksum,
}

impl Crafted {
    /// A segment with these flags and nothing else.
    pub fn new(src: SocketAddr, dst: SocketAddr, flags: u8) -> Self {
        Self {
            dst_mac: SERVER_MAC,
            tags: Vec::new(),
            src,
            dst,
            fragment: 0,
            extensions: Vec::new(),
            seq: 1000,
            ack: 0,
            flags,
            window: 0xffff,
            data_offset: 0,
            options: Vec::new(),
            payload: Vec::new(),
            checksum: Checksum::Whole,
        }
    }

    /// The frame.
    pub fn bytes(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let mut frame = [self.dst_mac, CLIENT_MAC].concat();
        for (ethertype, tci) in &self.tags {
            frame.extend([ethertype.to_be_bytes(), tci.to_be_bytes()].concat());
        }
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let total = u16::try_from(20 + tcp.len()).unwrap();
                let words = [0x4500, total, 1, self.fragment, 0x4006, 0];
                let mut header: Vec<u8> = words.into_iter().flat_map(u16::to_be_bytes).collect();
                header.extend([src.octets(), dst.octets()].concat());
                let sum = !sum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend(0x0800_u16.to_be_bytes());
                frame.extend(header);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let chain = self.chain();
                let first = self.extensions.first().map_or(6, |(kind, _)| *kind);
                frame.extend(0x86dd_u16.to_be_bytes());
                frame.extend([0x60, 0, 0, 0]);
                frame.extend(u16::try_from(chain.len() + tcp.len()).unwrap().to_be_bytes());
                frame.extend([first, 64]);
                frame.extend([src.octets(), dst.octets()].concat());
                frame.extend(chain);
            }
            _ => panic!("one address is IPv4, the other IPv6"),
        }
        frame.extend(tcp);
        frame
    }

    /// The extension headers, each with the type of the next.
    fn chain(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (i, (_, body)) in self.extensions.iter().enumerate() {
            let next = self.extensions.get(i + 1).map_or(6, |(kind, _)| *kind);
            bytes.extend([next, u8::try_from(body.len() / 8).unwrap()]);
            bytes.extend(body);
        }
        bytes
    }

    fn tcp(&self) -> Vec<u8> {
        let words = u8::try_from(5 + self.options.len() / 4).unwrap();
        let data_offset = if self.data_offset == 0 { words } else { self.data_offset };
        let mut tcp = [self.src.port().to_be_bytes(), self.dst.port().to_be_bytes()].concat();
        tcp.extend([self.seq.to_be_bytes(), self.ack.to_be_bytes()].concat());
        tcp.extend([data_offset << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let mut pseudo = match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => [src.octets(), dst.octets()].concat(),
            (IpAddr::V6(src), IpAddr::V6(dst)) => [src.octets(), dst.octets()].concat(),
            _ => panic!("one address is IPv4, the other IPv6"),
        };
        pseudo.extend([0, 6]);
        pseudo.extend(u16::try_from(tcp.len()).unwrap().to_be_bytes());
        let checksum = match self.checksum {
            Checksum::Whole => !sum(&[&pseudo[..], &tcp].concat()),
            Checksum::Partial => sum(&pseudo),
            Checksum::Wrong => !sum(&[&pseudo[..], &tcp].concat()) ^ 0x0400,
        };
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        tcp
    }
}

/// The folded sum of 16-bit words (RFC 1071), an odd last byte padded with zero.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}
