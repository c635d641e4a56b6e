//! The measuring side: the [`lab`] of two network namespaces joined by a veth pair, what is compared in it, and the comparison.
//!
//! | | |
//! |---|---|
//! | [`lab`], [`netns`] | the namespaces and the wire between them |
//! | [`clients`] | many ordinary kernel sockets that put a responder to use from the outside: an independent opinion |
//! | [`accept`] | the kernel's listener, as fast as it goes: what to compare with |
//! | [`reflect`], [`packets`] | the ceilings: a responder without a TCP, and frames alone, over the port that `serve` uses |
//! | [`compare`] | `handfast bench`: all of them in turn |
//! | [`defence`] | `handfast bench flood`: servers under a flood of forged SYNs |
//!
//! What is not here: the responder and the load generator themselves; they are run as programs, as a person would.
#![forbid(unsafe_code)]

pub mod accept;
pub mod clients;
pub(crate) mod command;
pub mod compare;
pub mod defence;
pub mod lab;
pub mod netns;
pub mod packets;
pub mod reflect;
mod stop;

pub use command::CommandError;
