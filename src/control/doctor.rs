//! `handfast doctor`: whether this machine can serve an interface, what would make it serve worse than it could, and what
//! mends either.
//!
//! Facts are gathered first ([`Facts`] and what `facts` adds), then judged by pure functions (`system`, `interface`,
//! `traffic`). What keeps `serve` from starting is the judgement of [`preflight`], for the default configuration of the
//! interface; it takes the place of what would be said otherwise, so that the two cannot disagree. Nothing is changed on
//! the machine. What a report looks like is not here (observe).

mod case;
mod ethtool;
mod facts;
mod finding;
mod holder;
mod interface;
pub(super) mod peer;
mod system;
#[cfg(test)]
mod testbed;
mod traffic;

use super::check::Check;
use super::config::{Config, default_control};
use super::machine::Facts;
use super::preflight;
use super::settings::interface_name;
use crate::observe::checkup::{self, Checkup, Row, Verdict};
use crate::observe::json;
use case::Case;
use clap::Args;
use facts::{Device, System};
use finding::{Finding, settle};
use std::io::{self, Write as _};

/// `handfast doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Check this interface; without it the machine is checked, and which of its interfaces could be served
    #[arg(short, long, value_name = "IFACE", value_parser = interface_name)]
    interface: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Why `handfast doctor` ends with exit status 1.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// `serve` would fail; the report says why.
    #[error("{0} cannot be served; the rows marked `problem` say why, and what to do")]
    Unfit(String),
    /// The report could not be written.
    #[error("standard output: cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// The checks that are not of an interface, in a report about one as in a report about all.
const MACHINE: [Check; 10] = [
    Check::Kernel,
    Check::Privileges,
    Check::AfXdp,
    Check::Program,
    Check::BpfJit,
    Check::Btf,
    Check::Memory,
    Check::MemoryLock,
    Check::HugePages,
    Check::Governor,
];

/// Checks what was asked for and prints the report to standard output.
///
/// # Errors
///
/// If `serve` would fail, or the report cannot be written.
pub fn run(args: DoctorArgs) -> Result<(), DoctorError> {
    let subject = args.interface.clone().unwrap_or_else(|| "this machine".to_owned());
    let report = match args.interface {
        Some(interface) => examine(interface),
        None => survey(),
    };
    let text = if args.json { json::line(&report) + "\n" } else { checkup::page(&report) };
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    if report.serves { Ok(()) } else { Err(DoctorError::Unfit(subject)) }
}

/// The configuration that `serve` has if it is told nothing but the interface. It listens on nothing: what is listened on
/// is no question to the machine.
fn config(interface: &str) -> Config {
    Config { interface: interface.to_owned(), control: default_control(interface), ..Config::default() }
}

/// Everything about one interface.
fn examine(interface: String) -> Checkup {
    let facts = Facts::gather(&interface);
    let link = facts.link.as_ref().ok().and_then(Option::as_ref);
    let device = link.map(|link| Device::gather(&interface, link, &facts));
    let findings = judge(&interface, &facts, &System::gather(&facts), device.as_ref());
    let rows = findings.into_iter().map(|finding| {
        let about = (!MACHINE.contains(&finding.check)).then_some(interface.as_str());
        finding.row(about)
    });
    let rows = rows.collect();
    Checkup::of(Some(interface), rows)
}

/// Judges an interface and its machine; `device` is `None` if there is no such interface. Pure.
fn judge(interface: &str, facts: &Facts, system: &System, device: Option<&Device>) -> Vec<Finding> {
    let outcome = preflight::judge(&config(interface), facts);
    let mut findings = system::judge(facts, system, outcome.as_ref().ok());
    match (&facts.link, device) {
        (Ok(Some(link)), Some(device)) => {
            let case = Case { name: interface, facts, link, device };
            findings.extend(interface::judge(&case));
            findings.extend(traffic::judge(&case));
        }
        // Every check has its row whatever comes of it: programs look for them by name.
        _ => findings.extend(
            Check::ALL
                .iter()
                .filter(|check| !MACHINE.contains(check) && !matches!(check, Check::Interfaces | Check::Preflight))
                .map(|check| Finding::skipped(*check, format!("nothing is known of {interface}"))),
        ),
    }
    settle(&mut findings, outcome.err().map_or_else(Vec::new, |problems| problems.list));
    if let Some(device) = device {
        let attached =
            |finding: &&mut Finding| finding.check == Check::XdpProgram && finding.verdict == Verdict::Problem;
        if let Some(finding) = findings.iter_mut().find(attached) {
            *finding = interface::name_holders(finding.clone(), &device.holders, facts.xdp_removal.as_deref());
        }
    }
    findings
}

/// The machine, and of each of its interfaces whether it could be served.
fn survey() -> Checkup {
    // Every network namespace has this interface; which one is asked about changes nothing of the machine.
    let facts = Facts::gather("lo");
    let mut findings = system::judge(&facts, &System::gather(&facts), None);
    let problems = preflight::system_problems(&facts);
    let candidates: Vec<(&str, Finding)> =
        facts.interfaces.iter().map(|name| (name.as_str(), candidate(name, &Facts::gather(name), &problems))).collect();
    findings.push(interfaces(&candidates));
    settle(&mut findings, problems);
    let machine = findings.into_iter().map(|finding| finding.row(None));
    let rows: Vec<Row> = machine.chain(candidates.into_iter().map(|(name, finding)| finding.row(Some(name)))).collect();
    Checkup::of(None, rows)
}

/// Whether any interface could be served. Pure.
fn interfaces(candidates: &[(&str, Finding)]) -> Finding {
    let fit: Vec<&str> =
        candidates.iter().filter(|(_, finding)| finding.verdict == Verdict::Ok).map(|(name, _)| *name).collect();
    if fit.is_empty() {
        let remedy = "mend one of those below, or make a veth lab: handfast lab up";
        return Finding::problem(Check::Interfaces, "none could be served", remedy);
    }
    Finding::ok(Check::Interfaces, format!("could be served: {}", fit.join(", ")))
}

/// Whether one interface could be served on a machine that has those `problems` anyway. That another interface cannot is no
/// reason for a machine not to serve. Pure.
fn candidate(name: &str, facts: &Facts, problems: &[super::problem::Problem]) -> Finding {
    let list = match preflight::judge(&config(name), facts) {
        Ok(_) => Vec::new(),
        Err(found) => found.list,
    };
    let own: Vec<String> = list.iter().filter(|problem| !problems.contains(problem)).map(ToString::to_string).collect();
    let link = facts.link.as_ref().ok().and_then(Option::as_ref);
    if link.is_some_and(|link| link.loopback) {
        return Finding::skipped(Check::Interface, "is the loopback interface, which has no Ethernet frames");
    }
    if own.is_empty() {
        let kind = facts.driver.as_deref().or_else(|| link.and_then(|link| link.kind.as_deref())).unwrap_or("unknown");
        return Finding::ok(Check::Interface, format!("could be served ({kind}, {} queues)", facts.rx_queues));
    }
    Finding::warning(Check::Interface, own.join("; "), format!("handfast doctor -i {name} tells more"))
}

#[cfg(test)]
mod tests {
    use super::testbed::{Bench, facts, nic, system, veth};
    use super::*;
    use crate::control::doctor::holder::Holder;
    use crate::control::link::XdpProgram;

    fn judged(bench: &Bench) -> Vec<Finding> {
        let facts = Facts { link: Ok(Some(bench.link.clone())), ..bench.facts.clone() };
        judge("hf0", &facts, &system(), Some(&bench.device))
    }

    fn names(findings: &[Finding]) -> Vec<&'static str> {
        findings.iter().map(|finding| finding.check.name()).collect()
    }

    /// The checks of a report about one interface on which preflight finds nothing, or only what has its place.
    fn expected() -> Vec<&'static str> {
        let one = Check::ALL.iter().filter(|check| !matches!(check, Check::Interfaces | Check::Preflight));
        one.map(|check| check.name()).collect()
    }

    #[test]
    fn every_check_has_one_row_whatever_it_comes_to() {
        assert_eq!(names(&judged(&veth())), expected());
        assert_eq!(names(&judged(&nic())), expected());
        let mut down = veth();
        down.link.up = false;
        assert_eq!(names(&judged(&down)), expected());
        let missing = Facts { link: Ok(None), ..facts() };
        assert_eq!(names(&judge("hf0", &missing, &system(), None)), expected());
    }

    #[test]
    fn serve_and_doctor_agree_whatever_is_wrong() {
        type Break = fn(&mut Bench);
        let breaks: [(Check, Break); 13] = [
            (Check::Kernel, |bench| bench.facts.kernel = "5.4.0".into()),
            (Check::Kernel, |bench| bench.facts.kernel = "6.17.3".into()),
            (Check::Privileges, |bench| bench.facts.missing_capabilities = vec!["CAP_BPF"]),
            (Check::AfXdp, |bench| bench.facts.af_xdp_error = Some("not supported".into())),
            (Check::State, |bench| bench.link.up = false),
            (Check::Address, |bench| bench.link.mac = None),
            (Check::Address, |bench| bench.link.loopback = true),
            (Check::Mtu, |bench| bench.link.mtu = 9000),
            (Check::XdpProgram, |bench| bench.link.xdp = Some(XdpProgram { mode: "native", id: 12 })),
            (Check::Queues, |bench| bench.facts.rx_queues = 0),
            (Check::Queues, |bench| bench.facts.tx_queues = 1),
            (Check::Memory, |bench| bench.facts.available_bytes = Some(1 << 20)),
            (Check::MemoryLock, |bench| bench.facts.may_lock_memory = false),
        ];
        for (check, change) in breaks {
            let mut bench = veth();
            change(&mut bench);
            let facts = Facts { link: Ok(Some(bench.link.clone())), ..bench.facts.clone() };
            let refused = preflight::judge(&config("hf0"), &facts).unwrap_err();
            let findings = judged(&bench);
            let problems: Vec<_> = findings.iter().filter(|finding| finding.verdict == Verdict::Problem).collect();
            assert_eq!(problems.len(), refused.list.len(), "{check}: {problems:#?}");
            assert!(problems.iter().all(|finding| finding.check == check && finding.remedy.is_some()), "{problems:#?}");
        }
    }

    #[test]
    fn a_machine_and_an_interface_in_order_have_no_problem_and_no_warning() {
        for bench in [veth(), nic()] {
            for finding in judged(&bench) {
                assert!(matches!(finding.verdict, Verdict::Ok | Verdict::Skipped), "{finding:?}");
            }
        }
    }

    #[test]
    fn who_holds_the_program_is_said_beside_what_preflight_says() {
        let mut bench = veth();
        bench.link.xdp = Some(XdpProgram { mode: "native", id: 12 });
        bench.facts.xdp_removal = Some("bpftool link detach id 5".into());
        bench.device.holders = vec![Holder { pid: 77, command: "handfast serve".into() }];
        let findings = judged(&bench);
        let found = findings.iter().find(|finding| finding.check == Check::XdpProgram).unwrap();
        assert!(found.found.contains("(native, id 12), held by process 77 (handfast serve)"), "{found:?}");
        assert_eq!(found.remedy.as_deref(), Some("kill 77, or bpftool link detach id 5"));
    }

    #[test]
    fn without_such_an_interface_those_there_are_are_named() {
        let missing = Facts { link: Ok(None), ..facts() };
        let findings = judge("hf0", &missing, &system(), None);
        let found = findings.iter().find(|finding| finding.check == Check::Interface).unwrap();
        assert_eq!((found.verdict, found.remedy.as_deref()), (Verdict::Problem, Some("there are: lo, hf0")));
    }

    #[test]
    fn interfaces_are_candidates_by_what_is_wrong_with_them_alone() {
        let machine = Facts { kernel: "5.4.0".into(), ..facts() };
        let problems = preflight::system_problems(&machine);
        assert_eq!(problems.len(), 1);
        let found = candidate("hf0", &machine, &problems);
        assert_eq!((found.verdict, found.found.as_str()), (Verdict::Ok, "could be served (veth, 2 queues)"));
        let mut bench = veth();
        bench.link.up = false;
        let down = candidate("hf0", &Facts { link: Ok(Some(bench.link.clone())), ..facts() }, &[]);
        assert_eq!(
            (down.verdict, down.found.as_str()),
            (Verdict::Warning, "interface hf0: is down; ip link set hf0 up")
        );
        bench.link.loopback = true;
        let lo = candidate("lo", &Facts { link: Ok(Some(bench.link)), ..facts() }, &[]);
        assert_eq!(lo.verdict, Verdict::Skipped);

        assert_eq!(interfaces(&[("hf0", found), ("lo", lo.clone())]).found, "could be served: hf0");
        assert_eq!(interfaces(&[("hf1", down), ("lo", lo)]).verdict, Verdict::Problem);
    }
}
