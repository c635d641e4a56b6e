//! Reports: their shape ([`report`]), and their renderings for people ([`text`]; [`page`] and [`chart`] are what HTML
//! pages are made of) and for programs ([`json`]). What `doctor` found out about a machine has a shape and a text of its own
//! ([`checkup`]), and so has where a server's time goes ([`profile`]).
//!
//! A report of a server is made from published snapshots only. What is not here: how a report gets from a server to whoever asks
//! (control), the pages of single commands (theirs), and any access to a running worker.

#![forbid(unsafe_code)]

pub mod balance;
pub mod chart;
pub mod checkup;
pub mod identity;
pub mod json;
pub mod metrics;
pub mod number;
pub mod page;
pub mod profile;
pub mod report;
pub mod text;
pub mod top;
pub mod why;
