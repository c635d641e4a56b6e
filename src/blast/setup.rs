//! What the machine adds to the options of a run: queues and cores, the way to the target, source addresses; and what there
//! stands in the way of it.

use super::args::{BlastArgs, EngineChoice};
use super::next_hop::{self, NextHopError, Route};
use super::plan::Plan;
use super::tuples::Cidr;
use crate::control::config::Config;
use crate::control::machine::Facts;
use crate::control::preflight::{self, Preflight};
use crate::control::problem::{Problem, Problems};
use crate::wire::ether::Mac;
use nix::ifaddrs::getifaddrs;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Everything that a run needs to know.
#[derive(Debug)]
pub struct Setup {
    /// The interface and how it is used.
    pub config: Config,
    /// What the machine says to that.
    pub preflight: Preflight,
    /// The run.
    pub plan: Plan,
    /// Where frames go.
    pub peer_mac: Mac,
    /// What is worth knowing before it starts.
    pub notes: Vec<String>,
}

/// Why a run cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Options that contradict each other or what is there: wrong usage.
    #[error(transparent)]
    Options(Problems),
    /// The machine cannot do it.
    #[error(transparent)]
    Machine(Problems),
    /// There is no way to the target.
    #[error(transparent)]
    NextHop(#[from] NextHopError),
}

impl Setup {
    /// Asks the machine.
    ///
    /// # Errors
    ///
    /// [`SetupError`], before anything was sent but the question for the next hop.
    pub fn of(args: &BlastArgs) -> Result<Self, SetupError> {
        args.check().map_err(SetupError::Options)?;
        let config = config(args);
        let mut preflight = preflight::check(&config).map_err(|problems| {
            let subject = format!("interface {} cannot be used", args.interface);
            SetupError::Machine(Problems { subject, ..problems })
        })?;
        if args.cores.is_none() {
            // The last ones, so that a server on this machine that took the first keeps them.
            preflight.cores = Facts::gather(&args.interface).last_cores(preflight.queues.len());
        }
        let target = args.target.ip();
        let route = match (args.dst_mac, args.source) {
            (Some(_), Some(_)) => Route { hop: target, source: None },
            _ => next_hop::route(target, &args.interface)?,
        };
        let own = own_addresses(&args.interface);
        let sources = sources(args, &route, &own).map_err(SetupError::Options)?;
        let peer_mac = match args.dst_mac {
            Some(mac) => mac,
            None => next_hop::resolve(target, &route, &args.interface)?,
        };
        let mut notes = preflight.notes.clone();
        notes.extend(source_note(args, &sources, &own));
        let plan = args.plan(sources);
        Ok(Self { config, preflight, plan, peer_mac, notes })
    }
}

/// The options as `serve` would have them, for the checks and the ports that both have.
fn config(args: &BlastArgs) -> Config {
    let queues = args.queues.as_ref().map(|queues| queues.0.clone());
    let cores = args.cores.as_ref().map(|cores| cores.0.clone());
    let flows = if args.engine == EngineChoice::Xdp { 1 } else { args.flows() };
    Config {
        interface: args.interface.clone(),
        cores,
        queues,
        flows,
        frames: args.frames,
        xdp_mode: args.xdp_mode,
        bind: args.bind,
        tx_budget: args.tx_budget,
        busy_poll_us: args.busy_poll,
        huge_pages: args.huge_pages,
        busy: args.busy,
        ..Config::default()
    }
}

/// The addresses of the interface.
fn own_addresses(interface: &str) -> Vec<IpAddr> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let of_interface = all.filter(|row| row.interface_name == interface);
    let addresses = of_interface.filter_map(|row| {
        let address = row.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    });
    addresses.collect()
}

/// The source addresses, and what collides with them.
fn sources(args: &BlastArgs, route: &Route, own: &[IpAddr]) -> Result<Cidr, Problems> {
    let refuse = |problem| Problems { subject: "the options of blast".to_owned(), list: vec![problem] };
    let Some(source) = args.source else {
        let own = route.source.or_else(|| own.iter().copied().find(|addr| addr.is_ipv4() == args.target.is_ipv4()));
        let Some(own) = own else {
            let cause = format!("has no address of the target's family to connect to {} from", args.target);
            let problem = Problem::new(format!("interface {}", args.interface), cause);
            return Err(refuse(problem.remedy("give it one (ip address add), or name others with --source CIDR")));
        };
        let source = Cidr::of(own);
        return match args.tuple_problem(&source) {
            Some(problem) => Err(refuse(problem)),
            None => Ok(source),
        };
    };
    let collides = own.iter().find(|addr| source.contains(**addr));
    if let Some(own) = collides
        && let Some((low, high)) = kernel_ports(args)
    {
        let cause = format!(
            "contains {own}, an address of this host, whose kernel opens connections of its own from ports {low}-{high}"
        );
        let problem =
            Problem::new(format!("--source {source} --ports {}-{}", args.ports.start(), args.ports.end()), cause);
        let remedy = "leave that address out, use --ports outside of net.ipv4.ip_local_port_range, or no --source at all to \
                      share the address";
        return Err(refuse(problem.remedy(remedy)));
    }
    Ok(source)
}

/// The kernel's own ports, if they overlap with ours.
fn kernel_ports(args: &BlastArgs) -> Option<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let bounds: Vec<u16> = text.split_whitespace().filter_map(|bound| bound.parse().ok()).collect();
    let [low, high] = bounds[..] else { return None };
    (*args.ports.start() <= high && low <= *args.ports.end()).then_some((low, high))
}

/// What to know about the sources that were chosen.
fn source_note(args: &BlastArgs, sources: &Cidr, own: &[IpAddr]) -> Option<String> {
    let interface = &args.interface;
    if args.source.is_none() && own.contains(&sources.first) {
        kernel_ports(args)?;
        return Some(format!(
            "connections come from {}, which the kernel uses too: its own connections to {} from the same ports would break \
             meanwhile; --source CIDR takes others",
            sources.first, args.target
        ));
    }
    let unknown = [0, sources.len() - 1].into_iter().map(|index| sources.nth(index)).find(|addr| !is_local(*addr))?;
    Some(format!(
        "nobody on this host answers ARP or neighbour solicitations for {unknown}: a target with a TCP of the kernel's cannot \
         answer; for the time of the run, ip route add local {sources} dev lo does it (a target that answers to the MAC \
         address it hears from, like handfast serve, needs nothing) [{interface}]"
    ))
}

/// True if the kernel takes an address for its own, and so answers for it.
fn is_local(addr: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(addr, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blast::args::tests::parse;

    fn route() -> Route {
        Route { hop: "198.18.0.1".parse().unwrap(), source: Some("198.18.0.2".parse().unwrap()) }
    }

    #[test]
    fn without_a_source_the_interfaces_address_is_one() {
        let args = parse("").unwrap();
        assert_eq!(sources(&args, &route(), &[]).unwrap().to_string(), "198.18.0.2/32");
        let nowhere = Route { source: None, ..route() };
        let problem = sources(&args, &nowhere, &[]).unwrap_err().to_string();
        assert!(problem.contains("no address of the target's family"), "{problem}");
        let many = parse("--concurrency 100k").unwrap();
        assert!(sources(&many, &route(), &[]).unwrap_err().to_string().contains("make 64512"));
    }

    #[test]
    fn a_range_with_an_address_of_the_host_collides_with_its_own_ports() {
        let args = parse("--source 198.18.0.2").unwrap();
        let own = ["198.18.0.2".parse().unwrap()];
        let problem = sources(&args, &route(), &own).unwrap_err().to_string();
        assert!(problem.contains("contains 198.18.0.2, an address of this host"), "{problem}");
        assert!(sources(&parse("--source 198.18.1.0/24").unwrap(), &route(), &own).is_ok());
    }

    #[test]
    fn sources_that_nobody_answers_for_are_noted() {
        let args = parse("--source 198.18.99.0/24").unwrap();
        let note = source_note(&args, &args.source.unwrap(), &[]).unwrap();
        assert!(note.contains("ip route add local 198.18.99.0/24 dev lo"), "{note}");
    }
}
