//! `handfast serve` end to end: the built program on one end of a veth pair, the kernel's own TCP, tcpdump, tshark and
//! frames made by hand on the other.
//!
//! [`world`] is the lab with the processes in it, [`wire`] what is captured from the link and put on it by hand. The
//! other modules are the tests, each about one side of the server. Not here: the protocol's details, which packet scripts
//! check on a virtual clock.
//!
//! Every test makes a lab of its own and removes it, also when it fails. The tests run one after another, whatever the
//! harness is told: they share the machine's few cores, and some of them measure time.
#![cfg(feature = "xdp")]

#[path = "../common/mod.rs"]
mod common;
mod judge;
mod relay;
mod wire;
mod world;

mod bad_link;
mod by_hand;
mod captures;
mod control;
mod conversations;
mod cookies;
mod endings;
mod idle;
mod load;
mod losses;
mod metrics;
mod modes;
mod neighbours;
mod queues;
mod refusals;
mod shared;
mod sources;
mod tier;

/// What the names of these tests' labs start with.
const LAB: &str = "hfee";
