//! The lab: two network namespaces joined by a veth pair, made and removed with iproute2 ([`Lab`]), and the command line
//! `handfast lab` ([`LabArgs`], [`run`]).
//!
//! One lab is named by its prefix, so that several stand side by side; inside its namespaces every lab looks the same:
//! interfaces `hf-client` and `hf-server`, the same MAC addresses, and addresses from the ranges that are set aside for
//! benchmarks (198.18.0.0/15 by RFC 2544, 2001:2::/48 by RFC 5180). Nothing outside the two namespaces is changed, and no
//! interface ever exists outside them.
//!
//! What is not here: programs inside the lab. A person enters it with `ip netns exec`, code with
//! [`netns::inside`].

mod member;
mod view;

use std::io::{self, Write as _};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use thiserror::Error;

use super::accept::{self, AcceptArgs, AcceptError};
use super::clients::{self, ClientsArgs, ClientsError};
use super::command::{self, CommandError};
use super::netns::{self, EnterError};
use super::packets::{self, PacketsArgs, PacketsError};
use super::reflect::{self, ReflectArgs, ReflectError};
use view::InterfaceRow;
pub use view::{EndView, LabView};

/// One end of the veth pair, the same in every lab.
#[derive(Debug)]
pub struct End {
    /// What follows the lab's name and a hyphen in the name of the namespace.
    role: &'static str,
    /// The interface's name inside its namespace.
    pub interface: &'static str,
    /// Its MAC address: locally administered and fixed, so that two runs see the same frames.
    pub mac: &'static str,
    /// Its addresses with prefix length, IPv4 first.
    addresses: [&'static str; 2],
}

/// The end where connections are opened from.
pub const CLIENT: End = End {
    role: "client",
    interface: "hf-client",
    mac: "02:68:66:00:00:02",
    addresses: ["198.18.0.2/16", "2001:2::2/64"],
};

/// The end where connections are accepted.
pub const SERVER: End = End {
    role: "server",
    interface: "hf-server",
    mac: "02:68:66:00:00:01",
    addresses: ["198.18.0.1/16", "2001:2::1/64"],
};

/// Further IPv4 addresses that the client's kernel takes as its own. One address has about 64,000 ports per target, so
/// more connections than that at once need more source addresses.
pub const CLIENT_POOL: &str = "198.18.1.0/24";

/// Where floods pretend to come from ([`crate::flood`]): the server finds its way there through the client, so that it asks
/// for no neighbour but that one.
pub const FLOOD_POOLS: [&str; 2] = ["198.19.0.0/16", "2001:2:0:1::/64"];

/// How long the ends may take until they are up and their addresses usable.
const READY_WITHIN: Duration = Duration::from_secs(3);

/// Kernel settings of both namespaces, below /proc/sys/net. IPv6 without duplicate address detection, router solicitations
/// and autoconfiguration keeps the wire quiet and the addresses usable at once. A connection of the kernel stays on one
/// transmit queue only if a retransmission does not choose its flow hash anew (txrehash).
const SETTINGS: &[(&str, &str)] = &[
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("core/txrehash", "0"),
];

/// Settings of the client's namespace only: as many connections from one address as TCP has ports for.
const CLIENT_SETTINGS: &[(&str, &str)] = &[("ipv4/ip_local_port_range", "1024 65535"), ("ipv4/tcp_tw_reuse", "1")];

/// What a lab is made like.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct LabConfig {
    /// Name of the lab; its namespaces are NAME-client and NAME-server
    #[arg(long, default_value = "handfast")]
    pub name: String,
    /// Receive and transmit queues of each end
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub queues: u32,
    /// MTU of both ends in bytes; native XDP needs frames that fit a page (about 3,500)
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(1280..=65535))]
    pub mtu: u32,
    /// Switch checksum offload off, so that the kernel's frames carry whole TCP checksums
    #[arg(long)]
    pub no_offload: bool,
}

impl LabConfig {
    /// A lab named `name` with one queue, MTU 1500 and offloads as veth has them.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), queues: 1, mtu: 1500, no_offload: false }
    }
}

/// Why a lab could not be made, shown or removed.
#[derive(Debug, Error)]
pub enum LabError {
    /// A name that does not make two namespace names.
    #[error("`{0}` cannot name a lab: use 1 to 64 letters, digits, `-` and `_`, and no `-` at the start")]
    Name(String),
    /// iproute2 or ethtool failed.
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
    /// A namespace that cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// A kernel setting that could not be written.
    #[error(
        "cannot write `{value}` to {path} in the namespace {namespace}: {source}; is this root, and /proc/sys writable?"
    )]
    Setting {
        /// The namespace.
        namespace: String,
        /// The file.
        path: String,
        /// What was to be written.
        value: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// An XDP program is attached to an interface that would have to be made anew.
    #[error(
        "cannot make {interface} in {namespace} anew with other queues: an XDP program is attached to it; stop the program that attached it, then try again"
    )]
    Attached {
        /// The namespace.
        namespace: String,
        /// The interface.
        interface: &'static str,
    },
    /// Processes run inside a namespace that is to be removed.
    #[error(
        "cannot remove the namespace {namespace}: the processes {pids} run in it; stop them, or use --force to take the network away from them"
    )]
    Busy {
        /// The namespace.
        namespace: String,
        /// Their process ids.
        pids: String,
    },
    /// The interfaces did not come up.
    #[error(
        "the ends of lab {name} did not come up within {READY_WITHIN:?} (`handfast lab show --name {name}` tells the state); `handfast lab down`, then `handfast lab up`, makes it anew"
    )]
    NotReady {
        /// The lab.
        name: String,
    },
}

/// A lab, by its name; it may be up or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lab {
    name: String,
}

impl Lab {
    /// The lab of that name, without looking whether it is up.
    ///
    /// # Errors
    ///
    /// If the name cannot be part of a namespace's name.
    pub fn named(name: &str) -> Result<Self, LabError> {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > 64 || name.starts_with('-') || !name.bytes().all(usable) {
            return Err(LabError::Name(name.to_owned()));
        }
        Ok(Self { name: name.to_owned() })
    }

    /// Makes a lab, or mends one that is there until it is what `config` says. A pair with other queue counts is made
    /// anew. After an error some of it may be there; a second call goes on from there, and [`Lab::down`] removes it.
    ///
    /// # Errors
    ///
    /// If a command fails (not root, iproute2 missing), a setting cannot be written, or the pair had to be made anew
    /// while an XDP program is attached to it.
    pub fn up(config: &LabConfig) -> Result<Self, LabError> {
        let lab = Self::named(&config.name)?;
        for end in [&CLIENT, &SERVER] {
            lab.ensure_namespace(end)?;
            lab.write_settings(end, SETTINGS)?;
        }
        lab.write_settings(&CLIENT, CLIENT_SETTINGS)?;
        lab.ensure_pair(config)?;
        for end in [&CLIENT, &SERVER] {
            lab.configure(end, config)?;
        }
        let client = lab.client_namespace();
        command::run("ip", &["-n", &client, "route", "replace", "local", CLIENT_POOL, "dev", "lo"])?;
        let server = lab.server_namespace();
        for (pool, through) in FLOOD_POOLS.iter().zip(CLIENT.addresses) {
            let gateway = through.split('/').next().unwrap_or_default();
            command::run("ip", &["-n", &server, "route", "replace", pool, "via", gateway, "dev", SERVER.interface])?;
        }
        lab.wait_until_ready()?;
        Ok(lab)
    }

    /// Removes the lab: the pair, then the namespaces. A lab that is not there is removed already.
    ///
    /// # Errors
    ///
    /// If processes run inside and `force` is not set, or if a command fails. With `force` such processes keep a
    /// namespace without a network until they end.
    pub fn down(&self, force: bool) -> Result<(), LabError> {
        let ends: Vec<&End> = [&CLIENT, &SERVER].into_iter().filter(|end| self.exists(end)).collect();
        for end in ends.iter().filter(|_| !force) {
            let namespace = self.namespace(end);
            let pids = command::run("ip", &["netns", "pids", &namespace])?;
            if !pids.trim().is_empty() {
                let pids = pids.split_whitespace().collect::<Vec<_>>().join(" ");
                return Err(LabError::Busy { namespace, pids });
            }
        }
        for end in &ends {
            self.delete_interface(end)?;
        }
        for end in &ends {
            command::run("ip", &["netns", "delete", &self.namespace(end)])?;
        }
        Ok(())
    }

    /// What of the lab is there now.
    ///
    /// # Errors
    ///
    /// If a command fails or prints what we do not understand.
    pub fn show(&self) -> Result<LabView, LabError> {
        let view =
            |end| -> Result<EndView, LabError> { Ok(EndView::new(self.namespace(end), end, self.interface(end)?)) };
        let (client, server) = (view(&CLIENT)?, view(&SERVER)?);
        let up = [&client, &server].iter().all(|end| end.state == "UP");
        let enter = [&server, &client].map(|end| format!("ip netns exec {} COMMAND", end.namespace));
        Ok(LabView { name: self.name.clone(), up, client, server, enter })
    }

    /// The name of the client's network namespace.
    pub fn client_namespace(&self) -> String {
        self.namespace(&CLIENT)
    }

    /// The name of the server's network namespace.
    pub fn server_namespace(&self) -> String {
        self.namespace(&SERVER)
    }

    fn namespace(&self, end: &End) -> String {
        format!("{}-{}", self.name, end.role)
    }

    /// True if the namespace of `end` has a name; whether it can be entered is another question.
    fn exists(&self, end: &End) -> bool {
        netns::path(&self.namespace(end)).exists()
    }

    /// True if the namespace of `end` can be entered; an error if only privilege is lacking.
    fn is_usable(&self, end: &End) -> Result<bool, LabError> {
        match netns::inside(&self.namespace(end), || ()) {
            Ok(()) => Ok(true),
            Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    /// Makes the namespace of `end`. A name without a namespace behind it, as a restart leaves them, is replaced.
    fn ensure_namespace(&self, end: &End) -> Result<(), LabError> {
        let namespace = self.namespace(end);
        if self.is_usable(end)? {
            return Ok(());
        }
        if self.exists(end) {
            command::run("ip", &["netns", "delete", &namespace])?;
        }
        command::run("ip", &["netns", "add", &namespace])?;
        Ok(())
    }

    /// Writes kernel settings inside the namespace of `end`. One that this kernel does not have is left out.
    fn write_settings(&self, end: &End, settings: &'static [(&'static str, &'static str)]) -> Result<(), LabError> {
        let namespace = self.namespace(end);
        let write_all = || {
            settings.iter().try_for_each(|(name, value)| {
                let path = format!("/proc/sys/net/{name}");
                match std::fs::write(&path, value) {
                    Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
                    result => result.map_err(|source| (path, *value, source)),
                }
            })
        };
        netns::inside(&namespace, write_all)?.map_err(|(path, value, source)| LabError::Setting {
            namespace,
            path,
            value,
            source,
        })
    }

    /// Keeps a pair whose ends belong to each other and have the queues asked for, and makes a new one otherwise.
    fn ensure_pair(&self, config: &LabConfig) -> Result<(), LabError> {
        let (client, server) = (self.interface(&CLIENT)?, self.interface(&SERVER)?);
        if let (Some(client), Some(server)) = (&client, &server)
            && client.is_joined_with(server)
            && [client, server].iter().all(|end| end.has_queues(config.queues))
        {
            return Ok(());
        }
        for (end, row) in [(&CLIENT, &client), (&SERVER, &server)] {
            if row.as_ref().is_some_and(|row| row.xdp.is_some()) {
                return Err(LabError::Attached { namespace: self.namespace(end), interface: end.interface });
            }
        }
        self.delete_interface(&CLIENT)?;
        self.delete_interface(&SERVER)?;
        let queues = config.queues.to_string();
        let (client, server) = (self.client_namespace(), self.server_namespace());
        let mut arguments = vec!["-n", &client, "link", "add", CLIENT.interface];
        arguments.extend(["numrxqueues", &queues, "numtxqueues", &queues, "type", "veth", "peer"]);
        arguments.extend(["name", SERVER.interface, "numrxqueues", &queues, "numtxqueues", &queues, "netns", &server]);
        command::run("ip", &arguments)?;
        Ok(())
    }

    /// Addresses, MTU, offloads and state of one end. Each command is fine with what is there already.
    fn configure(&self, end: &End, config: &LabConfig) -> Result<(), LabError> {
        let namespace = self.namespace(end);
        let mtu = config.mtu.to_string();
        command::run("ip", &["-n", &namespace, "link", "set", "lo", "up"])?;
        command::run("ip", &["-n", &namespace, "link", "set", end.interface, "address", end.mac, "mtu", &mtu, "up"])?;
        for address in end.addresses {
            command::run("ip", &["-n", &namespace, "address", "replace", address, "dev", end.interface, "nodad"])?;
        }
        // GRO gives the end a NAPI context, without which the kernel drops what an XDP program redirects into it.
        let checksums = if config.no_offload { "off" } else { "on" };
        let mut arguments = vec!["netns", "exec", &namespace, "ethtool", "-K", end.interface];
        arguments.extend(["gro", "on", "tx", checksums]);
        command::run("ip", &arguments)?;
        Ok(())
    }

    /// Deletes the interface of `end` and with it the other end; fine if it is not there.
    fn delete_interface(&self, end: &End) -> Result<(), LabError> {
        if self.interface(end)?.is_some() {
            command::run("ip", &["-n", &self.namespace(end), "link", "delete", end.interface])?;
        }
        Ok(())
    }

    /// The interface of `end` as iproute2 describes it, if it is there.
    fn interface(&self, end: &End) -> Result<Option<InterfaceRow>, LabError> {
        let namespace = self.namespace(end);
        if !self.is_usable(end)? {
            return Ok(None);
        }
        let arguments = ["-n", &namespace, "-details", "-json", "address", "show"];
        let printed = command::run("ip", &arguments)?;
        let rows: Vec<InterfaceRow> = serde_json::from_str(&printed)
            .map_err(|source| LabError::Output { command: format!("ip {}", arguments.join(" ")), source })?;
        Ok(rows.into_iter().find(|row| row.ifname == end.interface))
    }

    /// Waits until both ends have a carrier and no address is tentative any more.
    fn wait_until_ready(&self) -> Result<(), LabError> {
        let start = Instant::now();
        loop {
            let ready = |end| -> Result<bool, LabError> { Ok(self.interface(end)?.is_some_and(|row| row.is_ready())) };
            if ready(&CLIENT)? && ready(&SERVER)? {
                return Ok(());
            }
            if start.elapsed() > READY_WITHIN {
                return Err(LabError::NotReady { name: self.name.clone() });
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// `handfast lab`
#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Make the lab, or mend it
    Up {
        #[command(flatten)]
        config: LabConfig,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove the lab
    Down {
        /// Name of the lab
        #[arg(long, default_value = "handfast")]
        name: String,
        /// Remove it even while processes run inside; they keep a namespace without a network
        #[arg(long)]
        force: bool,
    },
    /// Show what of the lab is there
    Show {
        /// Name of the lab
        #[arg(long, default_value = "handfast")]
        name: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Drive a responder with many sockets of the kernel's own TCP stack
    Clients(ClientsArgs),
    /// Accept, read and close on sockets of the kernel's: what `bench` compares with
    Accept(AcceptArgs),
    /// Turn frames round over AF_XDP without a TCP: the ceiling that `bench` shows
    Reflect(ReflectArgs),
    /// Send or drop frames of 64 bytes as fast as it goes
    Packets(PacketsArgs),
}

/// Why `handfast lab` failed.
#[derive(Debug, Error)]
pub enum RunError {
    /// The lab could not be made, shown or removed.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The clients could not run, or connections failed.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// The kernel's listener.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The responder without a TCP.
    #[error(transparent)]
    Reflect(#[from] ReflectError),
    /// Frames alone.
    #[error(transparent)]
    Packets(#[from] PacketsError),
    /// The result could not be written.
    #[error("cannot write the result to standard output: {0}")]
    Output(#[from] io::Error),
}

impl RunError {
    /// The exit status that says what kind of failure this is: 2 for wrong usage, 1 for all else.
    pub fn exit_status(&self) -> u8 {
        match self {
            RunError::Lab(LabError::Name(_)) | RunError::Clients(ClientsError::Usage(_)) => 2,
            RunError::Lab(_)
            | RunError::Clients(_)
            | RunError::Accept(_)
            | RunError::Reflect(_)
            | RunError::Packets(_)
            | RunError::Output(_) => 1,
        }
    }
}

/// Does what `handfast lab` was asked for and prints the result to standard output.
///
/// # Errors
///
/// If it could not be done; [`RunError::exit_status`] is the exit status to end with.
pub fn run(args: LabArgs) -> Result<(), RunError> {
    match args.command {
        LabCommand::Up { config, json } => print_view(&Lab::up(&config)?.show()?, json),
        LabCommand::Down { name, force } => Ok(Lab::named(&name)?.down(force)?),
        LabCommand::Show { name, json } => print_view(&Lab::named(&name)?.show()?, json),
        LabCommand::Clients(args) => clients::run(&args),
        LabCommand::Accept(args) => Ok(accept::run(&args)?),
        LabCommand::Reflect(args) => Ok(reflect::run(&args)?),
        LabCommand::Packets(args) => Ok(packets::run(&args)?),
    }
}

fn print_view(view: &LabView, json: bool) -> Result<(), RunError> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, view).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{view}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_part_of_a_file_name_is_refused() {
        for bad in ["", "-x", "a/b", "a b", "..", &"x".repeat(65)] {
            assert!(matches!(Lab::named(bad), Err(LabError::Name(_))), "{bad}");
        }
        let lab = Lab::named("try_2-a").unwrap();
        assert_eq!(
            (lab.client_namespace().as_str(), lab.server_namespace().as_str()),
            ("try_2-a-client", "try_2-a-server")
        );
    }

    #[test]
    fn the_interface_names_fit_the_kernels_limit() {
        // IFNAMSIZ is 16 with the terminating zero.
        assert!([&CLIENT, &SERVER].iter().all(|end| end.interface.len() <= 15));
    }

    #[test]
    fn wrong_usage_and_failure_have_different_exit_statuses() {
        assert_eq!(RunError::from(LabError::Name("-".into())).exit_status(), 2);
        assert_eq!(RunError::from(LabError::NotReady { name: "x".into() }).exit_status(), 1);
    }
}
