//! The load generator: the engine's active side, put to use.
//!
//! What is deliberately not here: TCP (the engine's), and rings (the port's).
#![forbid(unsafe_code)]

pub mod html;
pub mod pace;
pub mod report;
pub mod tally;
pub mod tuples;
