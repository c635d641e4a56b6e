//! Counting. One worker owns its counters as plain integers ([`counters`]), publishes a copy now and then
//! ([`publish`]), and everybody else reads published copies. [`ledger`] states the identities that the counters obey.
//!
//! What is not here: names of metrics in any one format (observe), and any clock.
#![forbid(unsafe_code)]

pub mod counters;
pub mod ledger;
pub mod publish;
pub(crate) mod words;
