//! What ethtool says about an interface of this thread's network namespace: offloads, queues, and how received frames are
//! spread over them.
//!
//! The program is run and its text read, as the lab does: a person can repeat by hand what a report says. Interfaces of
//! other namespaces are asked from inside (peer).

use crate::bench::CommandError;
use crate::bench::command::run;

/// The offloads that matter here; each is true if it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// TCP checksums of what is sent are left to the hardware.
    pub tx_checksum: bool,
    /// What is sent is split by the hardware (TSO).
    pub tso: bool,
    /// What is sent is split late, in software (GSO).
    pub gso: bool,
    /// What arrives is merged in software.
    pub gro: bool,
    /// What arrives is merged in hardware.
    pub lro: bool,
    /// VLAN tags are taken out of what arrives.
    pub rx_vlan: bool,
}

/// How received frames are spread over the queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// The queues in the indirection table, in order.
    pub queues: Vec<u32>,
    /// Whether the hash of TCP over IPv4 and over IPv6 takes the ports; why that cannot be told.
    pub ports: [(&'static str, Result<bool, String>); 2],
}

impl Offloads {
    /// Asks with `ethtool -k`.
    ///
    /// # Errors
    ///
    /// Why that cannot be told.
    pub fn ask(interface: &str) -> Result<Self, String> {
        run("ethtool", &["-k", interface]).map(|text| Self::read(&text)).map_err(reason)
    }

    /// Reads what `ethtool -k` prints.
    fn read(text: &str) -> Self {
        let on = |name: &str| {
            let state = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            state.is_some_and(|state| state.split_whitespace().next() == Some("on"))
        };
        Self {
            tx_checksum: on("tx-checksumming"),
            tso: on("tcp-segmentation-offload"),
            gso: on("generic-segmentation-offload"),
            gro: on("generic-receive-offload"),
            lro: on("large-receive-offload"),
            rx_vlan: on("rx-vlan-offload"),
        }
    }
}

impl Rss {
    /// Asks with `ethtool -x` and `ethtool -n`.
    ///
    /// # Errors
    ///
    /// Why the table cannot be told; many drivers have none.
    pub fn ask(interface: &str) -> Result<Self, String> {
        let queues = run("ethtool", &["-x", interface]).map(|text| table(&text)).map_err(reason)?;
        let hash = |flow: &'static str| {
            let printed = run("ethtool", &["-n", interface, "rx-flow-hash", flow]);
            (flow, printed.map(|text| takes_ports(&text)).map_err(reason))
        };
        Ok(Self { queues, ports: [hash("tcp4"), hash("tcp6")] })
    }
}

/// The queues named in what `ethtool -x` prints, in order.
fn table(text: &str) -> Vec<u32> {
    let rows = text.lines().take_while(|line| !line.starts_with("RSS hash key"));
    let entries = rows.filter_map(|line| {
        let (start, entries) = line.split_once(':')?;
        start.trim().parse::<u32>().ok()?;
        Some(entries.split_whitespace().filter_map(|entry| entry.parse::<u32>().ok()))
    });
    let mut queues: Vec<u32> = entries.flatten().collect();
    queues.sort_unstable();
    queues.dedup();
    queues
}

/// True if `ethtool -n IFACE rx-flow-hash` lists both ports.
fn takes_ports(text: &str) -> bool {
    ["src port", "dst port"].iter().all(|port| text.contains(port))
}

/// How many transmit queues are in use, from `ethtool -l`.
///
/// # Errors
///
/// Why that cannot be told.
pub fn tx_queues(interface: &str) -> Result<u32, String> {
    let text = run("ethtool", &["-l", interface]).map_err(reason)?;
    current_tx(&text).ok_or_else(|| format!("`ethtool -l {interface}` prints what is not understood"))
}

/// The transmit queues under "Current hardware settings"; combined ones transmit, too.
fn current_tx(text: &str) -> Option<u32> {
    let (_, current) = text.split_once("Current hardware settings:")?;
    let count = |name: &str| {
        let value = current.lines().find_map(|line| line.trim().strip_prefix(name))?;
        value.trim().parse::<u32>().ok()
    };
    match (count("TX:"), count("Combined:")) {
        (None, None) => None,
        (tx, combined) => tx.unwrap_or(0).checked_add(combined.unwrap_or(0)),
    }
}

/// Why a question has no answer.
fn reason(error: CommandError) -> String {
    match error {
        CommandError::Failed { command, stderr, .. } => format!("`{command}`: {stderr}"),
        missing @ CommandError::Start { .. } => missing.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_are_read_whether_they_can_be_changed_or_not() {
        let text = "Features for hf0:\nrx-checksumming: on\ntx-checksumming: on\n\ttx-checksum-ipv4: off [fixed]\n\
                    tcp-segmentation-offload: off\n\ttx-tcp-segmentation: on\ngeneric-segmentation-offload: on\n\
                    generic-receive-offload: off\nlarge-receive-offload: off [fixed]\nrx-vlan-offload: on [fixed]\n";
        let read = Offloads { tx_checksum: true, gso: true, rx_vlan: true, ..Offloads::default() };
        assert_eq!(Offloads::read(text), read);
        assert_eq!(Offloads::read(""), Offloads::default());
    }

    #[test]
    fn the_indirection_table_is_read_up_to_the_key() {
        let text = "RX flow hash indirection table for eth0 with 4 RX ring(s):\n    0:      0     1     2     1\n    \
                    4:      0     1     2     1\nRSS hash key:\n6d:5a:56:da\nRSS hash function:\n    toeplitz: on\n";
        assert_eq!(table(text), [0, 1, 2]);
        assert_eq!(table("RX flow hash indirection table for eth0 with 1 RX ring(s):\n"), [0; 0]);
    }

    #[test]
    fn a_hash_with_ports_is_told_from_one_without() {
        let addresses = "TCP over IPV4 flows use these fields for computing Hash flow key:\nIP SA\nIP DA\n";
        let ports = "L4 bytes 0 & 1 [TCP/UDP src port]\nL4 bytes 2 & 3 [TCP/UDP dst port]\n";
        assert!(!takes_ports(addresses));
        assert!(takes_ports(&format!("{addresses}{ports}")));
    }

    #[test]
    fn transmit_queues_are_those_in_use_and_combined_ones_count() {
        let text = |tx: &str, combined: &str| {
            format!(
                "Pre-set maximums:\nTX:\t\t8\nCurrent hardware settings:\nRX:\t\t2\nTX:\t\t{tx}\nCombined:\t{combined}\n"
            )
        };
        assert_eq!(current_tx(&text("2", "n/a")), Some(2));
        assert_eq!(current_tx(&text("n/a", "4")), Some(4));
        assert_eq!(current_tx(&text("1", "3")), Some(4));
        assert_eq!(current_tx("Current hardware settings:\nTX:\t\tn/a\n"), None);
        assert_eq!(current_tx("nothing"), None);
    }

    #[test]
    fn a_question_without_an_answer_has_a_reason() {
        let reason = Offloads::ask("hfdoc-none").unwrap_err();
        assert!(reason.contains("ethtool -k hfdoc-none"), "{reason}");
    }
}
