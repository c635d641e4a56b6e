//! Where frames to a target go: its MAC address or its gateway's, from the kernel's routes and neighbours, which are asked for
//! with iproute2. A neighbour that the kernel does not know yet is asked for by a datagram to its discard port.
//!
//! What is deliberately not here: ARP and neighbour discovery of our own. The kernel does both, and keeps the result.

use crate::bench::{CommandError, command};
use crate::wire::ether::Mac;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a neighbour may take to answer: the kernel asks three times, a second apart.
const ANSWER_WITHIN: Duration = Duration::from_millis(3_500);
/// How often the kernel's table is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// The discard service (RFC 863): nothing that matters listens there.
const DISCARD_PORT: u16 = 9;

/// Why no frame can be addressed to a target.
#[derive(Debug, thiserror::Error)]
pub enum NextHopError {
    /// No route.
    #[error(
        "target {target}: no route to it from {interface}: {cause}; does {interface} have an address in its network? see: ip route \
         get {target}; with --dst-mac and --source no route is needed"
    )]
    NoRoute {
        /// Where to.
        target: IpAddr,
        /// From where.
        interface: String,
        /// What the kernel says.
        cause: String,
    },
    /// The target is this host.
    #[error(
        "target {target}: is an address of this host, and frames to it do not leave through {interface}; run the generator in another network namespace or on another host"
    )]
    OurOwn {
        /// Where to.
        target: IpAddr,
        /// From where.
        interface: String,
    },
    /// The kernel asked, and nobody answered.
    #[error(
        "target {target}: no answer to {question} for {hop} on {interface} within {ANSWER_WITHIN:?}; is it up and on this link? --dst-mac sets the MAC address without asking"
    )]
    NoAnswer {
        /// Where to.
        target: IpAddr,
        /// Who was asked for.
        hop: IpAddr,
        /// From where.
        interface: String,
        /// ARP or neighbour discovery.
        question: &'static str,
    },
    /// iproute2.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// iproute2 printed what we do not understand.
    #[error("cannot read what `{command}` printed: {source}; is this iproute2 5.0 or later?")]
    Output {
        /// The command line.
        command: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The datagram could not be sent.
    #[error("asking {interface} for {hop}: {source}")]
    Ask {
        /// Who was asked for.
        hop: IpAddr,
        /// From where.
        interface: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// A way to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The target itself, or a gateway.
    pub hop: IpAddr,
    /// The address that the kernel would send from.
    pub source: Option<IpAddr>,
}

/// What `ip -json route get` prints, as far as it is used.
#[derive(Debug, Deserialize)]
struct RouteRow {
    #[serde(rename = "type", default)]
    kind: String,
    gateway: Option<IpAddr>,
    #[serde(default)]
    dev: String,
    prefsrc: Option<IpAddr>,
}

/// What `ip -json neighbour show` prints, as far as it is used.
#[derive(Debug, Deserialize)]
struct NeighbourRow {
    lladdr: Option<String>,
    #[serde(default)]
    state: Vec<String>,
}

/// The way to `target` through `interface`.
///
/// # Errors
///
/// [`NextHopError::NoRoute`], [`NextHopError::OurOwn`], or iproute2 failed.
pub fn route(target: IpAddr, interface: &str) -> Result<Route, NextHopError> {
    let text = target.to_string();
    // Without the interface: with it, the kernel takes any address for one on the link.
    let arguments = ["-json", "route", "get", &text];
    let no_route = |cause: String| NextHopError::NoRoute { target, interface: interface.to_owned(), cause };
    let printed = match command::run("ip", &arguments) {
        Ok(printed) => printed,
        Err(CommandError::Failed { stderr, .. }) => return Err(no_route(stderr)),
        Err(error) => return Err(error.into()),
    };
    let rows: Vec<RouteRow> = parse(&arguments, &printed)?;
    let row = rows.into_iter().next().ok_or_else(|| no_route("the kernel names none".to_owned()))?;
    if row.kind == "local" || row.dev == "lo" {
        return Err(NextHopError::OurOwn { target, interface: interface.to_owned() });
    }
    if row.dev != interface {
        return Err(no_route(format!("the kernel's goes through {}", row.dev)));
    }
    Ok(Route { hop: row.gateway.unwrap_or(target), source: row.prefsrc })
}

/// The MAC address of `route`'s next hop, asked for if the kernel does not know it.
///
/// # Errors
///
/// [`NextHopError::NoAnswer`], or the kernel could not be asked.
pub fn resolve(target: IpAddr, route: &Route, interface: &str) -> Result<Mac, NextHopError> {
    let hop = route.hop;
    let start = Instant::now();
    let mut asked = false;
    loop {
        if let Some(mac) = known(hop, interface)? {
            return Ok(mac);
        }
        if start.elapsed() > ANSWER_WITHIN {
            let question = if hop.is_ipv4() { "ARP" } else { "neighbour solicitations" };
            return Err(NextHopError::NoAnswer { target, hop, interface: interface.to_owned(), question });
        }
        if !asked {
            ask(hop).map_err(|source| NextHopError::Ask { hop, interface: interface.to_owned(), source })?;
            asked = true;
        }
        sleep(LOOK);
    }
}

/// What the kernel's table says now.
fn known(hop: IpAddr, interface: &str) -> Result<Option<Mac>, NextHopError> {
    let text = hop.to_string();
    let arguments = ["-json", "neighbour", "show", "to", &text, "dev", interface];
    let printed = command::run("ip", &arguments)?;
    // Without an entry, older versions print nothing at all.
    if printed.trim().is_empty() {
        return Ok(None);
    }
    let rows: Vec<NeighbourRow> = parse(&arguments, &printed)?;
    Ok(rows.iter().find_map(usable))
}

/// The address of a neighbour that has answered.
fn usable(row: &NeighbourRow) -> Option<Mac> {
    let failed = row.state.iter().any(|state| state == "FAILED" || state == "INCOMPLETE");
    row.lladdr.as_deref().filter(|_| !failed).and_then(|text| parse_mac(text).ok())
}

/// Has the kernel ask for `hop`.
fn ask(hop: IpAddr) -> std::io::Result<()> {
    let any: IpAddr = if hop.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.send_to(&[], SocketAddr::new(hop, DISCARD_PORT)).map(drop)
}

fn parse<T: for<'de> Deserialize<'de>>(arguments: &[&str], printed: &str) -> Result<Vec<T>, NextHopError> {
    serde_json::from_str(printed)
        .map_err(|source| NextHopError::Output { command: format!("ip {}", arguments.join(" ")), source })
}

/// A MAC address as six pairs of hexadecimal digits.
///
/// # Errors
///
/// What it should look like.
pub fn parse_mac(text: &str) -> Result<Mac, String> {
    let wrong = || "must be six pairs of hexadecimal digits, as in 02:68:66:00:00:01".to_owned();
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    if parts.next().is_some() { Err(wrong()) } else { Ok(mac) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_has_six_pairs_of_digits() {
        assert_eq!(parse_mac("02:68:66:00:00:0a"), Ok([2, 0x68, 0x66, 0, 0, 10]));
        for bad in
            ["", "02:68:66:00:00", "02:68:66:00:00:01:02", "2:68:66:0:0:1", "02:68:66:00:00:0g", "02-68-66-00-00-01"]
        {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_neighbour_that_has_answered_is_used() {
        let row = |state: &str| NeighbourRow { lladdr: Some("02:00:00:00:00:01".into()), state: vec![state.into()] };
        assert_eq!(usable(&row("STALE")), Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(usable(&row("FAILED")), None);
        assert_eq!(usable(&NeighbourRow { lladdr: None, state: vec!["INCOMPLETE".into()] }), None);
    }

    #[test]
    fn iproute2s_answers_are_understood() {
        let direct = r#"[{"dst":"198.18.0.1","dev":"hf-client","prefsrc":"198.18.0.2","flags":[],"uid":0,"cache":[]}]"#;
        let rows: Vec<RouteRow> = parse(&[], direct).unwrap();
        assert_eq!((rows[0].gateway, rows[0].prefsrc), (None, Some("198.18.0.2".parse().unwrap())));
        let own = r#"[{"type":"local","dst":"198.18.0.2","dev":"lo","prefsrc":"198.18.0.2"}]"#;
        assert_eq!(parse::<RouteRow>(&[], own).unwrap()[0].kind, "local");
        assert!(parse::<RouteRow>(&["route"], "oops").is_err());
    }
}
