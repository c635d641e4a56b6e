//! `handfast flood`: its program run by BPF_PROG_RUN over frames made here (`frames`, `answers`), and the built command on a
//! veth pair against the kernel and the built server (`live`), and where it must not flood (`refusals`).
#![cfg(feature = "xdp")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/program.rs"]
mod program;
#[path = "../serve/wire.rs"]
mod wire;
#[path = "../serve/world.rs"]
mod world;

mod answers;
mod frames;
mod live;
mod refusals;

use handfast::flood::flooder::Flooder;
use handfast::flood::kind::Kind;
use handfast::flood::plan::FloodPlan;
use handfast::steer::AttachMode;
use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use std::process::{Command, Output};
use world::{HANDFAST, World};

/// What the names of these tests' labs start with.
const LAB: &str = "hffl";

/// MAC addresses of the lab's ends.
const CLIENT_MAC: [u8; 6] = [2, 0x68, 0x66, 0, 0, 2];
const SERVER_MAC: [u8; 6] = [2, 0x68, 0x66, 0, 0, 1];

/// A target and sources of each family.
const ENDS: [(&str, &str); 2] = [("198.18.0.1:7000", "198.19.0.0/16"), ("[2001:2::1]:7000", "2001:2:0:1::/64")];

/// The index of the client's interface, in the client's namespace.
fn client_ifindex() -> u32 {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    netdevice::name_to_index(any, "hf-client").unwrap()
}

/// A plan for the lab's client.
fn plan(kind: Kind, ends: (&str, &str)) -> FloodPlan {
    FloodPlan {
        ifindex: client_ifindex(),
        relay: None,
        src_mac: CLIENT_MAC,
        dst_mac: SERVER_MAC,
        vlan: None,
        target: ends.0.parse().unwrap(),
        kind,
        sources: ends.1.parse().unwrap(),
        ports: 1024..=65_535,
        options: false,
    }
}

/// The program, attached: BPF_PROG_RUN takes a frame for one of an interface only if that has a program.
fn load(plan: &FloodPlan, key: u64) -> Flooder {
    let mut flooder = Flooder::load(plan, key).expect("the program loads");
    flooder.attach(AttachMode::Native).expect("veth takes it");
    flooder
}

/// Runs the body of a test inside the client's namespace of a lab.
fn at_client(test: &str, body: impl FnOnce() + Send) {
    if let Some(world) = World::up(test) {
        world.in_client(body);
    }
}

/// The command line of `flood` on the client's end.
fn flood_command(world: &World, args: &str) -> Command {
    let mut command = world.at_client(HANDFAST, &["flood", "-i", "hf-client"]);
    command.args(args.split_whitespace()).env_remove("RUST_LOG");
    command
}

/// A flood, whatever comes of it.
fn flood(world: &World, args: &str) -> Output {
    flood_command(world, args).output().unwrap()
}
