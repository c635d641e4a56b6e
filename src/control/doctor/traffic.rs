//! How frames come to the workers of one interface: queues, cores, interrupts, and what offloads make of them. Pure.

use super::case::{Case, Mode};
use super::ethtool::Rss;
use super::facts::Irq;
use super::finding::Finding;
use super::peer::Polls;
use crate::control::check::Check;
use crate::control::values::Indexes;
use std::collections::BTreeSet;

/// Judges how frames come in.
pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    vec![
        queues(case),
        cores(case),
        rss(case),
        irq_affinity(case),
        checksums(case),
        segmentation(case),
        merging(case),
        vlan_offload(case),
        syn_answers(case),
    ]
}

fn queues(case: &Case<'_>) -> Finding {
    let (rx, tx) = (case.facts.rx_queues, case.facts.tx_queues);
    Finding::ok(
        Check::Queues,
        format!("{rx} receive, {tx} transmit; serve opens a socket on each, unless --queues names fewer"),
    )
}

fn cores(case: &Case<'_>) -> Finding {
    let (queues, cores) = (case.facts.rx_queues, case.facts.cores.len());
    let found = format!("{queues} workers, cores {}", Indexes(case.facts.cores.clone()));
    if cores == 0 {
        return Finding::unknown(Check::Cores, "the kernel does not say on which cores this process may run");
    }
    if usize::try_from(queues).is_ok_and(|queues| queues > cores) {
        let remedy = match case.is_virtual() {
            true => format!("make {} with {cores} queues, or give serve more cores", case.name),
            false => format!("ethtool -L {} combined {cores}", case.name),
        };
        return Finding::warning(Check::Cores, found, remedy);
    }
    Finding::ok(Check::Cores, found)
}

fn rss(case: &Case<'_>) -> Finding {
    let name = case.name;
    if case.link.is_veth() {
        return Finding::skipped(Check::Rss, "a veth has none: the peer's transmit queue is the receive queue here");
    }
    if case.facts.rx_queues == 1 {
        return Finding::skipped(Check::Rss, "one queue gets everything");
    }
    let Rss { queues, ports } = match &case.device.rss {
        Ok(rss) => rss,
        Err(reason) => return Finding::unknown(Check::Rss, reason),
    };
    let idle: Vec<u32> = (0..case.facts.rx_queues).filter(|queue| !queues.contains(queue)).collect();
    if !idle.is_empty() {
        let found = format!("the indirection table leaves out queues {}: their workers are idle", Indexes(idle));
        return Finding::warning(Check::Rss, found, format!("ethtool -X {name} default, or name fewer --queues"));
    }
    if let Some((flow, _)) = ports.iter().find(|(_, ports)| *ports == Ok(false)) {
        let found = format!("the hash of {flow} leaves out the ports");
        return Finding::warning(Check::Rss, found, format!("ethtool -N {name} rx-flow-hash {flow} sdfn"));
    }
    if let Some((flow, Err(reason))) = ports.iter().find(|(_, ports)| ports.is_err()) {
        return Finding::unknown(Check::Rss, format!("the table has every queue; the hash of {flow}: {reason}"));
    }
    Finding::ok(Check::Rss, "the table has every queue, the hash takes the ports")
}

fn irq_affinity(case: &Case<'_>) -> Finding {
    let irqs = match &case.device.irqs {
        None => {
            return Finding::skipped(Check::IrqAffinity, "no interrupts: frames come in on the core of their sender");
        }
        Some(irqs) if irqs.is_empty() => {
            return Finding::unknown(
                Check::IrqAffinity,
                "the device shows no interrupts of its own in /sys (msi_irqs)",
            );
        }
        Some(irqs) => irqs,
    };
    let used: BTreeSet<u32> = irqs.iter().flat_map(|irq| irq.cores.iter().copied()).collect();
    let (cores, numbers) =
        (Indexes(used.iter().copied().collect()), Indexes(irqs.iter().map(|irq| irq.number).collect()));
    let found = format!("interrupts {numbers} on cores {cores}");
    let queues = usize::try_from(case.facts.rx_queues).unwrap_or(usize::MAX);
    if used.len() < queues.min(irqs.len()).min(case.facts.cores.len()) {
        let Irq { number, .. } = irqs[0];
        let remedy = format!("stop irqbalance; echo CORE > /proc/irq/{number}/smp_affinity_list, and so on for each");
        return Finding::warning(Check::IrqAffinity, found, remedy);
    }
    Finding::ok(Check::IrqAffinity, found)
}

fn checksums(case: &Case<'_>) -> Finding {
    match &case.device.peer {
        Some(Ok(peer)) => match &peer.offloads {
            Ok(offloads) if offloads.tx_checksum => Finding::ok(
                Check::Checksums,
                format!("{} leaves them partial; accepted on a veth (counter partial_checksums)", peer.name),
            ),
            Ok(_) => Finding::ok(Check::Checksums, format!("{} sends them whole", peer.name)),
            Err(reason) => Finding::unknown(Check::Checksums, format!("{reason}; both forms are accepted on a veth")),
        },
        Some(Err(reason)) => Finding::unknown(Check::Checksums, format!("{reason}; both forms are accepted on a veth")),
        // What a virtual interface brings from this machine is partial; in native mode virtio-net has the host finish it.
        None if case.is_virtual() || (case.driver() == "virtio_net" && case.mode() != Mode::Native) => {
            Finding::warning(
                Check::Checksums,
                "senders on the same machine may leave them partial, which is refused here (bad_tcp_checksum)",
                "handfast serve --partial-checksums accept",
            )
        }
        None => Finding::ok(Check::Checksums, "computed and checked in software, whole"),
    }
}

fn segmentation(case: &Case<'_>) -> Finding {
    let mode = case.mode();
    match (&case.device.peer, &mode) {
        (_, Mode::Native) if case.is_virtual() => {
            Finding::ok(Check::Segmentation, "native mode has senders on this machine split their segments")
        }
        (Some(Ok(peer)), mode) => {
            let remedy = peer.there(&format!("ethtool -K {} tso off gso off", peer.name));
            match (&peer.offloads, mode) {
                (Ok(offloads), _) if !offloads.tso && !offloads.gso => {
                    Finding::ok(Check::Segmentation, format!("{} splits its segments", peer.name))
                }
                (Ok(_), Mode::Untold(_)) => {
                    let found = format!("{} leaves segments unsplit, unless native mode keeps it from that", peer.name);
                    Finding::unknown(Check::Segmentation, found).remedy(remedy)
                }
                (Ok(_), _) => {
                    let found = format!("{} leaves segments unsplit, and generic mode lets it", peer.name);
                    Finding::warning(Check::Segmentation, found, remedy)
                }
                (Err(reason), _) => Finding::unknown(Check::Segmentation, reason),
            }
        }
        (Some(Err(reason)), _) => Finding::unknown(Check::Segmentation, reason),
        (None, Mode::Untold(reason)) if case.is_virtual() => Finding::unknown(Check::Segmentation, reason),
        (None, _) if case.is_virtual() => Finding::warning(
            Check::Segmentation,
            "senders on this machine may leave segments unsplit, and generic mode lets them",
            "ethtool -K PEER tso off gso off, on the interface they send from",
        ),
        (None, _) => Finding::skipped(Check::Segmentation, "what comes over a wire is split"),
    }
}

fn merging(case: &Case<'_>) -> Finding {
    let offloads = match &case.device.offloads {
        Ok(offloads) => offloads,
        Err(reason) => return Finding::unknown(Check::Merging, reason),
    };
    let on: Vec<&str> =
        [("gro", offloads.gro), ("lro", offloads.lro)].iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let off = format!("ethtool -K {} {} off", case.name, on.join(" off "));
    match case.mode() {
        _ if on.is_empty() => Finding::ok(Check::Merging, "gro and lro are off"),
        // The hardware merges before any program runs, or its driver refuses the program.
        Mode::Native if offloads.lro => {
            Finding::warning(Check::Merging, "lro is on", format!("ethtool -K {} lro off", case.name))
        }
        Mode::Native => Finding::ok(Check::Merging, "gro comes after the program in native mode"),
        Mode::Generic(..) => {
            let found = format!("{} on, and generic mode comes after it", on.join(" and "));
            Finding::warning(Check::Merging, found, off)
        }
        Mode::Untold(_) => {
            let found = format!("{} on, which matters unless native mode comes before it", on.join(" and "));
            Finding::unknown(Check::Merging, found).remedy(off)
        }
    }
}

fn vlan_offload(case: &Case<'_>) -> Finding {
    let offloads = match &case.device.offloads {
        Ok(offloads) => offloads,
        Err(reason) => return Finding::unknown(Check::VlanOffload, reason),
    };
    let vlans = case.device.vlans.join(", ");
    match (offloads.rx_vlan, vlans.as_str()) {
        (false, _) => Finding::ok(Check::VlanOffload, "off: the program sees the tags"),
        (true, "") => Finding::ok(Check::VlanOffload, "on, and no VLAN interface stands on it"),
        (true, vlans) => Finding::warning(
            Check::VlanOffload,
            format!("on, and VLANs stand on it ({vlans})"),
            format!("ethtool -K {} rxvlan off", case.name),
        ),
    }
}

fn syn_answers(case: &Case<'_>) -> Finding {
    let check = Check::SynAnswers;
    match (&case.device.peer, case.mode()) {
        (None, _) => Finding::ok(check, "leave as the driver sends, or by the kernel in generic mode"),
        (_, Mode::Generic(..)) => Finding::ok(check, "the kernel sends them in generic mode, and any peer gets them"),
        (Some(Err(reason)), _) => Finding::unknown(check, reason),
        (Some(Ok(peer)), _) => match peer.polls(&case.facts.kernel) {
            Polls::Yes(how) => Finding::ok(check, how),
            Polls::No(found, remedy) => {
                Finding::warning(check, format!("{found}: in a flood the workers have to answer"), remedy)
            }
            Polls::Untold(reason) => Finding::unknown(check, reason),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::testbed::{Bench, nic, veth};
    use super::*;
    use crate::observe::checkup::Verdict::{self, Ok as Fine, Skipped, Unknown, Warning};
    use crate::steer::DriverFeatures;

    /// What a check comes to after a change to an interface that is in order, and what mends it.
    fn found(mut bench: Bench, check: Check, change: impl FnOnce(&mut Bench)) -> (Verdict, String) {
        change(&mut bench);
        let finding = judge(&bench.case()).into_iter().find(|finding| finding.check == check).unwrap();
        assert!(finding.verdict != Warning || finding.remedy.is_some(), "{finding:?}");
        (finding.verdict, finding.remedy.unwrap_or_default())
    }

    fn verdict(bench: Bench, check: Check, change: impl FnOnce(&mut Bench)) -> Verdict {
        found(bench, check, change).0
    }

    /// A driver that takes no program.
    fn generic(bench: &mut Bench) {
        bench.device.features = Ok(DriverFeatures { native: false, zero_copy: false });
    }

    /// A driver of which nothing is known.
    fn untold(bench: &mut Bench) {
        bench.device.features = Err("no answer".into());
    }

    /// A virtual interface other than a veth.
    fn tap() -> Bench {
        let mut bench = nic();
        bench.link.kind = Some("tun".into());
        bench.facts.driver = None;
        bench
    }

    #[test]
    fn interfaces_in_order_have_nothing_to_mend() {
        for bench in [veth(), nic()] {
            for finding in judge(&bench.case()) {
                assert!(matches!(finding.verdict, Fine | Skipped), "{finding:?}");
            }
        }
    }

    #[test]
    fn workers_that_share_cores_are_too_many() {
        let few = |bench: &mut Bench| bench.facts.cores = vec![1];
        assert_eq!(found(nic(), Check::Cores, few), (Warning, "ethtool -L hf0 combined 1".into()));
        assert_eq!(verdict(veth(), Check::Cores, few), Warning);
        assert_eq!(verdict(nic(), Check::Cores, |bench| bench.facts.cores.clear()), Unknown);
    }

    #[test]
    fn rss_has_to_reach_every_queue_with_the_ports_in_the_hash() {
        let rss = |queues: &[u32], ports| Ok(Rss { queues: queues.to_vec(), ports });
        let both = [("tcp4", Ok(true)), ("tcp6", Ok(true))];
        assert_eq!(verdict(nic(), Check::Rss, |bench| bench.device.rss = rss(&[1], both)), Warning);
        let six = [("tcp4", Ok(true)), ("tcp6", Ok(false))];
        let (came, remedy) = found(nic(), Check::Rss, |bench| bench.device.rss = rss(&[0, 1], six));
        assert_eq!((came, remedy.as_str()), (Warning, "ethtool -N hf0 rx-flow-hash tcp6 sdfn"));
        let untold = [("tcp4", Err("not supported".into())), ("tcp6", Ok(true))];
        assert_eq!(verdict(nic(), Check::Rss, |bench| bench.device.rss = rss(&[0, 1], untold)), Unknown);
        assert_eq!(verdict(nic(), Check::Rss, |bench| bench.device.rss = Err("no ethtool".into())), Unknown);
        assert_eq!(verdict(nic(), Check::Rss, |bench| bench.facts.rx_queues = 1), Skipped);
        assert_eq!(verdict(veth(), Check::Rss, |_| {}), Skipped);
    }

    #[test]
    fn interrupts_of_all_queues_on_one_core_are_too_few() {
        let irqs = |cores: [u32; 2]| {
            let each = (30..).zip(cores).map(|(number, core)| Irq { number, cores: vec![core] }).collect();
            move |bench: &mut Bench| bench.device.irqs = Some(each)
        };
        assert_eq!(verdict(nic(), Check::IrqAffinity, irqs([0, 0])), Warning);
        assert_eq!(verdict(nic(), Check::IrqAffinity, irqs([3, 2])), Fine);
        assert_eq!(verdict(nic(), Check::IrqAffinity, |bench| bench.device.irqs = Some(Vec::new())), Unknown);
        assert_eq!(verdict(veth(), Check::IrqAffinity, |_| {}), Skipped);
    }

    #[test]
    fn partial_checksums_are_accepted_on_a_veth_and_nowhere_else() {
        assert_eq!(verdict(veth(), Check::Checksums, |_| {}), Fine);
        let whole = |bench: &mut Bench| bench.peer().offloads.as_mut().unwrap().tx_checksum = false;
        assert_eq!(verdict(veth(), Check::Checksums, whole), Fine);
        let silent = |bench: &mut Bench| bench.peer().offloads = Err("no ethtool".into());
        assert_eq!(verdict(veth(), Check::Checksums, silent), Unknown);
        assert_eq!(verdict(veth(), Check::Checksums, |bench| bench.device.peer = Some(Err("far".into()))), Unknown);
        assert_eq!(verdict(tap(), Check::Checksums, |_| {}), Warning);
        let virtio = |bench: &mut Bench| bench.facts.driver = Some("virtio_net".into());
        assert_eq!(verdict(nic(), Check::Checksums, virtio), Fine);
        let both = |bench: &mut Bench| {
            virtio(bench);
            generic(bench);
        };
        assert_eq!(verdict(nic(), Check::Checksums, both), Warning);
    }

    #[test]
    fn unsplit_segments_matter_in_generic_mode() {
        let wide = |bench: &mut Bench| bench.peer().mtu = 9000;
        let (came, remedy) = found(veth(), Check::Segmentation, wide);
        assert_eq!((came, remedy.as_str()), (Warning, "ip netns exec lab ethtool -K hf1 tso off gso off"));
        let split = |bench: &mut Bench| {
            wide(bench);
            let offloads = bench.peer().offloads.as_mut().unwrap();
            (offloads.tso, offloads.gso) = (false, false);
        };
        assert_eq!(verdict(veth(), Check::Segmentation, split), Fine);
        let no_queues = |bench: &mut Bench| bench.peer().tx_queues = Err("no ethtool".into());
        assert_eq!(verdict(veth(), Check::Segmentation, no_queues), Unknown);
        let silent = |bench: &mut Bench| {
            wide(bench);
            bench.peer().offloads = Err("no ethtool".into());
        };
        assert_eq!(verdict(veth(), Check::Segmentation, silent), Unknown);
        assert_eq!(verdict(veth(), Check::Segmentation, |bench| bench.device.peer = Some(Err("far".into()))), Unknown);
        assert_eq!(verdict(tap(), Check::Segmentation, |_| {}), Fine);
        assert_eq!(verdict(tap(), Check::Segmentation, generic), Warning);
        assert_eq!(verdict(tap(), Check::Segmentation, untold), Unknown);
        assert_eq!(verdict(nic(), Check::Segmentation, generic), Skipped);
    }

    #[test]
    fn merged_segments_matter_where_they_come_before_the_program() {
        assert_eq!(found(nic(), Check::Merging, generic), (Warning, "ethtool -K hf0 gro off".into()));
        let both = |bench: &mut Bench| {
            generic(bench);
            bench.offloads().lro = true;
        };
        assert_eq!(found(nic(), Check::Merging, both), (Warning, "ethtool -K hf0 gro off lro off".into()));
        assert_eq!(verdict(nic(), Check::Merging, |bench| bench.offloads().lro = true), Warning);
        assert_eq!(verdict(nic(), Check::Merging, untold), Unknown);
        let off = |bench: &mut Bench| {
            generic(bench);
            bench.offloads().gro = false;
        };
        assert_eq!(verdict(nic(), Check::Merging, off), Fine);
        assert_eq!(verdict(nic(), Check::Merging, |bench| bench.device.offloads = Err("no".into())), Unknown);
    }

    #[test]
    fn answers_of_the_program_need_a_peer_that_polls() {
        let (came, remedy) =
            found(veth(), Check::SynAnswers, |bench| bench.peer().offloads.as_mut().unwrap().gro = false);
        assert_eq!((came, remedy.as_str()), (Warning, "ip netns exec lab ethtool -K hf1 gro on"));
        let with_program = |bench: &mut Bench| {
            bench.peer().offloads.as_mut().unwrap().gro = false;
            bench.peer().xdp = true;
        };
        assert_eq!(verdict(veth(), Check::SynAnswers, with_program), Fine);
        assert_eq!(verdict(veth(), Check::SynAnswers, |bench| bench.facts.kernel = "5.10.0".into()), Warning);
        let in_generic_mode = |bench: &mut Bench| {
            bench.facts.kernel = "5.10.0".into();
            bench.peer().mtu = 9000;
        };
        assert_eq!(verdict(veth(), Check::SynAnswers, in_generic_mode), Fine);
        assert_eq!(verdict(veth(), Check::SynAnswers, |bench| bench.device.peer = Some(Err("far".into()))), Unknown);
        assert_eq!(verdict(veth(), Check::SynAnswers, |bench| bench.peer().offloads = Err("no".into())), Unknown);
    }

    #[test]
    fn tags_that_are_taken_out_matter_where_there_are_vlans() {
        let vlans = |bench: &mut Bench| bench.device.vlans = vec!["hf0.7".into()];
        assert_eq!(found(nic(), Check::VlanOffload, vlans), (Warning, "ethtool -K hf0 rxvlan off".into()));
        let off = |bench: &mut Bench| {
            vlans(bench);
            bench.offloads().rx_vlan = false;
        };
        assert_eq!(verdict(nic(), Check::VlanOffload, off), Fine);
        assert_eq!(verdict(nic(), Check::VlanOffload, |bench| bench.device.offloads = Err("no".into())), Unknown);
    }
}
