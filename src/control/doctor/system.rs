//! What of the machine itself is in order for serving, whatever the interface. Pure.
//!
//! What keeps `serve` from starting is preflight's to say and takes the place of what is said here (finding).

use super::facts::System;
use super::finding::Finding;
use crate::control::check::Check;
use crate::control::machine::Facts;
use crate::control::preflight::{BROKEN_COPY_MODE, Preflight, mib, release};

/// Judges the machine. `preflight` is what serving would take, if it is known.
pub fn judge(facts: &Facts, system: &System, preflight: Option<&Preflight>) -> Vec<Finding> {
    vec![
        kernel(facts),
        Finding::ok(Check::Privileges, "CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON"),
        af_xdp(facts),
        program(system),
        bpf_jit(system),
        btf(system),
        memory(facts, preflight),
        memory_lock(facts),
        huge_pages(system),
        governor(system),
    ]
}

/// The kernel for an interface that is not virtual, or for none in particular.
fn kernel(facts: &Facts) -> Finding {
    let kernel = &facts.kernel;
    match release(kernel) {
        None => Finding::unknown(Check::Kernel, format!("{kernel}: not understood; 5.9 or later is needed")),
        Some(release) if BROKEN_COPY_MODE.contains(&release) => Finding::warning(
            Check::Kernel,
            format!(
                "{kernel}: panics in copy mode into the local stack (CVE-2025-40290); virtual interfaces are refused"
            ),
            "use 6.17.11 or later, or 6.16 or earlier",
        ),
        Some(_) => Finding::ok(Check::Kernel, kernel),
    }
}

fn af_xdp(facts: &Facts) -> Finding {
    // Whoever may not make the socket learns nothing about the kernel.
    if facts.missing_capabilities.contains(&"CAP_NET_RAW") {
        return Finding::unknown(Check::AfXdp, "not tried without CAP_NET_RAW");
    }
    Finding::ok(Check::AfXdp, "a socket can be made")
}

fn program(system: &System) -> Finding {
    match &system.program {
        None => Finding::unknown(Check::Program, "not tried without the capabilities"),
        Some(Ok(())) => Finding::ok(Check::Program, "the kernel takes it"),
        Some(Err(error)) => {
            Finding::problem(Check::Program, error, "read the verifier's log on standard error, and use a newer kernel")
        }
    }
}

fn bpf_jit(system: &System) -> Finding {
    let remedy = "sysctl net.core.bpf_jit_enable=1";
    let debugging = "on, with debugging output (net.core.bpf_jit_enable is 2)";
    // The setting shows in the first network namespace only; what became of the program shows everywhere.
    match (system.compiled, &system.jit) {
        (Some(false), _) => Finding::warning(Check::BpfJit, "the kernel did not compile the steering program", remedy),
        (_, Ok(2)) => Finding::warning(Check::BpfJit, debugging, remedy),
        (Some(true), _) => Finding::ok(Check::BpfJit, "the kernel compiled the steering program"),
        (None, Ok(0)) => Finding::warning(Check::BpfJit, "net.core.bpf_jit_enable is 0", remedy),
        (None, Ok(_)) => Finding::ok(Check::BpfJit, "net.core.bpf_jit_enable is 1"),
        (None, Err(error)) => Finding::unknown(Check::BpfJit, format!("net.core.bpf_jit_enable: {error}")),
    }
}

fn btf(system: &System) -> Finding {
    match system.btf {
        true => Finding::ok(Check::Btf, "/sys/kernel/btf/vmlinux"),
        false => Finding::warning(
            Check::Btf,
            "no /sys/kernel/btf/vmlinux; serve starts without",
            "use a kernel with CONFIG_DEBUG_INFO_BTF to trace it",
        ),
    }
}

fn memory(facts: &Facts, preflight: Option<&Preflight>) -> Finding {
    match (preflight, facts.available_bytes) {
        (_, None) => Finding::unknown(Check::Memory, "the kernel does not say how much is available"),
        (Some(preflight), Some(_)) => Finding::ok(Check::Memory, preflight.memory.to_string()),
        (None, Some(available)) => Finding::ok(Check::Memory, format!("{} available", mib(available))),
    }
}

fn memory_lock(facts: &Facts) -> Finding {
    let found = match (facts.may_lock_memory, facts.memlock_bytes) {
        (true, _) => "not limited (CAP_IPC_LOCK)".to_owned(),
        (false, None) => "not limited (ulimit -l)".to_owned(),
        (false, Some(limit)) => format!("up to {} (ulimit -l)", mib(limit)),
    };
    Finding::ok(Check::MemoryLock, found)
}

fn huge_pages(system: &System) -> Finding {
    match system.huge_bytes {
        None => Finding::unknown(Check::HugePages, "the kernel does not say how many are reserved"),
        Some(0) => Finding::ok(Check::HugePages, "none lie idle"),
        Some(idle) => Finding::warning(
            Check::HugePages,
            format!("{} are reserved and idle", mib(idle)),
            "sysctl vm.nr_hugepages=0, unless another program is to have them",
        ),
    }
}

fn governor(system: &System) -> Finding {
    let slow: Vec<String> = system
        .governors
        .iter()
        .filter(|(_, name)| name != "performance")
        .map(|(core, name)| format!("{name} on core {core}"))
        .collect();
    if system.governors.is_empty() {
        return Finding::skipped(Check::Governor, "the kernel sets no frequencies here (no cpufreq)");
    }
    if slow.is_empty() {
        return Finding::ok(Check::Governor, "performance");
    }
    Finding::warning(Check::Governor, slow.join(", "), "cpupower frequency-set -g performance")
}

#[cfg(test)]
mod tests {
    use super::super::testbed::{facts, system};
    use super::*;
    use crate::observe::checkup::Verdict::{self, Ok as Fine, Skipped, Unknown, Warning};

    /// The finding of one check after a change to a machine that is in order.
    fn found(check: Check, change: impl FnOnce(&mut Facts, &mut System)) -> (Verdict, String) {
        let (mut facts, mut system) = (facts(), system());
        change(&mut facts, &mut system);
        let findings = judge(&facts, &system, None);
        let finding = findings.into_iter().find(|finding| finding.check == check).unwrap();
        let mends = matches!(finding.verdict, Warning | Verdict::Problem);
        assert_eq!(mends, finding.remedy.is_some(), "{finding:?}");
        (finding.verdict, finding.found)
    }

    #[test]
    fn a_machine_in_order_has_nothing_to_mend() {
        for finding in judge(&facts(), &system(), None) {
            assert!(matches!(finding.verdict, Fine | Skipped), "{finding:?}");
        }
    }

    #[test]
    fn kernels_are_judged_by_their_release() {
        let kernel = |release: &str| found(Check::Kernel, |facts, _| facts.kernel = release.into());
        assert_eq!(kernel("6.18.4"), (Fine, "6.18.4".into()));
        assert_eq!(kernel("6.17.3-cloud").0, Warning);
        assert!(kernel("6.17.3").1.contains("CVE-2025-40290"));
        assert_eq!(kernel("mainline").0, Unknown);
    }

    #[test]
    fn what_was_not_tried_for_want_of_privilege_is_unknown() {
        let af_xdp = found(Check::AfXdp, |facts, _| facts.missing_capabilities = vec!["CAP_NET_RAW"]);
        assert_eq!(af_xdp.0, Unknown);
        assert_eq!(found(Check::AfXdp, |facts, _| facts.missing_capabilities = vec!["CAP_BPF"]).0, Fine);
        assert_eq!(found(Check::Program, |_, system| system.program = None).0, Unknown);
        let refused = found(Check::Program, |_, system| system.program = Some(Err("R1 is unbounded".into())));
        assert_eq!(refused, (Verdict::Problem, "R1 is unbounded".into()));
    }

    #[test]
    fn the_compiler_of_bpf_is_off_on_or_talkative() {
        let jit = |compiled, jit: Result<u32, &str>| {
            let jit = jit.map_err(str::to_owned);
            found(Check::BpfJit, |_, system| (system.compiled, system.jit) = (compiled, jit)).0
        };
        assert_eq!([0, 1, 2].map(|value| jit(None, Ok(value))), [Warning, Fine, Warning]);
        assert_eq!(jit(None, Err("no such file")), Unknown);
        assert_eq!(jit(Some(true), Err("no such file")), Fine);
        assert_eq!(jit(Some(true), Ok(2)), Warning);
        assert_eq!(jit(Some(false), Ok(1)), Warning);
        assert_eq!(found(Check::Btf, |_, system| system.btf = false).0, Warning);
    }

    #[test]
    fn memory_is_judged_by_what_is_known() {
        assert_eq!(found(Check::Memory, |facts, _| facts.available_bytes = None).0, Unknown);
        assert_eq!(found(Check::Memory, |_, _| {}), (Fine, "1024.0 MiB available".into()));
        assert!(found(Check::MemoryLock, |_, _| {}).1.contains("CAP_IPC_LOCK"));
        let limited = found(Check::MemoryLock, |facts, _| facts.may_lock_memory = false);
        assert_eq!(limited.1, "up to 8.0 MiB (ulimit -l)");
        let unlimited = |facts: &mut Facts, _: &mut System| {
            (facts.may_lock_memory, facts.memlock_bytes) = (false, None);
        };
        assert_eq!(found(Check::MemoryLock, unlimited).1, "not limited (ulimit -l)");
        assert_eq!(found(Check::HugePages, |_, system| system.huge_bytes = None).0, Unknown);
        let idle = found(Check::HugePages, |_, system| system.huge_bytes = Some(4 << 20));
        assert_eq!(idle, (Warning, "4.0 MiB are reserved and idle".into()));
    }

    #[test]
    fn governors_are_named_with_their_cores() {
        let governors = |names: &[&str]| {
            let each = (0..).zip(names).map(|(core, name)| (core, (*name).to_owned())).collect();
            found(Check::Governor, |_, system| system.governors = each)
        };
        assert_eq!(governors(&[]).0, Skipped);
        assert_eq!(governors(&["performance", "performance"]).0, Fine);
        assert_eq!(governors(&["performance", "powersave"]), (Warning, "powersave on core 1".into()));
    }
}
