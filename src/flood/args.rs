//! `handfast flood`: the command line, and what is wrong with it, all at once. Values are read here and not by the parser of
//! the command line, which would stop at the first that it cannot read.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::plan::{MAX_VLAN, is_one_host};
use super::sources::Sources;
use crate::bench::lab::FLOOD_POOLS;
use crate::blast::next_hop::parse_mac;
use crate::control::problem::{Problem, Problems};
use crate::control::values::{Count, Millis, XdpMode};
use crate::wire::ether::Mac;

/// Frames a second that may be asked for at most.
pub const MAX_RATE: u64 = 100_000_000;
/// The longest flood.
const MAX_DURATION_MS: u64 = 7 * 86_400_000;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// xdp if the kernel has it, otherwise afxdp
    Auto,
    /// A program inside the kernel, by BPF_PROG_RUN with live frames (since Linux 5.18)
    Xdp,
    /// An AF_XDP socket
    Afxdp,
}

impl EngineChoice {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            EngineChoice::Auto => "auto",
            EngineChoice::Xdp => "xdp",
            EngineChoice::Afxdp => "afxdp",
        }
    }
}

/// `handfast flood`
#[derive(Clone, Debug, Args)]
pub struct FloodArgs {
    /// The interface that frames leave through; it has to be one of a lab's (handfast lab up)
    #[arg(short, long, value_name = "IFACE", value_parser = crate::control::settings::interface_name)]
    pub interface: String,
    /// What is flooded
    #[arg(long, value_name = "ADDR:PORT")]
    pub target: String,
    /// The same once more: it is yours, and may be flooded though the interface is not one of a lab's
    #[arg(long, value_name = "ADDR:PORT")]
    pub really_target: Option<String>,
    /// With what: syn, ack, rst, fin, xmas (FIN, PSH and URG), random (any control bits), fragment (the first of a SYN, and no
    /// other), bad-checksum (a SYN), short (a SYN cut off within its TCP header)
    #[arg(long, value_name = "KIND", default_value = "syn")]
    pub kind: String,
    /// Frames a second [default: as many as one core sends]
    #[arg(long, value_name = "N")]
    pub rate: Option<String>,
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub duration: String,
    /// Pretend to come from these addresses, any as likely as any other [default: a lab's 198.19.0.0/16 or 2001:2:0:1::/64]
    #[arg(long, value_name = "CIDR")]
    pub source: Option<String>,
    /// Pretend to come from these ports
    #[arg(long, value_name = "LO-HI", default_value = "1024-65535")]
    pub ports: String,
    /// Send to this MAC address instead of asking the kernel for the next hop's
    #[arg(long, value_name = "MAC")]
    pub dst_mac: Option<String>,
    /// SYNs carry MSS, SACK permitted, timestamps and window scale as a Linux host's do, instead of the MSS alone
    #[arg(long)]
    pub options: bool,
    /// Tag frames for this VLAN
    #[arg(long, value_name = "N")]
    pub vlan: Option<String>,
    /// Who sends
    #[arg(long, value_enum, default_value = "auto", help_heading = "Machine")]
    pub engine: EngineChoice,
    /// The core to send from [default: the last that this process may run on]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub core: Option<u16>,
    /// Where the program runs that counts answers: auto, native, generic
    #[arg(long, value_name = "MODE", default_value = "auto", help_heading = "Machine")]
    pub xdp_mode: XdpMode,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The options, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What is flooded.
    pub target: SocketAddr,
    /// True if it was named twice.
    pub really: bool,
    /// With what.
    pub kind: Kind,
    /// Frames a second; as fast as it goes without.
    pub rate: Option<u64>,
    /// For how long.
    pub duration: Millis,
    /// From where.
    pub sources: Sources,
    /// From which ports.
    pub ports: RangeInclusive<u16>,
    /// To which MAC address.
    pub dst_mac: Option<Mac>,
    /// In which VLAN.
    pub vlan: Option<u16>,
}

/// Collects what is wrong.
#[derive(Debug, Default)]
struct Reader {
    list: Vec<Problem>,
}

impl Reader {
    fn wrong(&mut self, name: &str, text: &str, cause: impl Into<String>) {
        self.list.push(Problem::new(format!("--{name} {text}"), cause));
    }

    /// A value, or a problem and `None`.
    fn read<T>(&mut self, name: &str, text: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        parse(text).map_err(|cause| self.wrong(name, text, cause)).ok()
    }

    /// A value that may be absent.
    fn maybe<T>(&mut self, name: &str, text: Option<&str>, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        text.and_then(|text| self.read(name, text, parse))
    }
}

fn parsed<T: FromStr<Err = E>, E: Display>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: E| error.to_string())
}

fn target(text: &str) -> Result<SocketAddr, String> {
    let wrong = "must be an address and a port, as in 198.18.0.1:80 or [2001:2::1]:80";
    let target: SocketAddr = text.parse().map_err(|_| wrong.to_owned())?;
    if target.port() == 0 || !is_one_host(target.ip()) {
        return Err("is no address and port of one host".to_owned());
    }
    Ok(target)
}

fn rate(text: &str) -> Result<u64, String> {
    let Count(rate) = parsed(text)?;
    if (1..=MAX_RATE).contains(&rate) { Ok(rate) } else { Err(format!("must be from 1 to {MAX_RATE}")) }
}

fn duration(text: &str) -> Result<Millis, String> {
    let duration: Millis = parsed(text)?;
    if (1..=MAX_DURATION_MS).contains(&duration.0) { Ok(duration) } else { Err("must be from 1ms to 7d".to_owned()) }
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || "must be two ports from 1 to 65535, the lower one first, as in 1024-65535".to_owned();
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high): (u16, u16) = (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?);
    if low == 0 || high < low { Err(wrong()) } else { Ok(low..=high) }
}

fn vlan(text: &str) -> Result<u16, String> {
    let vlan = text.parse().ok().filter(|vlan| (1..=MAX_VLAN).contains(vlan));
    vlan.ok_or_else(|| format!("must be a VLAN from 1 to {MAX_VLAN}"))
}

impl FloodArgs {
    /// Reads the options.
    ///
    /// # Errors
    ///
    /// [`Problems`], all of them.
    pub fn check(&self) -> Result<Checked, Problems> {
        let reader = &mut Reader::default();
        let target = reader.read("target", &self.target, target);
        let kind = reader.read("kind", &self.kind, parsed::<Kind, _>);
        let rate = reader.maybe("rate", self.rate.as_deref(), rate);
        let duration = reader.read("duration", &self.duration, duration);
        let default = FLOOD_POOLS[usize::from(target.is_some_and(|target| target.is_ipv6()))];
        let source = self.source.as_deref().unwrap_or(default);
        let sources = reader.read("source", source, parsed::<Sources, _>);
        let ports = reader.read("ports", &self.ports, ports);
        let dst_mac = reader.maybe("dst-mac", self.dst_mac.as_deref(), parse_mac);
        let vlan = reader.maybe("vlan", self.vlan.as_deref(), vlan);
        if let (Some(target), Some(sources)) = (target, sources) {
            if sources.first.is_ipv4() != target.is_ipv4() {
                reader.wrong("source", source, format!("is of another family than the target {target}"));
            } else if sources.contains(target.ip()) {
                reader.wrong(
                    "source",
                    source,
                    format!("contains the target {}; leave it out of the range", target.ip()),
                );
            }
        }
        if let Some(kind) = kind.filter(|kind| self.options && !kind.has_options()) {
            let with = Kind::ALL.into_iter().filter(|kind| kind.has_options()).map(Kind::name).collect::<Vec<_>>();
            let cause = format!(
                "is for SYNs, and --kind {kind} has no such options; leave it out, or flood with {}",
                with.join(", ")
            );
            reader.list.push(Problem::new("--options", cause));
        }
        self.check_really(reader, target);
        let list = std::mem::take(&mut reader.list);
        let all = (|| {
            let (really, rate) = (self.really_target.is_some(), rate);
            Some(Checked {
                target: target?,
                really,
                kind: kind?,
                rate,
                duration: duration?,
                sources: sources?,
                ports: ports?,
                dst_mac,
                vlan,
            })
        })();
        let checked = Problems::none_or("the options of flood", list, all)?;
        Ok(checked.expect("a value that was not read is a problem"))
    }

    /// Whoever names the target twice has to name the same one, and where frames come from.
    fn check_really(&self, reader: &mut Reader, first: Option<SocketAddr>) {
        let Some(text) = self.really_target.as_deref() else { return };
        let again = reader.read("really-target", text, target);
        if let (Some(first), Some(again)) = (first, again)
            && first != again
        {
            reader.wrong(
                "really-target",
                text,
                format!("is not the target {first}; name the same one twice, or leave this out"),
            );
        }
        if self.source.is_none() {
            let cause = "needs --source: the addresses of a lab mean nothing elsewhere; give some whose owner you are";
            reader.wrong("really-target", text, cause);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: FloodArgs,
    }

    pub(crate) fn parse(line: &str) -> FloodArgs {
        let words = ["flood", "-i", "hf-client"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string()).unwrap()
    }

    fn problems(line: &str) -> Vec<String> {
        let found = parse(line).check();
        found.map_or_else(|problems| problems.list.iter().map(ToString::to_string).collect(), |_| Vec::new())
    }

    #[test]
    fn the_sources_of_a_lab_are_the_default_of_each_family() {
        let sources = |target: &str| parse(&format!("--target {target}")).check().unwrap().sources.to_string();
        assert_eq!(
            (sources("198.18.0.1:80"), sources("[2001:2::1]:80")),
            ("198.19.0.0/16".into(), "2001:2:0:1::/64".into())
        );
    }

    #[test]
    fn everything_wrong_is_listed_at_once() {
        let found = problems(
            "--target nowhere --kind smurf --rate 0 --duration 5 --source 1.2.3.4/24 --ports 9-5 --dst-mac x --vlan 4095",
        );
        let starts = [
            "--target nowhere:",
            "--kind smurf:",
            "--rate 0:",
            "--duration 5:",
            "--source 1.2.3.4/24:",
            "--ports 9-5:",
            "--dst-mac x:",
            "--vlan 4095:",
        ];
        assert_eq!(found.len(), starts.len(), "{found:?}");
        assert!(found.iter().zip(starts).all(|(problem, start)| problem.starts_with(start)), "{found:?}");
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let one = |line: &str, cause: &str| {
            let found = problems(line);
            assert!(found.len() == 1 && found[0].contains(cause), "{line}: {found:?}");
        };
        one("--target 198.18.0.1:80 --source 2001:2::/64", "is of another family than the target");
        one("--target 198.18.0.1:80 --source 198.18.0.0/16", "contains the target 198.18.0.1");
        one("--target 198.18.0.1:80 --kind ack --options", "flood with syn, fragment, bad-checksum");
        one("--target 224.0.0.1:80", "no address and port of one host");
        one("--target 10.0.0.1:80 --really-target 10.0.0.2:80 --source 10.1.0.0/16", "is not the target 10.0.0.1:80");
        one("--target 10.0.0.1:80 --really-target 10.0.0.1:80", "needs --source");
        assert!(parse("--target 10.0.0.1:80 --really-target 10.0.0.1:80 --source 10.1.0.0/16").check().unwrap().really);
    }
}
