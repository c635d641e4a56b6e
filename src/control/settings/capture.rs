//! The settings of captures. They take effect with a restart only.

use super::{Access, Key, Kind, number, shown, top};
use crate::control::values::Count;
use std::path::PathBuf;

/// Bytes of a frame at most: frames of packet memory are no longer.
const MAX_SNAPLEN: u64 = 4_096;
/// The least bytes of a frame: an Ethernet, an IPv4 and a TCP header.
const MIN_SNAPLEN: u64 = 54;
/// A file's limit in bytes is between these: one that has room for some frames, and a million million.
const MIN_LIMIT: u64 = 64_000;
const MAX_LIMIT: u64 = 1_000_000_000_000;
/// Frames remembered at most: at 256 bytes each some 6 GB.
const MAX_REMEMBER: u64 = 1 << 24;

/// A path. The file is made when serving starts.
fn path(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() { Err("must be the path of a file".to_owned()) } else { Ok(Some(PathBuf::from(text))) }
}

pub(super) const CAPTURE: Key = top(
    "capture",
    Kind::Text,
    "FILE",
    "Write what the workers receive and send to FILE, as pcapng with the verdict on each received frame as its comment. An \
     existing file is replaced",
    access!(text => capture.file = path(text)?, config => shown(config.capture.file.as_ref().map(|path| path.display()))),
);

pub(super) const CAPTURE_FILTER: Key = top(
    "capture-filter",
    Kind::Text,
    "EXPR",
    "Capture only frames that fit: terms host ADDR, net CIDR, port N, syn, fin, rst, ack, psh, in, out, dropped, drop=REASON, \
     answered and accepted, with `not` in front or without, joined by `and`; alternatives stand between `,` or `or`",
    access!(text => capture.filter = Some(super::parsed(text)?), config => shown(config.capture.filter.as_ref())),
);

pub(super) const CAPTURE_FAILED: Key = top(
    "capture-failed",
    Kind::Text,
    "FILE",
    "Write the last frames of connections that fail to FILE, with the way in which they failed as comment of the last one",
    access!(text => capture.failed = path(text)?,
            config => shown(config.capture.failed.as_ref().map(|path| path.display()))),
);

pub(super) const CAPTURE_REMEMBER: Key = top(
    "capture-remember",
    Kind::Number,
    "N",
    "Frames that each worker remembers for --capture-failed, rounded up to a power of two",
    access!(text => capture.remember = number(text, 1..=MAX_REMEMBER)?,
            config => Count(config.capture.remember.into()).to_string()),
);

pub(super) const CAPTURE_SNAPLEN: Key = top(
    "capture-snaplen",
    Kind::Number,
    "N",
    "Bytes of each captured frame that are kept",
    access!(text => capture.snaplen = number(text, MIN_SNAPLEN..=MAX_SNAPLEN)?,
            config => Count(config.capture.snaplen.into()).to_string()),
);

pub(super) const CAPTURE_LIMIT: Key = top(
    "capture-limit",
    Kind::Number,
    "BYTES",
    "Size at which a capture file ends; further frames are counted and not written",
    access!(text => capture.limit_bytes = number(text, MIN_LIMIT..=MAX_LIMIT)?,
            config => Count(config.capture.limit_bytes).to_string()),
);
