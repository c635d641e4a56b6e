//! handfast accepts, holds and closes TCP connections at the packet rate of the link, without the kernel's TCP stack.
//!
//! The crate is a house of floors: a module names only modules of its own floor and of those below it, which
//! `tests/tidy.rs` checks. Without the feature `xdp` everything up to the worker builds on any machine, AF_XDP left out.
//!
//! | Floor | Modules | What they are |
//! |---|---|---|
//! | 5 | [`cli`] | the command line |
//! | 4 | [`control`], [`blast`], [`flood`], [`mod@bench`], [`sim`] | configuration, supervisor, control socket; the load generator; floods; the veth lab and kernel clients; a deterministic world |
//! | 3 | [`worker`], [`steer`], [`observe`] | one thread's loop; the steering program; reports |
//! | 2 | [`engine`], [`port`] | one worker's TCP; where frames come from and go to. Neither knows the other |
//! | 1 | [`tcp`], [`flow`], [`timer`], [`service`], [`stats`], [`profile`] | the protocol, its tables, its application side, its counters, where its time goes |
//! | 0 | [`wire`], [`verdict`], [`time`], [`arch`] | bytes and meaning, what can happen to a frame, time as a value |
//!
//! A received frame goes up and down once: [`port`] hands it to [`worker`], [`engine`] reads it with [`wire`], asks
//! [`tcp`] what it means and writes the answer over it, [`port`] sends it.
//!
//! `docs/architecture.md` says how the house stands and why.
#![cfg_attr(not(feature = "xdp"), allow(rustdoc::broken_intra_doc_links))]

// Floor 0.
pub mod arch;
pub mod time;
pub mod verdict;
pub mod wire;

// Floor 1.
pub mod flow;
pub mod profile;
pub mod service;
pub mod stats;
pub mod tcp;
pub mod timer;

// Floor 2.
pub mod engine;
pub mod port;

// Floor 3.
#[cfg(feature = "xdp")]
pub mod observe;
#[cfg(feature = "xdp")]
pub mod steer;
pub mod worker;

// Floor 4.
#[cfg(feature = "xdp")]
pub mod bench;
#[cfg(feature = "xdp")]
pub mod blast;
#[cfg(feature = "xdp")]
pub mod control;
#[cfg(feature = "xdp")]
pub mod flood;
pub mod sim;

// Floor 5.
#[cfg(feature = "xdp")]
pub mod cli;
