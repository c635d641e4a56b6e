//! RFC 9293 as pure functions over a TCB.
pub mod config;
