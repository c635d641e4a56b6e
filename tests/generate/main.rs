//! The generator below the socket: its program run by BPF_PROG_RUN over frames made here (`answers`), and whole runs on a
//! veth pair against the built server and the kernel's own TCP (`live`).
#![cfg(feature = "xdp")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/program.rs"]
mod program;
#[path = "../serve/world.rs"]
mod world;

mod answers;
mod live;

/// What the names of these tests' labs start with.
const LAB: &str = "hfxdp";
