//! The load generator: the engine's active side, put to use.
//!
//! | | |
//! |---|---|
//! | [`args`], [`mod@request`] | the command line and what is wrong with it by itself |
//! | [`setup`], [`next_hop`] | what the machine adds: routes, addresses, queues |
//! | [`plan`], [`pace`], [`tuples`] | what to open, when, from where |
//! | [`user`], [`tally`], [`watch`] | one worker: opens, hears, closes, counts, and is watched |
//! | [`mod@run`], [`search`] | all workers, once or at many rates |
//! | [`xdp`], [`stateless`] | the engine below the socket, inside eBPF, and a run with it |
//! | [`report`], [`html`], [`command`] | what comes out, as text, JSON and a page, and whether it was a success |
//!
//! What is deliberately not here: TCP (the engine's), and rings (the port's).
#![forbid(unsafe_code)]

pub mod args;
pub mod command;
pub mod html;
pub mod next_hop;
pub mod pace;
pub mod plan;
pub mod report;
pub mod request;
pub mod run;
pub mod search;
pub mod setup;
pub mod stateless;
pub mod tally;
pub mod tuples;
pub mod user;
pub mod watch;
pub mod xdp;
