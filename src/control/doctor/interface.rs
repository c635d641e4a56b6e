//! What of one interface is in order for serving: the interface itself, its driver, and who else uses it. Pure.
//!
//! What keeps `serve` from starting is preflight's to say and takes the place of what is said here (finding). How frames
//! come in is traffic's.

use super::case::{Case, Mode};
use super::facts::Control;
use super::finding::Finding;
use super::holder::Holder;
use crate::control::check::Check;
use crate::port::xsk::frame_size;
use crate::steer::DriverFeatures;

/// Judges an interface.
pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    vec![
        Finding::ok(Check::Interface, format!("index {}, {}", case.link.index, kind(case))),
        Finding::ok(Check::State, "up"),
        carrier(case),
        address(case),
        mtu(case),
        driver(case),
        native(case),
        xdp_program(case),
        sockets(case),
        control_socket(case),
    ]
}

fn kind(case: &Case<'_>) -> String {
    match (&case.link.kind, case.link.loopback) {
        (Some(kind), _) => format!("virtual ({kind})"),
        (None, true) => "loopback".to_owned(),
        (None, false) => "hardware".to_owned(),
    }
}

fn carrier(case: &Case<'_>) -> Finding {
    match case.link.carrier {
        true => Finding::ok(Check::Carrier, "there"),
        false if !case.link.up => Finding::skipped(Check::Carrier, "shows when the interface is up"),
        // A veth whose other end is down has none either.
        false => match &case.device.peer {
            Some(Ok(peer)) => {
                Finding::warning(Check::Carrier, "none", peer.there(&format!("ip link set {} up", peer.name)))
            }
            _ => Finding::warning(Check::Carrier, "none", "set the other end up, or plug in the cable"),
        },
    }
}

fn address(case: &Case<'_>) -> Finding {
    let bytes = case.link.mac.unwrap_or_default().map(|byte| format!("{byte:02x}"));
    Finding::ok(Check::Address, bytes.join(":"))
}

fn mtu(case: &Case<'_>) -> Finding {
    let mtu = case.link.mtu;
    let frame = frame_size(mtu).map_or_else(String::new, |bytes| format!(", frames of {bytes} bytes"));
    Finding::ok(Check::Mtu, format!("{mtu}{frame}"))
}

fn driver(case: &Case<'_>) -> Finding {
    let driver = case.driver();
    match &case.device.features {
        // The kernel says what a veth can do, and it has no zero-copy.
        _ if case.link.is_veth() => Finding::ok(Check::Driver, "veth: native mode, copies each frame"),
        Err(reason) => Finding::unknown(Check::Driver, format!("{driver}: {reason}")),
        Ok(DriverFeatures { native: true, zero_copy: true }) => {
            Finding::ok(Check::Driver, format!("{driver}: native mode, zero-copy"))
        }
        Ok(DriverFeatures { native: true, zero_copy: false }) => {
            Finding::ok(Check::Driver, format!("{driver}: native mode, copies each frame"))
        }
        Ok(_) if case.drivers_say() => Finding::warning(
            Check::Driver,
            format!("{driver}: generic mode only, copies each frame"),
            "use an interface whose driver has native XDP, or expect less",
        ),
        Ok(_) => Finding::unknown(Check::Driver, format!("{driver}: kernels before 6.3 do not say what it can do")),
    }
}

fn native(case: &Case<'_>) -> Finding {
    match case.mode() {
        Mode::Native => Finding::ok(Check::Native, "the driver takes the program"),
        Mode::Generic(reason, remedy) => {
            let remedy = remedy.unwrap_or_else(|| "nothing here; generic mode works".to_owned());
            Finding::warning(Check::Native, reason, remedy)
        }
        Mode::Untold(reason) => Finding::unknown(Check::Native, reason),
    }
}

fn xdp_program(case: &Case<'_>) -> Finding {
    let found = match case.link.xdp {
        Some(program) => format!("{} mode, id {}", program.mode, program.id),
        None => "none attached".to_owned(),
    };
    Finding::ok(Check::XdpProgram, found)
}

/// Adds to the finding of an attached program who holds it, and how to have it go.
pub fn name_holders(finding: Finding, holders: &[Holder], removal: Option<&str>) -> Finding {
    let Finding { found, remedy, .. } = finding.clone();
    if holders.is_empty() {
        return Finding { found: format!("{found}, held by no process that shows here"), ..finding };
    }
    let who = holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let stop = holders.iter().map(|holder| holder.pid.to_string()).collect::<Vec<_>>().join(" ");
    let remedy = match removal {
        Some(removal) => Some(format!("kill {stop}, or {removal}")),
        None => remedy.map(|remedy| format!("kill {stop}, or {remedy}")),
    };
    Finding { found: format!("{found}, held by {who}"), remedy, ..finding }
}

fn sockets(case: &Case<'_>) -> Finding {
    match case.device.sockets {
        Some(0) => Finding::ok(Check::Sockets, "no AF_XDP socket is open in this network namespace"),
        // The kernel says on which interface and queue a socket is only where it has CONFIG_XDP_SOCKETS_DIAG.
        Some(count) => {
            let found =
                format!("{count} AF_XDP sockets are open in this network namespace; on which queues is not told");
            Finding::unknown(Check::Sockets, found).remedy("ss --xdp -p lists them, where the kernel has xdp_diag")
        }
        None => Finding::unknown(Check::Sockets, "the kernel does not say how many AF_XDP sockets are open"),
    }
}

fn control_socket(case: &Case<'_>) -> Finding {
    match &case.device.control {
        Control::Free(path) => Finding::ok(Check::ControlSocket, format!("{} is free", path.display())),
        Control::Live(path, pid) => Finding::problem(
            Check::ControlSocket,
            format!("process {pid} serves at {} already", path.display()),
            format!("kill {pid}, or give serve another --control PATH"),
        ),
        Control::Blocked(reason) => Finding::problem(Check::ControlSocket, reason, "give serve another --control PATH"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testbed::{Bench, nic, veth};
    use super::*;
    use crate::observe::checkup::Verdict::{self, Ok as Fine, Problem, Skipped, Unknown, Warning};

    fn finding(bench: &Bench, check: Check) -> Finding {
        let finding = judge(&bench.case()).into_iter().find(|finding| finding.check == check).unwrap();
        assert!(!matches!(finding.verdict, Warning | Problem) || finding.remedy.is_some(), "{finding:?}");
        finding
    }

    /// What a check comes to after a change to an interface that is in order.
    fn verdict(mut bench: Bench, check: Check, change: impl FnOnce(&mut Bench)) -> Verdict {
        change(&mut bench);
        finding(&bench, check).verdict
    }

    #[test]
    fn interfaces_in_order_have_nothing_to_mend() {
        for bench in [veth(), nic()] {
            for finding in judge(&bench.case()) {
                assert_eq!(finding.verdict, Fine, "{finding:?}");
            }
        }
        assert_eq!(finding(&nic(), Check::Address).found, "02:00:00:00:00:01");
        assert_eq!(finding(&veth(), Check::Interface).found, "index 3, virtual (veth)");
        assert_eq!(finding(&nic(), Check::Mtu).found, "1500, frames of 2048 bytes");
    }

    #[test]
    fn a_missing_carrier_is_the_other_ends() {
        let mut bench = veth();
        bench.link.carrier = false;
        let found = finding(&bench, Check::Carrier);
        assert_eq!((found.verdict, found.remedy.as_deref()), (Warning, Some("ip netns exec lab ip link set hf1 up")));
        assert_eq!(verdict(nic(), Check::Carrier, |bench| bench.link.carrier = false), Warning);
        let down = |bench: &mut Bench| (bench.link.carrier, bench.link.up) = (false, false);
        assert_eq!(verdict(nic(), Check::Carrier, down), Skipped);
    }

    #[test]
    fn drivers_are_judged_by_what_they_say() {
        let features = |native, zero_copy| {
            move |bench: &mut Bench| {
                bench.device.features = Ok(DriverFeatures { native, zero_copy });
            }
        };
        assert_eq!(verdict(nic(), Check::Driver, features(true, false)), Fine);
        assert_eq!(verdict(nic(), Check::Driver, features(false, false)), Warning);
        assert_eq!(verdict(nic(), Check::Native, features(false, false)), Warning);
        let old = |bench: &mut Bench| {
            features(false, false)(bench);
            bench.facts.kernel = "6.1.0".into();
        };
        assert_eq!(verdict(nic(), Check::Driver, old), Unknown);
        assert_eq!(verdict(nic(), Check::Native, old), Unknown);
        assert_eq!(verdict(nic(), Check::Driver, |bench| bench.device.features = Err("no".into())), Unknown);
        assert_eq!(verdict(veth(), Check::Native, |bench| bench.peer().mtu = 9000), Warning);
        assert_eq!(verdict(veth(), Check::Native, |bench| bench.device.peer = Some(Err("gone".into()))), Unknown);
    }

    #[test]
    fn an_attached_program_is_named_with_its_holder_and_its_removal() {
        let attached = || Finding::problem(Check::XdpProgram, "a program (id 12)", "stop its owner");
        let nobody = name_holders(attached(), &[], Some("bpftool link detach id 5"));
        assert_eq!(nobody.found, "a program (id 12), held by no process that shows here");
        assert_eq!(nobody.remedy.unwrap(), "stop its owner");
        let holders = [Holder { pid: 77, command: "handfast serve -i hf0".into() }];
        let found = name_holders(attached(), &holders, Some("bpftool link detach id 5"));
        assert_eq!(found.found, "a program (id 12), held by process 77 (handfast serve -i hf0)");
        assert_eq!(found.remedy.unwrap(), "kill 77, or bpftool link detach id 5");
        assert_eq!(name_holders(attached(), &holders, None).remedy.unwrap(), "kill 77, or stop its owner");
    }

    #[test]
    fn others_on_the_interface_are_told_as_far_as_they_show() {
        assert_eq!(verdict(veth(), Check::Sockets, |bench| bench.device.sockets = Some(2)), Unknown);
        assert_eq!(verdict(veth(), Check::Sockets, |bench| bench.device.sockets = None), Unknown);
        let control = |control| verdict(veth(), Check::ControlSocket, |bench| bench.device.control = control);
        assert_eq!(control(Control::Live("/run/handfast/hf0.sock".into(), "77".into())), Problem);
        assert_eq!(control(Control::Blocked("there is a file".into())), Problem);
    }
}
