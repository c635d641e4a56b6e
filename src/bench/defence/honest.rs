//! The honest connections: `handfast blast` on a veth pair of its own inside the client's namespace, because the interface
//! to the server is the flood's and takes one XDP program only.
//!
//! ```text
//! blast on hf-honest == hf-relay (the flood's program) hf-client == hf-server
//! ```
//!
//! The flood's program hands on what arrives at hf-relay, and gives it what the server's port sends to others than the flood's
//! addresses. hf-honest has the MAC address of hf-client, so the server sees one neighbour.

use crate::bench::CommandError;
use crate::bench::command::run;
use crate::bench::compare::contender::{PORT, SERVER_ADDRESS};
use crate::bench::lab::{CLIENT, CLIENT_POOL, SERVER};
use crate::blast::report::BlastReport;
use crate::control::values::Millis;

use super::report::{Honest, percent};

/// The ends of the pair.
pub(super) const HONEST: &str = "hf-honest";
pub(super) const RELAY: &str = "hf-relay";

/// How long a handshake is waited for: SYNs go out at 0, 1 and 3 s.
pub(super) const TIMEOUT: Millis = Millis(4_000);

/// Ports of one run, so that no four-tuple comes twice while a server may remember it.
const PORTS_A_RUN: u32 = 2_000;
/// The first port, and how many runs have ports of their own before they come round.
const FIRST_PORT: u32 = 1_024;
const RUNS: u32 = 32;

/// Makes the pair in the client's namespace. It goes away with the namespace.
///
/// # Errors
///
/// If a command fails.
pub(super) fn join(client: &str) -> Result<(), CommandError> {
    run("ip", &["-n", client, "link", "add", HONEST, "type", "veth", "peer", "name", RELAY])?;
    run("ip", &["-n", client, "link", "set", HONEST, "address", CLIENT.mac, "up"])?;
    run("ip", &["-n", client, "link", "set", RELAY, "up"])?;
    for end in [HONEST, RELAY] {
        // What a program redirects into an end arrives only if it has NAPI.
        run("ip", &["netns", "exec", client, "ethtool", "-K", end, "gro", "on"])?;
    }
    Ok(())
}

/// The arguments of `blast` for run number `number` of a contender.
pub(super) fn arguments(core: u32, rate: u64, duration: Millis, number: u32) -> String {
    let first = FIRST_PORT + number % RUNS * PORTS_A_RUN;
    let (last, mac) = (first + PORTS_A_RUN - 1, SERVER.mac);
    format!(
        "blast -i {HONEST} --target {SERVER_ADDRESS}:{PORT} --source {CLIENT_POOL} --ports {first}-{last} --dst-mac {mac} \
         --cores {core} --xdp-mode native --rate {rate} --duration {duration} --timeout {TIMEOUT} --json -"
    )
}

/// What became of them.
pub(super) fn honest(report: &BlastReport) -> Honest {
    let connections = &report.connections;
    let handshake = &report.latency_us.handshake;
    Honest {
        started: connections.attempted,
        completed: connections.completed,
        failed: connections.failed_total(),
        failed_by: connections.failed.clone(),
        completed_percent: percent(connections.completed, connections.attempted),
        syn_retransmissions: report.generator.limits.get("syn_retransmissions").copied().unwrap_or(0),
        handshake_us: [handshake.p50, handshake.p99],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_have_ports_of_their_own_until_they_come_round() {
        let ports = |number| {
            let line = arguments(1, 1_000, Millis(5_000), number);
            line.split(" --ports ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
        };
        assert_eq!((ports(0), ports(1)), ("1024-3023".to_owned(), "3024-5023".to_owned()));
        assert_eq!((ports(31), ports(32)), ("63024-65023".to_owned(), "1024-3023".to_owned()));
        assert!(arguments(1, 1_000, Millis(5_000), 0).contains("--rate 1000 --duration 5s --timeout 4s --json -"));
    }
}
