//! A lab as it is now: what iproute2 says about an end ([`InterfaceRow`]), and its form for people and programs
//! ([`LabView`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::End;

/// What `ip -details -json address show` says about an interface, as far as it is used.
#[derive(Debug, Deserialize)]
pub(super) struct InterfaceRow {
    #[serde(default)]
    pub ifname: String,
    #[serde(default)]
    ifindex: u32,
    /// Interface index of the other end of a veth pair.
    link_index: Option<u32>,
    #[serde(default)]
    mtu: u32,
    #[serde(default)]
    operstate: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    num_tx_queues: u32,
    #[serde(default)]
    num_rx_queues: u32,
    /// There if an XDP program is attached.
    pub xdp: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    addr_info: Vec<AddressRow>,
}

/// One address of an [`InterfaceRow`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AddressRow {
    local: String,
    prefixlen: u8,
    tentative: bool,
}

impl InterfaceRow {
    pub fn is_joined_with(&self, other: &InterfaceRow) -> bool {
        self.link_index == Some(other.ifindex) && other.link_index == Some(self.ifindex)
    }

    pub fn has_queues(&self, queues: u32) -> bool {
        self.num_rx_queues == queues && self.num_tx_queues == queues
    }

    pub fn is_ready(&self) -> bool {
        self.operstate == "UP" && !self.addr_info.iter().any(|address| address.tentative)
    }
}

/// A lab as it is now, for people (its text form) and programs (its JSON form).
#[derive(Debug, Serialize)]
pub struct LabView {
    /// The lab's name.
    pub name: String,
    /// True if both ends are there and up.
    pub up: bool,
    /// The client's end.
    pub client: EndView,
    /// The server's end.
    pub server: EndView,
    /// Commands that run something inside, the server's namespace first.
    pub enter: [String; 2],
}

/// One end of a lab as it is now.
#[derive(Debug, Serialize)]
pub struct EndView {
    /// Its network namespace.
    pub namespace: String,
    /// Its interface.
    pub interface: &'static str,
    /// `UP`, `DOWN`, another operational state of the kernel's, or `MISSING`.
    pub state: String,
    /// Its MAC address.
    pub mac: Option<String>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// How many receive queues it has.
    pub rx_queues: Option<u32>,
    /// How many transmit queues it has.
    pub tx_queues: Option<u32>,
    /// True if an XDP program is attached.
    pub xdp: bool,
    /// Its addresses with prefix length.
    pub addresses: Vec<String>,
}

impl EndView {
    pub(super) fn new(namespace: String, end: &End, row: Option<InterfaceRow>) -> Self {
        let state = row.as_ref().map_or("MISSING", |row| &row.operstate).to_owned();
        let addresses = row.iter().flat_map(|row| &row.addr_info);
        Self {
            namespace,
            interface: end.interface,
            state,
            mac: row.as_ref().map(|row| row.address.clone()),
            mtu: row.as_ref().map(|row| row.mtu),
            rx_queues: row.as_ref().map(|row| row.num_rx_queues),
            tx_queues: row.as_ref().map(|row| row.num_tx_queues),
            xdp: row.as_ref().is_some_and(|row| row.xdp.is_some()),
            addresses: addresses.map(|address| format!("{}/{}", address.local, address.prefixlen)).collect(),
        }
    }
}

impl fmt::Display for LabView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.up {
            writeln!(f, "lab {} is not up; make it with: handfast lab up --name {}", self.name, self.name)?;
        } else {
            writeln!(f, "lab {} is up", self.name)?;
        }
        for end in [&self.server, &self.client] {
            write!(f, "  {}  {}  {}", end.namespace, end.interface, end.state)?;
            if let (Some(mac), Some(mtu), Some(rx), Some(tx)) = (&end.mac, end.mtu, end.rx_queues, end.tx_queues) {
                write!(f, "  {mac}  mtu {mtu}  queues {rx} rx {tx} tx")?;
            }
            if end.xdp {
                write!(f, "  xdp attached")?;
            }
            writeln!(f)?;
            if !end.addresses.is_empty() {
                writeln!(f, "    {}", end.addresses.join("  "))?;
            }
        }
        if self.up {
            writeln!(f, "run something inside:")?;
            for command in &self.enter {
                writeln!(f, "  {command}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_row_of_iproute2_is_understood() {
        let row = r#"[{"ifindex":2,"link_index":3,"ifname":"hf-client","mtu":1500,"operstate":"UP","xdp":{"mode":1},
            "address":"02:68:66:00:00:02","num_tx_queues":2,"num_rx_queues":2,
            "addr_info":[{"family":"inet6","local":"2001:2::2","prefixlen":64,"tentative":true}]},{}]"#;
        let rows: Vec<InterfaceRow> = serde_json::from_str(row).unwrap();
        assert!(rows[0].xdp.is_some() && rows[0].has_queues(2) && !rows[0].has_queues(1));
        assert!(!rows[0].is_ready(), "a tentative address is not usable yet");
        assert!(!rows[0].is_joined_with(&rows[1]));
    }
}
