//! A deterministic world for the engine: one seed decides the configuration, the peers, what they say, when the links lose,
//! delay, reorder, repeat, damage or cut a frame, and what an adversary forges. Time is virtual, so that hours cost milliseconds,
//! and the same seed is the same run to the bit.
//!
//! | Room | What it is |
//! |---|---|
//! | [`random`] | the one source of chance |
//! | [`scenario`] | what a seed stands for; [`scenario::Scenario::run`] is the way in |
//! | [`world`] | the virtual clock, the events in their order, the rules checked after every step |
//! | [`node`] | what sits at the end of a link: the trait, and our engine in both roles |
//! | [`link`] | what happens to a frame on its way |
//! | [`talk`] | what a peer says, and what it must hear |
//! | [`adversary`] | forged segments: those that must change nothing, and any others |
//! | [`witness`] | reads along on the wire and holds our side to the sequence space |
//! | [`rules`] | what holds of an engine and a port after every step |
//! | [`trace`] | what happened, as a hash and as a readable tail |
//!
//! Our passive side is a whole [`crate::worker::Worker`] over a [`crate::port::memory::MemoryPort`]: port, engine and ledgers are inside.
//! An independent TCP takes part through [`node::Node`]; `tests/sim` brings smoltcp along, so that the library does not.
//!
//! What is deliberately not here: threads, real time, and performance.
#![forbid(unsafe_code)]

pub mod adversary;
pub mod link;
pub mod node;
pub mod random;
pub mod rules;
pub mod scenario;
pub mod talk;
pub mod trace;
pub mod witness;
pub mod world;
