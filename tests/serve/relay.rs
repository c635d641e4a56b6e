//! A bad link between the kernel clients and the server: a third namespace in the middle ([`Middle`]), and in it a relay in
//! user space ([`Relay`]) that carries frames between its two interfaces and loses, repeats, delays and reorders those
//! of TCP. The kernel's own emulator (netem) would do the same, but many kernels lack it.
//!
//! What happens to a frame is decided by [`handfast::sim::link`]: a seed and the frame's number in its direction decide.
//! Which frames these are, and when they come, is the kernels' business, so a run cannot be repeated to the bit. The
//! relay has [`Judge`] read along. Not here: bandwidth, and damaged frames (packet scripts and the simulation have those).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use handfast::bench::netns::inside;
use handfast::sim::link::{Fate, Faults, Link};
use handfast::sim::random::Random;
use handfast::time::Now;
use handfast::wire::tuple::FourTuple;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket, sockopt,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::judge::{Judge, Verdict, tuple_of};
use crate::wire::{CLIENT_MAC, SERVER_MAC};
use crate::world::{V4, V6, World, run, wait_for};

/// The interfaces in the middle: towards the client, and towards the server.
const ENDS: [&str; 2] = ["hf-left", "hf-right"];
/// Longest frame that a link of MTU 1500 carries. A longer one would be a kernel's work that no wire has: several segments in one.
const LONGEST: usize = 1514;
/// Frames taken from one side before the other side is looked at again.
const BATCH: usize = 64;
/// Memory of the kernel for frames that the relay has not looked at yet, in bytes.
const BACKLOG: usize = 64 << 20;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    ToServer,
    ToClient,
}

pub const WAYS: [Way; 2] = [Way::ToServer, Way::ToClient];

/// A namespace between those of the client and the server. It goes away with the value.
pub struct Middle {
    namespace: String,
}

impl Middle {
    /// Puts a namespace between the two ends of a world's lab: instead of one veth pair there are two. Both ends keep
    /// their names and addresses. Neither kernel leaves anything to hardware that is not there: no segment is longer
    /// than the link takes, and checksums are whole.
    pub fn between(world: &World) -> Self {
        let (client, server) = (world.lab.client_namespace(), world.lab.server_namespace());
        let middle = Self { namespace: client.replace("-client", "-middle") };
        let name = middle.namespace.as_str();
        ip(&["netns", "add", name]);
        // It has nothing to say of its own.
        let quiet =
            || ["all", "default"].map(|of| fs::write(format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6"), "1"));
        inside(name, quiet).unwrap().into_iter().for_each(Result::unwrap);
        ip(&["-n", &client, "link", "delete", "hf-client"]);
        let ends =
            [("hf-client", &client, CLIENT_MAC, "198.18.0.2", "2001:2::2"), ("hf-server", &server, SERVER_MAC, V4, V6)];
        for ((end, namespace, mac, v4, v6), inner) in ends.into_iter().zip(ENDS) {
            ip(&["-n", namespace, "link", "add", end, "type", "veth", "peer", "name", inner, "netns", name]);
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            ip(&["-n", namespace, "link", "set", end, "address", &mac, "up"]);
            ip(&["-n", namespace, "address", "add", &format!("{v4}/16"), "dev", end]);
            ip(&["-n", namespace, "address", "add", &format!("{v6}/64"), "dev", end, "nodad"]);
            ip(&["-n", name, "link", "set", inner, "promisc", "on", "up"]);
            for (namespace, interface) in [(namespace.as_str(), end), (name, inner)] {
                let offloads = ["tso", "off", "gso", "off", "gro", "off", "tx", "off"];
                let ethtool = ["netns", "exec", namespace, "ethtool", "-K", interface];
                ip(&[&ethtool[..], &offloads].concat());
                // Without GRO a veth hands its frames to the queue of whichever core sent them: those of one connection
                // would overtake each other. One core's queue for all keeps them in order (receive packet steering).
                let steer = format!("echo 1 > /sys/class/net/{interface}/queues/rx-0/rps_cpus");
                ip(&["netns", "exec", namespace, "sh", "-c", &steer]);
            }
        }
        wait_for("a lab with a middle", || world.lab.show().unwrap().up);
        middle
    }

    /// Carries frames from now on.
    pub fn relay(&self, faults: Faults, seed: u64) -> Relay {
        let sockets = inside(&self.namespace, || ENDS.map(packet_socket)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let carrier = Carrier::new(sockets, faults, seed);
        let stopped = Arc::clone(&stop);
        Relay { stop, thread: Some(thread::spawn(move || carrier.run(&stopped))) }
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        let delete = |args: &[&str]| Command::new("ip").args(args).output();
        let _ = ENDS.map(|end| delete(&["-n", &self.namespace, "link", "delete", end]));
        let _ = delete(&["netns", "delete", &self.namespace]);
    }
}

fn ip(args: &[&str]) {
    run(Command::new("ip").args(args));
}

/// A socket for all frames of an interface of the calling thread's namespace.
fn packet_socket(interface: &str) -> OwnedFd {
    let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).unwrap();
    setsockopt(&fd, sockopt::RcvBufForce, &BACKLOG).unwrap();
    let named = getifaddrs().unwrap().filter(|entry| entry.interface_name == interface);
    let address: LinkAddr = named.filter_map(|entry| Some(*entry.address?.as_link_addr()?)).next().unwrap();
    bind(fd.as_raw_fd(), &address).unwrap();
    fd
}

/// What the relay did to the frames of one way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    /// Frames of TCP that came.
    pub came: u64,
    /// Of these, how many were put on the other side, copies included.
    pub forwarded: u64,
    /// How many were not.
    pub lost: u64,
    /// How many copies were made.
    pub again: u64,
    /// How many were put on the other side behind a later one of the same connection.
    pub overtaken: u64,
    /// How many an interface did not take: its queue was full.
    pub refused: u64,
    /// Frames of others (neighbour discovery), carried at once and as they are.
    pub others: u64,
}

/// What the relay saw and did.
#[derive(Debug)]
pub struct Report {
    carried: BTreeMap<Way, Carried>,
    pub verdict: Verdict,
}

impl Report {
    pub fn of(&self, way: Way) -> Carried {
        self.carried[&way]
    }
}

/// A running relay. It ends with the value, also when the test fails.
pub struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Report>>,
}

impl Relay {
    /// Ends it; what is still under way is delivered before.
    pub fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A frame on its way: first by when it arrives, then by the order in which they were sent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    due: Now,
    serial: u64,
    way: Way,
    /// A copy of another one.
    again: bool,
    frame: Vec<u8>,
}

/// One way through the middle.
struct Lane {
    from: OwnedFd,
    link: Link,
    random: Random,
    carried: Carried,
    /// The latest frame of each connection that was put on the other side, by its serial number.
    latest: HashMap<FourTuple, u64>,
}

/// The relay's thread.
struct Carrier {
    start: Instant,
    serial: u64,
    lanes: BTreeMap<Way, Lane>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    judge: Judge,
    buffer: Vec<u8>,
}

impl Carrier {
    fn new([left, right]: [OwnedFd; 2], faults: Faults, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut lane = |from| Lane {
            from,
            link: Link::new(faults),
            random: random.fork(),
            carried: Carried::default(),
            latest: HashMap::new(),
        };
        let lanes = [(Way::ToServer, lane(left)), (Way::ToClient, lane(right))].into();
        let (under_way, judge) = (BinaryHeap::new(), Judge::default());
        Self { start: Instant::now(), serial: 0, lanes, under_way, judge, buffer: vec![0; 1 << 16] }
    }

    fn run(mut self, stop: &AtomicBool) -> Report {
        while !stop.load(Ordering::Relaxed) {
            self.release(self.now());
            self.wait();
            WAYS.into_iter().for_each(|way| self.take(way));
        }
        self.release(Now(u64::MAX));
        Report {
            carried: self.lanes.into_iter().map(|(way, lane)| (way, lane.carried)).collect(),
            verdict: self.judge.verdict,
        }
    }

    fn now(&self) -> Now {
        Now(u64::try_from(self.start.elapsed().as_nanos()).unwrap())
    }

    /// Until a frame comes or is due, and not much longer than somebody who wants to stop would wait.
    fn wait(&self) {
        const LONGEST_WAIT: Duration = Duration::from_millis(20);
        let next =
            self.under_way.peek().map(|Reverse(next)| Duration::from_nanos(next.due.0.saturating_sub(self.now().0)));
        let wait = Timespec::try_from(next.map_or(LONGEST_WAIT, |next| next.min(LONGEST_WAIT))).unwrap();
        let mut fds: Vec<_> = self.lanes.values().map(|lane| PollFd::new(&lane.from, PollFlags::IN)).collect();
        // An interruption is as good as a frame: there may be something to do.
        let _ = poll(&mut fds, Some(&wait));
    }

    /// Takes in what has come from one side.
    fn take(&mut self, way: Way) {
        for _ in 0..BATCH {
            let lane = self.lanes.get_mut(&way).unwrap();
            let len = match recv(lane.from.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => len,
                // The link goes down when the lab goes away.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => return,
                Err(errno) => panic!("cannot receive {way:?}: {errno}"),
            };
            let frame = self.buffer[..len].to_vec();
            assert!(len <= LONGEST, "{way:?}: a frame of {len} bytes that no link carries");
            if tuple_of(&frame).is_none() {
                lane.carried.others += 1;
                self.put(way, &frame);
                continue;
            }
            lane.carried.came += 1;
            self.judge.sent(way, &frame);
            self.send_off(way, frame);
        }
    }

    /// Decides what becomes of a frame of TCP.
    fn send_off(&mut self, way: Way, frame: Vec<u8>) {
        let (now, lane) = (self.now(), self.lanes.get_mut(&way).unwrap());
        self.serial += 1;
        let serial = self.serial;
        lane.link.carry(frame, now, &mut lane.random, |due, frame, fate| {
            let again = fate == Fate::Again;
            lane.carried.again += u64::from(again);
            match fate {
                Fate::Lost => lane.carried.lost += 1,
                Fate::Whole | Fate::Again => self.under_way.push(Reverse(UnderWay { due, serial, way, again, frame })),
                Fate::Corrupt | Fate::Truncated => unreachable!("no such faults are asked for"),
            }
        });
    }

    /// Puts on the other side what is due by `now`.
    fn release(&mut self, now: Now) {
        while let Some(Reverse(next)) = self.under_way.peek()
            && next.due <= now
        {
            let Some(Reverse(UnderWay { serial, way, again, frame, .. })) = self.under_way.pop() else { return };
            let lane = self.lanes.get_mut(&way).unwrap();
            let tuple = tuple_of(&frame).expect("only frames of TCP are held");
            let latest = lane.latest.entry(tuple).or_default();
            lane.carried.overtaken += u64::from(serial < *latest && !again);
            *latest = serial.max(*latest);
            lane.carried.forwarded += 1;
            // Before it is there: whoever it is for may answer at once.
            self.judge.delivered(way, &frame);
            self.put(way, &frame);
        }
    }

    /// Puts a frame on the other side.
    fn put(&mut self, way: Way, frame: &[u8]) {
        let other = WAYS.into_iter().find(|other| *other != way).unwrap();
        let to = self.lanes[&other].from.as_raw_fd();
        match send(to, frame, MsgFlags::empty()) {
            Ok(_) => {}
            Err(Errno::ENOBUFS) => self.lanes.get_mut(&way).unwrap().carried.refused += 1,
            Err(Errno::ENETDOWN | Errno::ENXIO) => {}
            Err(errno) => panic!("cannot send {way:?}: {errno}"),
        }
    }
}
