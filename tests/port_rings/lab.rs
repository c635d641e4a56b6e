//! A veth pair in an own network namespace, with an AF_XDP port at each end. The XDP program at an end redirects every
//! frame to the port; clang builds it here from its source, so that these tests need nothing of the steering program.

use handfast::port::xsk::{XskConfig, XskPort};
use handfast::port::{Burst, Port};
use libbpf_rs::{Link, MapCore, MapFlags, Object, ObjectBuilder};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The interfaces of a lab.
pub const A: &str = "hfpt-a";
/// The other one.
pub const B: &str = "hfpt-b";

/// How long a test waits for frames that have to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Redirects each frame to the AF_XDP socket of its queue (helper 51 is bpf_redirect_map; key 4 bytes, value 4 bytes).
const REDIRECT_ALL: &str = r#"
struct xdp_md { unsigned int data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
struct {
    int (*type)[17 /* BPF_MAP_TYPE_XSKMAP */];
    unsigned int *key;
    unsigned int *value;
    int (*max_entries)[4];
} xsks __attribute__((section(".maps"), used));
static long (*redirect_map)(void *map, unsigned long long key, unsigned long long flags) = (void *)51;
__attribute__((section("xdp"), used)) int redirect_all(struct xdp_md *ctx)
{
    return redirect_map(&xsks, ctx->rx_queue_index, 1 /* XDP_DROP */);
}
char gpl[] __attribute__((section("license"), used)) = "GPL";
"#;

/// Runs a program and insists on its success.
pub fn run(command: &str) {
    let words: Vec<_> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

fn redirect_all() -> Vec<u8> {
    let mut clang = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", "-x", "c", "-c", "-", "-o", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("clang is installed");
    clang.stdin.take().unwrap().write_all(REDIRECT_ALL.as_bytes()).unwrap();
    let output = clang.wait_with_output().unwrap();
    assert!(output.status.success(), "clang refused the test's XDP program");
    output.stdout
}

/// A network namespace of which the calling thread is a part, with a veth pair. It goes away with the value.
pub struct Lab {
    namespace: String,
}

impl Lab {
    /// Makes it; `name` tells it from those of other tests.
    pub fn new(name: &str) -> Self {
        let namespace = format!("hfpt-{name}-{}", std::process::id());
        run(&format!("ip netns add {namespace}"));
        let lab = Self { namespace };
        let file = File::open(format!("/run/netns/{}", lab.namespace)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        run(&format!("ip link add {A} type veth peer name {B}"));
        for end in [A, B] {
            // No ARP, no neighbour discovery: every frame on the link is one of ours.
            run(&format!("ip link set {end} arp off addrgenmode none"));
            run(&format!("ip link set {end} up"));
        }
        lab
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

/// A port and the program that feeds it.
pub struct End {
    pub port: XskPort,
    pub burst: Burst,
    _object: Object,
    _link: Link,
}

impl End {
    /// Opens the port and attaches the program in native mode.
    pub fn open(config: &XskConfig) -> Self {
        let mut port = XskPort::open(config).unwrap();
        let object = ObjectBuilder::default().open_memory(&redirect_all()).unwrap().load().unwrap();
        let xsks = object.maps().find(|map| map.name() == "xsks").unwrap();
        let fd = port.fd().as_raw_fd();
        xsks.update(&config.queue.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY).unwrap();

        let link = object.progs_mut().next().unwrap().attach_xdp(if_index(&config.interface)).unwrap();
        let mut burst = Burst::new();
        port.receive(&mut burst);
        Self { port, burst, _object: object, _link: link }
    }

    /// Sends one packet from a free frame if there is one; it goes with the next flush.
    pub fn queue(&mut self, packet: &[u8]) -> bool {
        let Some(mut frame) = self.port.take_free() else { return false };
        self.port.bytes_mut(&mut frame)[..packet.len()].copy_from_slice(packet);
        self.port.transmit(frame, packet.len());
        true
    }

    /// Sends packets 0 to `n` - 1 ([`packet`]) and flushes until the kernel has sent them all.
    pub fn send_all(&mut self, n: u32) {
        let mut sent = 0;
        let what = format!("{n} frames sent");
        wait(&what, || {
            while sent < n && self.queue(&packet(sent, 60)) {
                sent += 1;
            }
            self.port.flush();
            sent == n && !self.port.tx_outstanding()
        });
    }

    /// Receives what is there, recycles it, and returns the numbers of the packets.
    pub fn receive_numbers(&mut self) -> Vec<u32> {
        self.port.receive(&mut self.burst);
        let mut numbers = Vec::new();
        for frame in self.burst.drain() {
            numbers.push(number(self.port.bytes(&frame)));
            self.port.recycle(frame);
        }
        self.port.flush();
        numbers
    }

    /// Receives until `n` packets came, and returns their numbers.
    pub fn receive_count(&mut self, n: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        wait("frames received", || {
            numbers.extend(self.receive_numbers());
            numbers.len() >= n
        });
        numbers
    }

    /// Waits until the kernel has counted `n` frames that it dropped at the socket.
    pub fn wait_for_drops(&mut self, n: u64) {
        wait("drops counted", || self.port.kernel_statistics().rx_drops() >= n);
        assert_eq!(self.port.kernel_statistics().rx_drops(), n);
    }

    /// Flushes until all frames are free or in the fill ring, and checks the books.
    pub fn assert_drained(&mut self) {
        wait("drained", || {
            self.receive_numbers();
            !self.port.tx_outstanding()
        });
        let ledger = self.port.ledger();
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!(ledger.free + ledger.fill, ledger.total, "a frame is lost: {ledger:?}");
        let statistics = self.port.kernel_statistics();
        assert_eq!((statistics.tx_invalid_descs, statistics.rx_invalid_descs), (0, 0));
    }
}

/// The index of an interface of the calling thread's namespace.
fn if_index(interface: &str) -> i32 {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).unwrap();
    rustix::net::netdevice::name_to_index(socket, interface).unwrap().try_into().unwrap()
}

/// Tries until `done` says so.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
    }
}

/// Packet `number` of `len` bytes: an Ethernet header of an experimental type, the number, and bytes that follow from it.
pub fn packet(number: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x02; 12];
    bytes.extend(0x88b5_u16.to_be_bytes());
    bytes.extend(number.to_be_bytes());
    let fill = (0_u32..).map(|i| number.wrapping_mul(31).wrapping_add(i).to_le_bytes()[0]);
    bytes.extend(fill.take(len - bytes.len()));
    bytes
}

/// The number of a [`packet`].
pub fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[14..18].try_into().unwrap())
}
