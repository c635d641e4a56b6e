//! The wire that all contenders share: a lab of one queue, its kernel's limits raised, and how its ends take frames.

use std::fs;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::BenchError;
use crate::bench::command;
use crate::bench::lab::{CLIENT, End, Lab, LabConfig, LabError, SERVER};
use crate::bench::netns::inside;
use crate::control::values::XdpMode;

/// Limits of the server's namespace below /proc/sys/net, so that the kernel's listener has as long a backlog as it takes.
const SERVER_SETTINGS: [(&str, &str); 2] = [("core/somaxconn", "65535"), ("ipv4/tcp_max_syn_backlog", "65535")];

/// The XDP mode of each end: `native`, or `SERVER,CLIENT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpModes {
    /// Of servers over AF_XDP.
    pub server: XdpMode,
    /// Of generators.
    pub client: XdpMode,
}

impl FromStr for XdpModes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (server, client) = text.split_once(',').unwrap_or((text, text));
        let mode = |text: &str| text.parse::<XdpMode>().map_err(|error| error.to_string());
        Ok(Self { server: mode(server)?, client: mode(client)? })
    }
}

/// The wire, as the report has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireReport {
    /// Queues of each end.
    pub queues: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// Where the server's steering program was asked to run.
    pub server_xdp_mode: String,
    /// Where the generator's was asked to run.
    pub client_xdp_mode: String,
    /// `napi_defer_hard_irqs` of both ends.
    pub napi_defer_hard_irqs: u32,
    /// `gro_flush_timeout` of both ends, in microseconds.
    pub gro_flush_timeout_us: u32,
    /// The server's settings below /proc/sys/net.
    pub server_settings: Vec<String>,
}

/// The lab, removed with this value.
#[derive(Debug)]
pub(in crate::bench) struct Wire {
    lab: Lab,
    queues: u32,
    up: bool,
}

impl Wire {
    /// Makes the lab `name` as `report` has it.
    ///
    /// # Errors
    ///
    /// If there is such a lab already, or it cannot be made; nothing is left of it then.
    pub fn up(name: &str, report: &WireReport) -> Result<Self, BenchError> {
        let lab = Lab::named(name)?;
        let view = lab.show()?;
        if [&view.server, &view.client].iter().any(|end| end.state != "MISSING") {
            return Err(BenchError::Exists(name.to_owned()));
        }
        // The guard comes first: a lab that came up halfway is removed as well.
        let wire = Self { lab, queues: report.queues, up: true };
        let config = LabConfig { queues: report.queues, mtu: report.mtu, ..LabConfig::named(name) };
        Lab::up(&config)?;
        wire.set_at_server(&SERVER_SETTINGS)?;
        wire.defer(&SERVER, report)?;
        wire.defer(&CLIENT, report)?;
        Ok(wire)
    }

    /// Makes settings of the server's namespace, each a name below /proc/sys/net and a value.
    ///
    /// # Errors
    ///
    /// If one of them cannot be written.
    pub fn set_at_server(&self, settings: &[(&str, &str)]) -> Result<(), BenchError> {
        let server = self.server();
        let write = || settings.iter().try_for_each(|(name, value)| fs::write(format!("/proc/sys/net/{name}"), value));
        inside(&server, write).map_err(LabError::from)?.map_err(|source| BenchError::Settings { server, source })
    }

    /// Has NAPI of one end wait for more before it ends its poll. The files are those of the namespace's own /sys.
    fn defer(&self, end: &End, report: &WireReport) -> Result<(), BenchError> {
        let namespace = self.namespace_of(end);
        let folder = format!("/sys/class/net/{}", end.interface);
        let script = format!(
            "echo {} > {folder}/napi_defer_hard_irqs && echo {} > {folder}/gro_flush_timeout",
            report.napi_defer_hard_irqs,
            u64::from(report.gro_flush_timeout_us) * 1_000
        );
        command::run("ip", &["netns", "exec", &namespace, "sh", "-c", &script]).map_err(LabError::from)?;
        Ok(())
    }

    fn namespace_of(&self, end: &End) -> String {
        if end.interface == SERVER.interface { self.server() } else { self.client() }
    }

    /// Queues of each end.
    pub fn queues(&self) -> u32 {
        self.queues
    }

    /// The namespace of the servers.
    pub fn server(&self) -> String {
        self.lab.server_namespace()
    }

    /// The namespace of the generators.
    pub fn client(&self) -> String {
        self.lab.client_namespace()
    }

    /// Removes the lab.
    ///
    /// # Errors
    ///
    /// If a command fails.
    pub fn down(mut self) -> Result<(), BenchError> {
        self.up = false;
        Ok(self.lab.down(true)?)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !self.up {
            return;
        }
        if let Err(error) = self.lab.down(true) {
            tracing::error!("the lab could not be removed: {error}");
        }
    }
}

/// The server's settings as the report has them.
pub(in crate::bench) fn server_settings() -> Vec<String> {
    SERVER_SETTINGS.iter().map(|(name, value)| format!("{}={value}", name.replace('/', "."))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_for_both_ends_or_for_each() {
        let both: XdpModes = "generic".parse().unwrap();
        assert_eq!((both.server, both.client), (XdpMode::Generic, XdpMode::Generic));
        let each: XdpModes = "native,generic".parse().unwrap();
        assert_eq!((each.server, each.client), (XdpMode::Native, XdpMode::Generic));
        assert!("native,never".parse::<XdpModes>().is_err());
    }
}
