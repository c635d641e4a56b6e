//! Attaching to a real interface: a veth pair between two network namespaces of this test's own.

use crate::common::root_or_skip;
use crate::{any, at, load, xdp_socket};
use handfast::steer::{AttachMode, MacFilter, SteerCounter, SteerError, Steering, XdpMode, occupant};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set for a child process that attaches the program and holds it: the interface index.
const HOLD: &str = "HANDFAST_TEST_HOLD_IFINDEX";

/// Two network namespaces joined by a veth pair: `near` with 198.51.100.1, `far` with 198.51.100.2. Gone when dropped.
pub struct Lab {
    near: String,
    pub far: String,
}

/// Runs `ip` with these words.
fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Lab {
    /// `test` keeps labs of tests that run at the same time apart.
    pub fn new(test: &str) -> Self {
        let name = |end: &str| format!("hfst-{}-{test}-{end}", std::process::id());
        let lab = Self { near: name("n"), far: name("f") };
        let (near, far) = (&lab.near, &lab.far);
        ip(&format!("netns add {near}"));
        ip(&format!("netns add {far}"));
        ip(&format!("-n {near} link add near0 type veth peer name far0 netns {far}"));
        ip(&format!("-n {near} addr add 198.51.100.1/24 dev near0"));
        ip(&format!("-n {far} addr add 198.51.100.2/24 dev far0"));
        ip(&format!("-n {near} link set near0 up"));
        ip(&format!("-n {far} link set far0 up"));
        lab
    }

    /// Runs `work` on a thread inside a namespace.
    pub fn inside<T: Send>(&self, namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = File::open(format!("/run/netns/{namespace}")).expect("the namespace is there");
        let enter = || move_into_link_name_space(path.as_fd(), Some(LinkNameSpaceType::Network)).expect("may enter it");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `work` in the near namespace with the interface index of its end of the pair.
    pub fn near<T: Send>(&self, work: impl FnOnce(u32) -> T + Send) -> T {
        self.inside(&self.near, || work(index_of("near0")))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            // A test that fails half-way may not have made both; nothing is to be done about it here.
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}

/// The index of an interface in this thread's namespace.
pub fn index_of(interface: &str) -> u32 {
    let output = Command::new("ip").args(["-o", "link", "show", interface]).output().expect("iproute2 is installed");
    let line = String::from_utf8(output.stdout).expect("text");
    line.split(':').next().and_then(|index| index.parse().ok()).expect("a line that starts with the index")
}

fn steering() -> Steering {
    load(MacFilter::Any, &[any(80), at("198.51.100.1", 443)])
}

/// The occupant's mode, if there is one.
fn mode_there(ifindex: u32) -> Option<XdpMode> {
    occupant(ifindex).expect("the interface can be asked").map(|program| program.mode)
}

#[test]
fn the_program_attaches_in_the_mode_asked_for_and_leaves_when_detached_or_dropped() {
    if !root_or_skip("the_program_attaches_in_the_mode_asked_for_and_leaves_when_detached_or_dropped") {
        return;
    }
    Lab::new("modes").near(|ifindex| {
        let cases = [
            (AttachMode::Native, XdpMode::Native),
            (AttachMode::Generic, XdpMode::Generic),
            (AttachMode::Auto, XdpMode::Native),
        ];
        let mut steering = steering();
        for (asked, expected) in cases {
            let attached = steering.attach(ifindex, asked).expect("veth takes it");
            assert_eq!((attached.mode, mode_there(ifindex)), (expected, Some(expected)));
            assert!(attached.native_refused.is_none());
            steering.detach();
            assert_eq!(mode_there(ifindex), None, "{asked:?} is detached");
        }
        steering.attach(ifindex, AttachMode::Auto).expect("veth takes it");
        drop(steering);
        assert_eq!(mode_there(ifindex), None);
    });
}

#[test]
fn auto_falls_back_to_generic_mode_and_says_why_when_the_driver_refuses() {
    if !root_or_skip("auto_falls_back_to_generic_mode_and_says_why_when_the_driver_refuses") {
        return;
    }
    let lab = Lab::new("refuse");
    // veth's native XDP needs the peer's frames to fit a page; the loopback device has no native XDP at all.
    ip(&format!("-n {} link set far0 mtu 9000", lab.far));
    lab.near(|ifindex| {
        for ifindex in [ifindex, 1] {
            let mut steering = steering();
            let refused = steering.attach(ifindex, AttachMode::Native).expect_err("no native mode").to_string();
            assert!(refused.contains("in native mode"), "{refused}");
            assert!(refused.contains("use generic mode"), "{refused}");
            let attached = steering.attach(ifindex, AttachMode::Auto).expect("generic mode always works");
            assert_eq!((attached.mode, mode_there(ifindex)), (XdpMode::Generic, Some(XdpMode::Generic)));
            assert!(attached.native_refused.is_some());
        }
    });
}

#[test]
fn an_interface_that_has_a_program_is_refused_by_naming_it_and_how_to_remove_it() {
    if !root_or_skip("an_interface_that_has_a_program_is_refused_by_naming_it_and_how_to_remove_it") {
        return;
    }
    Lab::new("taken").near(|ifindex| {
        let (mut first, mut second) = (steering(), steering());
        for there in [AttachMode::Native, AttachMode::Generic] {
            first.attach(ifindex, there).expect("the interface is free");
            for wanted in [AttachMode::Native, AttachMode::Generic, AttachMode::Auto] {
                let refused = second.attach(ifindex, wanted).expect_err("it is taken");
                let SteerError::Occupied { occupant, .. } = &refused else { panic!("{refused}") };
                let link = occupant.link_id.expect("attached by a link");
                let message = refused.to_string();
                assert!(message.contains("interface near0: XDP program "), "{message}");
                assert!(message.contains(&format!("program {} (", occupant.program_id)), "{message}");
                assert!(message.contains(&format!("`bpftool link detach id {link}`")), "{message}");
            }
            let twice = first.attach(ifindex, there).expect_err("it is attached");
            assert!(matches!(twice, SteerError::AlreadyAttached { .. }), "{twice}");
            first.detach();
        }
        second.attach(ifindex, AttachMode::Auto).expect("the interface is free again");
    });
}

#[test]
fn a_program_attached_through_netlink_is_named_with_the_command_that_removes_it() {
    if !root_or_skip("a_program_attached_through_netlink_is_named_with_the_command_that_removes_it") {
        return;
    }
    Lab::new("netlink").near(|ifindex| {
        let (other, mut mine) = (steering(), steering());
        let target = i32::try_from(ifindex).expect("a small index");
        let program = other.program();
        let netlink = libbpf_rs::Xdp::new(program.as_fd());
        netlink.attach(target, libbpf_rs::XdpFlags::SKB_MODE).expect("the interface is free");
        let refused = mine.attach(ifindex, AttachMode::Auto).expect_err("it is taken").to_string();
        assert!(refused.contains("(generic mode) is there"), "{refused}");
        assert!(refused.ends_with("`ip link set dev near0 xdpgeneric off`"), "{refused}");
        ip("link set dev near0 xdpgeneric off");
        mine.attach(ifindex, AttachMode::Auto).expect("the command has freed the interface");
    });
}

#[test]
fn an_interface_that_is_not_there_is_named_by_its_number() {
    if !root_or_skip("an_interface_that_is_not_there_is_named_by_its_number") {
        return;
    }
    Lab::new("absent").near(|_| {
        let refused = steering().attach(4242, AttachMode::Auto).expect_err("no such interface").to_string();
        assert!(refused.contains("interface number 4242"), "{refused}");
        assert!(refused.contains("is there such an interface in this network namespace?"), "{refused}");
    });
}

#[test]
fn a_killed_process_leaves_the_interface_to_the_kernel() {
    const NAME: &str = "attach::a_killed_process_leaves_the_interface_to_the_kernel";
    if let Ok(ifindex) = std::env::var(HOLD) {
        let mut steering = steering();
        steering.attach(ifindex.parse().expect("an index"), AttachMode::Auto).expect("the interface is free");
        println!("holding");
        std::thread::sleep(Duration::from_secs(60));
        panic!("nobody killed this process");
    }
    if !root_or_skip(NAME) {
        return;
    }
    let lab = Lab::new("kill");
    lab.near(|ifindex| {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", NAME, "--nocapture"])
            .env(HOLD, ifindex.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test starts again");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let holding = output.lines().any(|line| line.expect("text").contains("holding"));
        assert!(holding, "the child ended: {:?}", child.wait());
        assert_eq!(mode_there(ifindex), Some(XdpMode::Native));

        child.kill().expect("SIGKILL is sent");
        child.wait().expect("the child is gone");
        let deadline = Instant::now() + Duration::from_secs(2);
        while mode_there(ifindex).is_some() {
            assert!(Instant::now() < deadline, "the program outlives its process");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn the_kernel_answers_what_is_not_steered_and_never_sees_what_is() {
    if !root_or_skip("the_kernel_answers_what_is_not_steered_and_never_sees_what_is") {
        return;
    }
    let lab = Lab::new("live");
    let connect = |port: u16| {
        let target = SocketAddr::from(([198, 51, 100, 1], port));
        lab.inside(&lab.far, || {
            TcpStream::connect_timeout(&target, Duration::from_millis(400)).expect_err("no listener").kind()
        })
    };
    for mode in [AttachMode::Native, AttachMode::Generic] {
        let mut steering = steering();
        // The socket is not bound, so what is redirected to it ends there.
        let socket = xdp_socket();
        steering.set_socket(0, socket.as_fd()).expect("the XSKMAP takes the socket");
        lab.near(|ifindex| steering.attach(ifindex, mode).map(drop)).expect("veth takes it");
        ip(&format!("-n {} neigh flush dev far0", lab.far));
        assert_eq!(connect(81), ErrorKind::ConnectionRefused, "the kernel answers RST, {mode:?}");
        assert_eq!(connect(80), ErrorKind::TimedOut, "nobody answers, {mode:?}");
        assert_eq!(connect(443), ErrorKind::TimedOut, "nobody answers, {mode:?}");
        let counters = steering.counters().expect("readable counters");
        assert!(counters.get(SteerCounter::Redirected) >= 2, "{counters:?}");
        assert!(counters.get(SteerCounter::PassNotAnEndpoint) >= 1, "{counters:?}");
        // Later the neighbours know each other, and ARP may be silent.
        let first = mode == AttachMode::Native;
        assert!(!first || counters.get(SteerCounter::PassNotIp) >= 1, "ARP comes first: {counters:?}");
        // Neighbour discovery of its own accord may run through the program right now; a frame is counted within it.
        assert!(counters.unaccounted().abs() <= 1, "{counters:?}");
        steering.clear_socket(0).expect("the socket is taken out");
        assert_eq!(connect(80), ErrorKind::ConnectionRefused, "without a socket it is the kernel's, {mode:?}");
    }
}
