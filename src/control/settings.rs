//! The settings of `serve`, declared once: name, kind of value, help text, how it is set and how it is shown.
//!
//! Command-line flags, keys of the configuration file, help, defaults, range checks and the list of what a reload cannot
//! change all follow from [`KEYS`]. Values stay text with an origin (`given`) until they are set, so that every mistake of flags
//! and file can be reported together (config). What two values must be to one another is not here but in config.

/// Both directions of a field whose value is made by an expression.
macro_rules! access {
    ($text:ident => $($field:ident).+ = $make:expr, $config:ident => $show:expr) => {
        Access {
            set: |config, $text| {
                config.$($field).+ = $make;
                Ok(())
            },
            show: |$config| $show,
        }
    };
}

mod capture;
mod given;
mod port;
mod rings;
mod steering;

pub use given::{Given, Origin, Settings};

use super::config::Config;
use super::values::{Count, Indexes, Millis};
use crate::tcp::config::{HalfOpenFull, SynCookies};
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Times of the TCP stay below 24 days: a [`crate::time::Tick`] compares up to 24.8 days, and RFC 7323 5.5 has a peer's
/// timestamps outdated after 24 days of silence.
pub const MAX_TCP_TIME_MS: u64 = 24 * 86_400_000 - 1;

/// Flows at most: what an engine's index can number.
pub const MAX_FLOWS: u64 = 1 << 30;

/// The longest run that `--duration` takes: a year.
pub const MAX_DURATION_MS: u64 = 365 * 86_400_000;

/// Where a key stands in the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// At the top.
    Top,
    /// Under `[tcp]`.
    Tcp,
    /// Under `[steering]`.
    Steering,
}

impl Table {
    /// The name that stands in brackets, of those that are not at the top.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Table::Top => None,
            Table::Tcp => Some("tcp"),
            Table::Steering => Some("steering"),
        }
    }

    /// Every table.
    pub const ALL: [Table; 3] = [Table::Top, Table::Tcp, Table::Steering];
}

/// What a value looks like in the configuration file. As a flag, each is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// An integer, or a string like `"64k"`.
    Number,
    /// A string like `"10s"`, or the integer 0.
    Time,
    /// A string like `"0-3"`, an integer, or an array of integers.
    Numbers,
    /// `true` or `false`.
    Switch,
    /// An array of strings; as a flag, repeated.
    List,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name of the key, and of the flag behind `--`.
    pub name: &'static str,
    /// Where it stands in the file.
    pub table: Table,
    /// True if there is a flag, too.
    pub flag: bool,
    /// What its values look like.
    pub kind: Kind,
    /// Placeholder of the value in the help.
    pub value: &'static str,
    /// What it does, in a sentence.
    pub help: &'static str,
    access: Access,
}

/// How a setting gets into a [`Config`] and out again.
#[derive(Clone, Copy, Debug)]
struct Access {
    set: fn(&mut Config, &str) -> Result<(), String>,
    show: fn(&Config) -> String,
}

impl Key {
    /// The key of that name.
    pub fn find(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Sets it in `config` from text. The error says what the value must be.
    pub fn set(&self, config: &mut Config, text: &str) -> Result<(), String> {
        (self.access.set)(config, text)
    }

    /// Its value in `config` as text that [`Key::set`] takes; empty if it has none.
    pub fn show(&self, config: &Config) -> String {
        (self.access.show)(config)
    }
}

/// Parses `text`, the error as text.
fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// A count within `range`.
fn number<T: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<T, String> {
    let Count(count) = parsed(text)?;
    let fits = range.contains(&count).then(|| T::try_from(count).ok()).flatten();
    fits.ok_or_else(|| format!("must be from {} to {}", range.start(), range.end()))
}

/// A time of the TCP in milliseconds, at least `least_ms`.
fn tcp_time(text: &str, least_ms: u64) -> Result<u32, String> {
    let Millis(millis) = parsed(text)?;
    let fits = (least_ms..=MAX_TCP_TIME_MS).contains(&millis).then(|| u32::try_from(millis).ok()).flatten();
    fits.ok_or_else(|| format!("must be at least {} and less than 24d", Millis(least_ms)))
}

/// The choice of that name.
fn named<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    let names = || all.iter().map(|choice| name(*choice)).collect::<Vec<_>>().join(", ");
    all.iter().copied().find(|choice| name(*choice) == text).ok_or_else(|| format!("must be one of {}", names()))
}

/// `true` or `false`.
fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

/// An interface name, if the kernel allows it as one. The error says what it must be.
pub fn interface_name(text: &str) -> Result<String, String> {
    let plain = !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if plain && (1..=15).contains(&text.len()) && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err("must be an interface name: 1 to 15 bytes without blanks, / and :".to_owned())
    }
}

/// How many bytes of path a Unix socket address holds, less the closing 0.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The path of a Unix socket.
fn socket_path(text: &str) -> Result<PathBuf, String> {
    if (1..=MAX_SOCKET_PATH_BYTES).contains(&text.len()) {
        Ok(PathBuf::from(text))
    } else {
        Err(format!("must be a path of 1 to {MAX_SOCKET_PATH_BYTES} bytes: a Unix socket address holds no more"))
    }
}

/// An address and port to listen on.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port, as in 127.0.0.1:9464 or [::1]:9464".to_owned())
}

/// How long to run.
fn duration(text: &str) -> Result<Duration, String> {
    let Millis(millis) = parsed(text)?;
    if (1..=MAX_DURATION_MS).contains(&millis) {
        Ok(Duration::from_millis(millis))
    } else {
        Err(format!("must be at least 1ms and at most {}", Millis(MAX_DURATION_MS)))
    }
}

/// Frames of one queue.
fn frames(text: &str) -> Result<u32, String> {
    let range = 256..=1 << 20;
    let frames: u32 = number(text, range.clone())?;
    if frames.is_power_of_two() {
        Ok(frames)
    } else {
        Err(format!("must be a power of two from {} to {}", range.start(), range.end()))
    }
}

fn shown<T: Display>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A closed choice.
macro_rules! choice {
    ($field:ident) => {
        access!(text => $field = parsed(text)?, config => config.$field.to_string())
    };
}

/// A count in the TCP's configuration.
macro_rules! tcp_number {
    ($field:ident, $range:expr) => {
        access!(text => tcp.$field = number(text, $range)?, config => Count(config.tcp.$field.into()).to_string())
    };
}

/// A time in the TCP's configuration, with the least value in milliseconds.
macro_rules! tcp_time {
    ($field:ident, $least:expr) => {
        access!(text => tcp.$field = tcp_time(text, $least)?, config => Millis(config.tcp.$field.into()).to_string())
    };
}

/// A closed choice in the TCP's configuration.
macro_rules! tcp_choice {
    ($field:ident, $choice:ident) => {
        access!(text => tcp.$field = named(text, &$choice::ALL, $choice::name)?,
                config => config.tcp.$field.name().to_owned())
    };
}

/// A switch in the TCP's configuration.
macro_rules! tcp_switch {
    ($field:ident) => {
        access!(text => tcp.$field = switch(text)?, config => config.tcp.$field.to_string())
    };
}

/// A setting with a flag, at the top of the file.
const fn top(name: &'static str, kind: Kind, value: &'static str, help: &'static str, access: Access) -> Key {
    Key { name, table: Table::Top, flag: true, kind, value, help, access }
}

/// A setting of the TCP with a flag.
const fn tcp(name: &'static str, kind: Kind, value: &'static str, help: &'static str, access: Access) -> Key {
    Key { name, table: Table::Tcp, flag: true, kind, value, help, access }
}

/// A setting of the TCP that stands in the file only.
const fn tcp_file(name: &'static str, kind: Kind, help: &'static str, access: Access) -> Key {
    Key { name, table: Table::Tcp, flag: false, kind, value: "", help, access }
}

const U32: u64 = u32::MAX as u64;

/// Every setting, in the order of the help.
pub const KEYS: &[Key] = &[
    top(
        "interface",
        Kind::Text,
        "IFACE",
        "The network interface to serve on",
        access!(text => interface = interface_name(text)?, config => config.interface.clone()),
    ),
    top(
        "listen",
        Kind::List,
        "[ADDR:]PORT=SERVICE",
        "What to listen on and what to do there; may be repeated. Without ADDR, on every address of the interface, IPv4 and \
         IPv6; an IPv6 address stands in brackets. SERVICE is one of discard (acknowledge and discard data, close when the \
         peer closes), close (close first, right after accepting), http (one fixed HTTP/1.1 200 response to each request), \
         http:FILE (the same with the content of FILE, at most 16 MiB, as body)",
        Access {
            set: |config, text| {
                config.listens.push(parsed(text)?);
                Ok(())
            },
            show: |config| config.listens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        },
    ),
    top(
        "queues",
        Kind::Numbers,
        "LIST",
        "Receive queues to serve, each with a worker thread of its own, as in 0-3 or 0,2,4-5. Connections that arrive on \
         other queues stay with the kernel, which refuses them [default: all of the interface's]",
        access!(text => queues = Some(parsed::<Indexes>(text)?.0),
                config => shown(config.queues.clone().map(Indexes))),
    ),
    top(
        "cores",
        Kind::Numbers,
        "LIST",
        "CPU cores to pin the workers to, one for each queue in the same order, as in 1,2 [default: the cores this \
         process may run on, in order]",
        access!(text => cores = Some(parsed::<Indexes>(text)?.0), config => shown(config.cores.clone().map(Indexes))),
    ),
    top(
        "flows",
        Kind::Number,
        "N",
        "Connections held at most, over all queues; memory for them is taken at the start. Counts may end in k, M or G: \
         1k is 1,000",
        access!(text => flows = number(text, 1..=MAX_FLOWS)?, config => Count(config.flows.into()).to_string()),
    ),
    top(
        "frames",
        Kind::Number,
        "N",
        "Frames of packet memory for each queue, a power of two",
        access!(text => frames = frames(text)?, config => Count(config.frames.into()).to_string()),
    ),
    rings::RX_RING,
    rings::TX_RING,
    top(
        "xdp-mode",
        Kind::Text,
        "MODE",
        "Where the steering program runs: native (in the driver), generic (behind the driver, works everywhere), or auto",
        choice!(xdp_mode),
    ),
    top(
        "bind",
        Kind::Text,
        "MODE",
        "How AF_XDP shares frames with the driver: zerocopy, copy, or auto (zerocopy where the driver can)",
        choice!(bind),
    ),
    top(
        "partial-checksums",
        Kind::Text,
        "POLICY",
        "What to do with TCP checksums that cover the pseudo-header only, as a local sender leaves them to hardware: \
         accept, refuse, or auto (accept on a veth, refuse elsewhere)",
        choice!(partial_checksums),
    ),
    port::TX_BUDGET,
    port::BUSY_POLL,
    port::HUGE_PAGES,
    top(
        "busy",
        Kind::Switch,
        "",
        "Let the workers spin instead of sleeping when there is nothing to do: lowest latency, full load on the cores",
        access!(text => busy = switch(text)?, config => config.busy.to_string()),
    ),
    top(
        "control",
        Kind::Text,
        "PATH",
        "Unix socket that stats, flows, reload and drain talk to [default: /run/handfast/IFACE.sock]",
        access!(text => control = socket_path(text)?, config => config.control.display().to_string()),
    ),
    top(
        "metrics",
        Kind::Text,
        "ADDR:PORT",
        "Serve metrics in Prometheus' text format over HTTP on this address, at /metrics, with /healthz; an IPv6 address \
         stands in brackets [default: no metrics]",
        access!(text => metrics = Some(socket_address(text)?), config => shown(config.metrics)),
    ),
    top(
        "duration",
        Kind::Time,
        "TIME",
        "Stop after this long, as in 500ms, 10s, 2m or 1h [default: run until a signal or drain]",
        access!(text => duration = Some(duration(text)?),
                config => shown(config.duration.map(|d| Millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))))),
    ),
    top(
        "json",
        Kind::Switch,
        "",
        "Print the closing summary as one JSON object on standard output",
        access!(text => json = switch(text)?, config => config.json.to_string()),
    ),
    top(
        "cookie-secret",
        Kind::Text,
        "FILE",
        "Secret of the SYN cookies' keys, 16 bytes at least. Servers that share it, and whose clocks agree, complete each \
         other's handshakes [default: fresh random keys]",
        access!(text => cookie_secret_file = Some(PathBuf::from(text)),
                config => shown(config.cookie_secret_file.as_ref().map(|path| path.display()))),
    ),
    capture::CAPTURE,
    capture::CAPTURE_FILTER,
    capture::CAPTURE_FAILED,
    capture::CAPTURE_REMEMBER,
    capture::CAPTURE_SNAPLEN,
    capture::CAPTURE_LIMIT,
    tcp(
        "syn-cookies",
        Kind::Text,
        "WHEN",
        "Answer SYNs without keeping anything of them: auto (under pressure), always, or never",
        tcp_choice!(syn_cookies, SynCookies),
    ),
    tcp(
        "syn-cookies-at",
        Kind::Number,
        "N",
        "Connections of one queue in the middle of the handshake that count as pressure [default: half of half-open-limit]",
        access!(text => tcp.syn_cookies_at = Some(number(text, 1..=U32)?),
                config => shown(config.tcp.syn_cookies_at.map(|at| Count(at.into())))),
    ),
    tcp(
        "half-open-limit",
        Kind::Number,
        "N",
        "Connections of one queue in the middle of the handshake at most",
        tcp_number!(half_open_limit, 1..=U32),
    ),
    tcp(
        "half-open-full",
        Kind::Text,
        "POLICY",
        "What becomes of a SYN at that limit, where no cookie answers it: drop (it is dropped), evict-oldest or evict-random \
         (a handshake that is under way is given up for it)",
        tcp_choice!(half_open_full, HalfOpenFull),
    ),
    tcp(
        "half-open-timeout",
        Kind::Time,
        "TIME",
        "A handshake that takes longer is given up, whatever the retries say",
        tcp_time!(half_open_timeout_ms, 1),
    ),
    tcp("syn-retries", Kind::Number, "N", "How often a SYN-ACK is sent again", tcp_number!(syn_retries, 0..=255)),
    tcp(
        "data-retries",
        Kind::Number,
        "N",
        "How often data or a FIN is sent again before the connection is given up",
        tcp_number!(data_retries, 0..=255),
    ),
    tcp(
        "idle-timeout",
        Kind::Time,
        "TIME",
        "A connection whose peer sends nothing for this long is reset; 0 switches that off",
        tcp_time!(idle_timeout_ms, 0),
    ),
    tcp(
        "keepalive",
        Kind::Time,
        "TIME",
        "Silence before the first keepalive probe; 0 sends none",
        tcp_time!(keepalive_idle_ms, 0),
    ),
    tcp(
        "time-wait",
        Kind::Time,
        "TIME",
        "Length of TIME-WAIT, two maximum segment lifetimes",
        tcp_time!(time_wait_ms, 1),
    ),
    tcp("fin-wait-2", Kind::Time, "TIME", "How long FIN-WAIT-2 waits for the peer's FIN", tcp_time!(fin_wait_2_ms, 1)),
    tcp(
        "window-bytes",
        Kind::Number,
        "N",
        "Receive window in bytes, announced as far as the peer's window scaling allows",
        tcp_number!(window_bytes, 1..=1 << 30),
    ),
    tcp_file(
        "pressure-timeout",
        Kind::Time,
        "half-open-timeout while there is pressure, if that is the longer one (RFC 4987 3.3)",
        tcp_time!(pressure_timeout_ms, 1),
    ),
    tcp_file(
        "pressure-syn-retries",
        Kind::Number,
        "syn-retries while there is pressure, if that is the larger one",
        tcp_number!(pressure_syn_retries, 0..=255),
    ),
    tcp_file("window-scaling", Kind::Switch, "Accept window scaling (RFC 7323 2)", tcp_switch!(window_scaling)),
    tcp_file("sack-permitted", Kind::Switch, "Accept SACK-permitted (RFC 2018)", tcp_switch!(sack_permitted)),
    tcp_file("timestamps", Kind::Switch, "Accept timestamps (RFC 7323 3)", tcp_switch!(timestamps)),
    tcp_file(
        "initial-window-segments",
        Kind::Number,
        "Initial congestion window in segments (RFC 6928)",
        tcp_number!(initial_window_segments, 1..=1_000),
    ),
    tcp_file(
        "rto-initial",
        Kind::Time,
        "Retransmission time-out before the first round-trip sample (RFC 6298 2.1)",
        tcp_time!(rto_initial_ms, 1),
    ),
    tcp_file("rto-min", Kind::Time, "Lower bound of the retransmission time-out", tcp_time!(rto_min_ms, 1)),
    tcp_file("rto-max", Kind::Time, "Upper bound of the retransmission time-out", tcp_time!(rto_max_ms, 1)),
    tcp_file(
        "keepalive-interval",
        Kind::Time,
        "Time between two keepalive probes",
        tcp_time!(keepalive_interval_ms, 1),
    ),
    tcp_file(
        "keepalive-probes",
        Kind::Number,
        "Unanswered keepalive probes before a connection is reset",
        tcp_number!(keepalive_probes, 1..=255),
    ),
    tcp_file(
        "challenge-interval",
        Kind::Time,
        "Least time between two challenge ACKs of one connection (RFC 5961)",
        tcp_time!(challenge_interval_ms, 0),
    ),
    tcp_file(
        "challenges-per-second",
        Kind::Number,
        "Challenge ACKs sent in a second at most, shared among the queues (RFC 5961 7)",
        tcp_number!(challenges_per_second, 1..=U32),
    ),
    tcp_file(
        "resets-per-second",
        Kind::Number,
        "RSTs sent in a second at most for segments without a connection, shared among the queues; 0 sends none",
        tcp_number!(resets_per_second, 0..=U32),
    ),
    steering::DENY,
    steering::ALLOW,
    steering::SYN_RATE,
    steering::SYN_RATE_PREFIX_V4,
    steering::SYN_RATE_PREFIX_V6,
    steering::SYN_XDP,
    steering::SYN_XDP_AT,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_the_style_of_flags() {
        for (i, key) in KEYS.iter().enumerate() {
            assert!(
                key.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{}",
                key.name
            );
            assert!(KEYS[..i].iter().all(|other| other.name != key.name), "{} is declared twice", key.name);
        }
    }

    #[test]
    fn every_default_is_a_value_that_its_own_check_accepts() {
        let defaults = Config::default();
        for key in KEYS {
            let text = key.show(&defaults);
            let mut config = Config::default();
            if !text.is_empty() {
                key.set(&mut config, &text).unwrap_or_else(|error| panic!("{} = {text}: {error}", key.name));
                assert_eq!(config, defaults, "{} does not read what it shows", key.name);
            }
        }
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_range() {
        let refused = [
            ("flows", "0", "must be from 1 to 1073741824"),
            ("flows", "5G", "must be from 1 to 1073741824"),
            ("idle-timeout", "24d", "must be at least 0 and less than 24d"),
            ("time-wait", "0", "must be at least 1ms and less than 24d"),
            ("window-bytes", "1073741825", "must be from 1 to 1073741824"),
            ("syn-retries", "256", "must be from 0 to 255"),
            ("frames", "1000", "must be a power of two from 256 to 1048576"),
            ("busy", "yes", "must be true or false"),
            ("syn-cookies", "on", "must be one of auto, always, never"),
            ("half-open-full", "", "must be one of drop, evict-oldest, evict-random"),
            ("syn-cookies-at", "0", "must be from 1 to 4294967295"),
            ("interface", "eth0/..", "must be an interface name: 1 to 15 bytes without blanks, / and :"),
            ("interface", "sixteen-letters-", "must be an interface name: 1 to 15 bytes without blanks, / and :"),
            ("metrics", "9464", "must be an address and a port, as in 127.0.0.1:9464 or [::1]:9464"),
            ("duration", "0", "must be at least 1ms and at most 365d"),
        ];
        for (name, text, message) in refused {
            let result = Key::find(name).unwrap().set(&mut Config::default(), text);
            assert_eq!(result, Err(message.to_owned()), "{name} = {text}");
        }
        for (name, text) in [("flows", "1073741824"), ("window-bytes", "1073741824"), ("idle-timeout", "23d")] {
            assert_eq!(Key::find(name).unwrap().set(&mut Config::default(), text), Ok(()), "{name} = {text}");
        }
    }
}
