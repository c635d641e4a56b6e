//! Reports: their shape ([`report`]), and their two renderings for people ([`text`]) and for programs ([`json`]).
//!
//! A report is made from published snapshots only. What is not here: how a report gets from a server to whoever asks
//! (control), and any access to a running worker.

#![forbid(unsafe_code)]

pub mod json;
pub mod report;
pub mod text;
