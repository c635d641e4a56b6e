//! `handfast flood`: spoofed segments to a target that is to be tested, and what comes back.
//!
//! | | |
//! |---|---|
//! | [`args`], [`kind`], [`sources`] | the command line and its values |
//! | [`plan`], [`contract`], [`frames`] | what is sent, as the program's configuration, and frame by frame |
//! | [`flooder`], `afxdp` | the program, and the other engine |
//! | [`report`], [`command`], [`error`] | what comes out, and what is refused |
//!
//! A flood that leaves a lab is an attack, so it does not: [`command::flood`] asks the lab whether the interface is one of its
//! own ([`crate::bench::lab::Lab::of_interface`]), unless the target is named twice.
//!
//! What is deliberately not here: connections that are completed (the load generator's), and any way to receive what
//! comes back but to count it.
#![forbid(unsafe_code)]

mod afxdp;
pub mod args;
pub mod command;
pub mod contract;
pub mod error;
pub mod flooder;
pub mod frames;
pub mod kind;
pub mod plan;
pub mod report;
pub mod sources;
