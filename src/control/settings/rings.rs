//! The settings of the rings between a worker and the kernel. They stand in the file only: the defaults lose nothing.

use super::{Access, Key, Kind, Table, number, shown};
use crate::control::values::Count;

/// Places of a ring at least and at most.
const MIN_PLACES: u64 = 64;
const MAX_PLACES: u64 = 1 << 20;

/// A setting at the top of the file that has no flag.
const fn file(name: &'static str, help: &'static str, access: Access) -> Key {
    Key { name, table: Table::Top, flag: false, kind: Kind::Number, value: "", help, access }
}

/// The length of a ring.
fn places(text: &str) -> Result<Option<u32>, String> {
    let places: u32 = number(text, MIN_PLACES..=MAX_PLACES)?;
    let wrong = || format!("must be a power of two from {MIN_PLACES} to {MAX_PLACES}");
    if places.is_power_of_two() { Ok(Some(places)) } else { Err(wrong()) }
}

pub(super) const RX_RING: Key = file(
    "rx-ring",
    "Received frames of each queue that wait for its worker at most; more are dropped by the kernel and counted. A short ring bounds how \
     old a frame gets [default: as many as there are frames]",
    access!(text => rx_ring = places(text)?, config => shown(config.rx_ring.map(|places| Count(places.into())))),
);

pub(super) const TX_RING: Key = file(
    "tx-ring",
    "Frames of each queue that wait for the kernel to send them at most; more wait in the worker [default: as many as there are frames]",
    access!(text => tx_ring = places(text)?, config => shown(config.tx_ring.map(|places| Count(places.into())))),
);
