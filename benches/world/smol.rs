//! The same work done by smoltcp: a listener at one port with some sockets, and as many peers that take connections through the life
//! that [`super::Population`] takes them through.
//!
//! smoltcp speaks IP here and has no Ethernet header to read or write, which is to its advantage. Its sockets are looked
//! through one after another for each segment, which is how it is made; so what a segment costs depends on how many there are.

use super::{Family, Phase, Population, Stopwatch};
use handfast::wire::options::Options;
use handfast::wire::segment::Control;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use std::collections::VecDeque;
use std::time::Duration;

/// An Ethernet header, which smoltcp is spared.
const ETHER_LEN: usize = 14;
/// Longest packet of this conversation.
const PACKET_ROOM: usize = 128;

/// Packets in and out, in buffers that are used again.
#[derive(Default)]
struct Wire {
    rx: VecDeque<([u8; PACKET_ROOM], usize)>,
    tx: VecDeque<([u8; PACKET_ROOM], usize)>,
}

struct Received(([u8; PACKET_ROOM], usize));

struct Sending<'a>(&'a mut VecDeque<([u8; PACKET_ROOM], usize)>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let (packet, len) = self.0;
        f(&packet[..len])
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = [0; PACKET_ROOM];
        let result = f(&mut packet[..len]);
        self.0.push_back((packet, len));
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        self.rx.pop_front().map(|packet| (Received(packet), Sending(&mut self.tx)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1_500;
        capabilities
    }
}

/// A smoltcp host and its peers.
pub struct Smol {
    interface: Interface,
    wire: Wire,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
    peers: Vec<super::Peer>,
    next: usize,
    burst: usize,
    now_us: i64,
    stopwatch: Stopwatch,
    /// Connections that came to their end.
    pub completed: u64,
    /// Segments that it was given.
    pub segments: u64,
}

/// The port that is listened at.
const PORT: u16 = super::FIRST_LISTENER;

impl Smol {
    /// A host with so many sockets, all listening.
    pub fn new(count: u32, burst: u32) -> Self {
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = 7;
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addrs| {
            addrs.push(IpCidr::new(IpAddress::v4(198, 18, 0, 1), 8)).expect("smoltcp holds an address");
        });
        interface.routes_mut().add_default_ipv4_route([198, 18, 0, 2].into()).expect("smoltcp holds a route");
        let mut sockets = SocketSet::new(Vec::new());
        let handles = (0..count)
            .map(|_| {
                let buffer = || SocketBuffer::new(vec![0; 1024]);
                let mut socket = Socket::new(buffer(), buffer());
                socket.listen(PORT).expect("a new socket listens");
                sockets.add(socket)
            })
            .collect();
        let peers = vec![super::Peer { phase: Phase::Syn, irs: 0, tsval: 0, last_burst: 0 }; count as usize];
        let burst = burst.min(count) as usize;
        Self {
            interface,
            wire,
            sockets,
            handles,
            peers,
            next: 0,
            burst,
            now_us: 0,
            stopwatch: Stopwatch::new(),
            completed: 0,
            segments: 0,
        }
    }

    /// `bursts` bursts. Returns the time that smoltcp and its user took for them.
    pub fn run(&mut self, bursts: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..bursts {
            for _ in 0..self.burst {
                self.next = (self.next + 1) % self.peers.len();
                self.speak(self.next);
            }
            took += self.turn();
        }
        took
    }

    fn speak(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        let options = if peer.phase == Phase::Syn {
            Options { mss: Some(1_460), ..Options::default() }
        } else {
            Options::default()
        };
        let mut frame = [0; PACKET_ROOM];
        let number = u32::try_from(number).expect("a u32's worth of peers");
        let len = Population::write(&mut frame, number, peer, Family::V4, PORT, options);
        let mut packet = [0; PACKET_ROOM];
        packet[..len - ETHER_LEN].copy_from_slice(&frame[ETHER_LEN..len]);
        self.wire.rx.push_back((packet, len - ETHER_LEN));
        self.segments += 1;
        self.completed += u64::from(peer.phase == Phase::LastAck);
        peer.phase = peer.phase.next();
    }

    /// smoltcp takes the packets in; its user closes what the peer closed, and listens again with what is over.
    fn turn(&mut self) -> Duration {
        self.now_us += 2;
        let now = Instant::from_micros(self.now_us);
        let Self { interface, wire, sockets, handles, .. } = self;
        let took = self.stopwatch.time(|| {
            interface.poll(now, wire, sockets);
            if attend(sockets, handles) {
                interface.poll(now, wire, sockets);
            }
        });
        let peers = &mut self.peers;
        for (packet, len) in self.wire.tx.drain(..) {
            let mut frame = [0; PACKET_ROOM + ETHER_LEN];
            frame[ETHER_LEN..ETHER_LEN + len].copy_from_slice(&packet[..len]);
            assert!(!Control(frame[14 + 20 + 13]).has(Control::RST), "smoltcp refused a segment");
            super::hear(peers, Family::V4, &frame[..ETHER_LEN + len]);
        }
        took
    }
}

/// What the user does with its sockets. True if one has something to send now.
fn attend(sockets: &mut SocketSet<'static>, handles: &[SocketHandle]) -> bool {
    let mut closed = false;
    for handle in handles {
        let socket = sockets.get_mut::<Socket<'_>>(*handle);
        match socket.state() {
            State::CloseWait => {
                socket.close();
                closed = true;
            }
            State::Closed => socket.listen(PORT).expect("a closed socket listens again"),
            _ => {}
        }
    }
    closed
}
