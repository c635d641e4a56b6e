//! The measuring side: the [`lab`] of two network namespaces joined by a veth pair, and [`clients`], many ordinary
//! kernel sockets that put a responder to use from the outside.
//!
//! What is not here: the responder itself, and anything that touches frames. Everything below runs on the kernel's own
//! TCP stack on purpose, so that it is an independent opinion about ours.
#![forbid(unsafe_code)]

pub mod clients;
pub(crate) mod command;
pub mod lab;
pub mod netns;

pub use command::CommandError;
