//! Everything around the workers that is not on the data path: how a server runs ([`supervisor`] starts and ends it, [`crew`]
//! holds its workers, [`roster`] its listeners, [`cookies`] the keys of SYN cookies, [`answers`] and [`tier`] have the steering
//! program answer SYNs, [`office`] answers for all of it), what is asked for ([`settings`], [`mod@file`], [`config`], [`listen`],
//! [`values`]), whether the machine can do it ([`preflight`] judges what [`machine`] and [`link`] find, [`doctor`] says it of
//! each thing in the list of [`check`]), what it is found to do ([`meter`] counts the interface, [`history`] keeps reports,
//! [`mod@capture`] writes frames to files), how a running server is talked to ([`socket`], [`client`], [`protocol`], [`metrics`],
//! [`top`], [`mod@profile`]), and what is said about it
//! ([`logs`], [`notify`], [`problem`]).
//!
//! What is not here: packets, flows, and the text of reports (observe).

#![forbid(unsafe_code)]

pub mod answers;
pub mod capture;
pub mod check;
pub mod client;
pub mod config;
pub mod cookies;
pub mod crew;
pub mod doctor;
pub mod file;
pub mod history;
pub mod link;
pub mod listen;
pub mod logs;
pub mod machine;
pub mod meter;
pub mod metrics;
pub mod notify;
pub mod office;
pub mod preflight;
pub mod problem;
pub mod profile;
pub mod protocol;
pub mod roster;
pub mod settings;
pub mod socket;
pub mod supervisor;
pub mod tier;
pub mod top;
pub mod values;
