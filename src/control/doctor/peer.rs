//! The other end of a veth, wherever it is: which network namespace has it, and what it is like there.
//!
//! The kernel says the other end's index and the id of its namespace. A file that stands for that namespace is looked for
//! among those that have a name, the first process's, and those of the other processes that may be looked at. Nothing is
//! changed there.

use super::ethtool::{self, Offloads};
use crate::bench::netns::inside;
use crate::control::link::{Joined, Link, namespace_id};
use crate::control::preflight::release;
use crate::steer::Interface;
use std::collections::HashSet;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where `ip netns` keeps its named namespaces.
const NAMED_NAMESPACES: &str = "/var/run/netns";

/// The other end of a veth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// The file of its network namespace, if that is another one.
    pub namespace: Option<PathBuf>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// True if it has an XDP program in native mode.
    pub xdp: bool,
    /// The transmit queues that it uses; why that cannot be told.
    pub tx_queues: Result<u32, String>,
    /// Its offloads; why they cannot be told.
    pub offloads: Result<Offloads, String>,
}

/// Linux from which on receive offload has a veth poll without an XDP program of its own.
const OFFLOAD_POLLS: (u32, u32, u32) = (5, 13, 0);

/// Whether what an XDP program puts into a veth arrives at its other end, which is to say, whether that end polls (NAPI).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polls {
    /// It does, and why.
    Yes(String),
    /// It does not: why, and what would change that.
    No(String, String),
    /// That cannot be told: why.
    Untold(String),
}

impl Peer {
    /// Whether it polls, under a kernel of this release. A program that answers by XDP_TX would ask for an XDP program there in any
    /// case: veth_xdp_flush() in drivers/net/veth.c wakes no other. One that redirects is content with receive offload.
    pub fn polls(&self, kernel: &str) -> Polls {
        let name = &self.name;
        if self.xdp {
            return Polls::Yes(format!("{name} polls: it has an XDP program"));
        }
        let offload_polls = release(kernel).is_some_and(|release| release >= OFFLOAD_POLLS);
        match &self.offloads {
            _ if !offload_polls => Polls::No(
                format!("{name} has no XDP program, so under Linux {kernel} it does not poll"),
                self.there(&format!("ip link set dev {name} xdpdrv object PASS.o, a program that returns XDP_PASS")),
            ),
            Ok(offloads) if offloads.gro => {
                Polls::Yes(format!("{name} polls by its receive offload, which is enough for redirected frames"))
            }
            Ok(_) => Polls::No(
                format!("{name} has neither receive offload nor an XDP program, so it does not poll"),
                self.there(&format!("ethtool -K {name} gro on")),
            ),
            Err(reason) => Polls::Untold(format!("{name} cannot be asked whether it polls: {reason}")),
        }
    }

    /// Looks for it and asks it.
    ///
    /// # Errors
    ///
    /// Why nothing can be said about it.
    pub fn find(joined: Joined) -> Result<Self, String> {
        let Some(id) = joined.namespace else { return ask(joined.index, None) };
        let file = file_of(id).ok_or(
            "the peer is in a network namespace that cannot be found from here: run `ethtool -k` and `ethtool -l` there",
        )?;
        let path = file.to_str().ok_or("the namespace of the peer has a name that is not text")?;
        let answer = inside(path, || ask(joined.index, Some(file.clone())));
        answer
            .map_err(|error| format!("the peer is in {}, which cannot be entered: {}", file.display(), error.source))?
    }

    /// `command` as it has to be typed to have it done where the peer is.
    pub fn there(&self, command: &str) -> String {
        let Some(namespace) = &self.namespace else { return command.to_owned() };
        match namespace.strip_prefix(NAMED_NAMESPACES) {
            Ok(name) => format!("ip netns exec {} {command}", name.display()),
            Err(_) => format!("nsenter --net={} {command}", namespace.display()),
        }
    }
}

/// Asks about the interface with this index in the namespace of the calling thread.
fn ask(index: u32, namespace: Option<PathBuf>) -> Result<Peer, String> {
    let name = Interface::from_index(index).name.ok_or("the peer is going away")?;
    let link = Link::query(&name).map_err(|error| format!("the peer {name} cannot be asked about: {error}"))?;
    let link = link.ok_or_else(|| format!("the peer {name} is going away"))?;
    let (tx_queues, offloads) = (ethtool::tx_queues(&name), Offloads::ask(&name));
    let xdp = link.xdp.is_some_and(|program| program.mode == "native");
    Ok(Peer { name, namespace, mtu: link.mtu, xdp, tx_queues, offloads })
}

/// A file that stands for the network namespace with this id.
fn file_of(id: i32) -> Option<PathBuf> {
    let mut seen = HashSet::new();
    candidates().find(|path| {
        let Ok(file) = File::open(path) else { return false };
        // Most processes are in the same few namespaces.
        let Ok(metadata) = file.metadata() else { return false };
        seen.insert((metadata.dev(), metadata.ino())) && namespace_id(file.as_fd()).is_ok_and(|found| found == Some(id))
    })
}

/// Files that stand for network namespaces, those with a name first.
fn candidates() -> impl Iterator<Item = PathBuf> {
    let entries = |folder: &str| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = entries(NAMED_NAMESPACES);
    let is_process = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
    };
    let processes = entries("/proc").filter(is_process).map(|process| process.join("ns/net"));
    named.chain([Path::new("/proc/1/ns/net").to_owned()]).chain(processes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(namespace: Option<&str>) -> Peer {
        Peer {
            name: "hf1".into(),
            namespace: namespace.map(PathBuf::from),
            mtu: 1500,
            xdp: false,
            tx_queues: Ok(1),
            offloads: Ok(Offloads::default()),
        }
    }

    #[test]
    fn a_command_is_given_as_it_has_to_be_typed() {
        assert_eq!(peer(None).there("ethtool -k hf1"), "ethtool -k hf1");
        assert_eq!(peer(Some("/var/run/netns/lab")).there("ip link"), "ip netns exec lab ip link");
        assert_eq!(peer(Some("/proc/1/ns/net")).there("ip link"), "nsenter --net=/proc/1/ns/net ip link");
    }

    #[test]
    fn receive_offload_or_a_program_has_the_other_end_poll() {
        let with = |xdp, gro| {
            let offloads = Ok(Offloads { gro, ..Offloads::default() });
            Peer { xdp, offloads, ..peer(Some("/var/run/netns/lab")) }
        };
        assert!(matches!(with(true, false).polls("5.9.0"), Polls::Yes(_)));
        assert!(matches!(with(false, true).polls("6.18.4"), Polls::Yes(_)));
        let Polls::No(found, remedy) = with(false, false).polls("6.18.4") else { panic!("it does not poll") };
        assert!(found.starts_with("hf1 has neither"), "{found}");
        assert_eq!(remedy, "ip netns exec lab ethtool -K hf1 gro on");
        let Polls::No(found, remedy) = with(false, true).polls("5.12.19") else { panic!("it does not poll") };
        assert!(found.contains("no XDP program") && remedy.contains("xdpdrv"), "{found}; {remedy}");
        let silent = Peer { offloads: Err("no ethtool".into()), ..peer(None) };
        assert_eq!(silent.polls("6.18.4"), Polls::Untold("hf1 cannot be asked whether it polls: no ethtool".into()));
    }

    #[test]
    fn a_namespace_that_nobody_stands_for_is_not_found() {
        let error = Peer::find(Joined { index: 1, namespace: Some(i32::MAX) }).unwrap_err();
        assert!(error.contains("cannot be found from here"), "{error}");
    }
}
