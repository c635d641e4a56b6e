//! The load generator. [`xdp`] is the engine below the socket: a client inside eBPF.
#![forbid(unsafe_code)]

pub mod xdp;
