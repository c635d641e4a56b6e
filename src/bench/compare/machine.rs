//! What a figure is worth nothing without: the machine, the kernel, the cores, the date.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::control::machine::Facts;

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// The processor, as /proc/cpuinfo names it.
    pub cpu: String,
    /// The cores that this process may run on.
    pub cores: Vec<u32>,
    /// The core of every server.
    pub server_core: u32,
    /// The core of every generator.
    pub generator_core: u32,
}

impl Machine {
    /// Asks the machine: the server has the first core, the generator the last.
    pub fn ask() -> Self {
        let facts = Facts::gather("lo");
        let cores = if facts.cores.is_empty() { vec![0] } else { facts.cores };
        Self {
            kernel: facts.kernel,
            cpu: model(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            server_core: cores[0],
            generator_core: cores[cores.len() - 1],
            cores,
        }
    }

    /// The cores of a server and of a generator that use `queues` queues each: as far apart as there are cores. With fewer cores than
    /// queues at both ends they share some.
    pub fn cores_for(&self, queues: u32) -> (Vec<u32>, Vec<u32>) {
        if queues == 1 {
            return (vec![self.server_core], vec![self.generator_core]);
        }
        let queues = usize::try_from(queues).unwrap_or(usize::MAX);
        let server = self.cores.iter().copied().cycle().take(queues).collect();
        (server, self.cores.iter().rev().copied().cycle().take(queues).collect())
    }
}

/// The model's name; `unknown` where /proc/cpuinfo has none.
fn model(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// The time, in UTC after RFC 3339.
pub(in crate::bench) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_read_or_unknown() {
        assert_eq!(model("processor\t: 0\nmodel name\t: A  B 9\n"), "A  B 9");
        assert_eq!(model(""), "unknown");
    }

    #[test]
    fn ends_have_cores_of_their_own_as_far_as_there_are_some() {
        let machine = |cores: &[u32]| Machine {
            cores: cores.to_vec(),
            server_core: cores[0],
            generator_core: cores[cores.len() - 1],
            ..Machine::default()
        };
        assert_eq!(machine(&[0, 1]).cores_for(1), (vec![0], vec![1]));
        assert_eq!(machine(&[0, 1]).cores_for(2), (vec![0, 1], vec![1, 0]));
        assert_eq!(machine(&[2, 3, 4, 5]).cores_for(2), (vec![2, 3], vec![5, 4]));
        assert_eq!(machine(&[7]).cores_for(2), (vec![7, 7], vec![7, 7]));
    }

    #[test]
    fn this_machine_answers() {
        let machine = Machine::ask();
        assert!(machine.cores.contains(&machine.server_core) && machine.kernel.contains('.'), "{machine:?}");
        assert!(now().ends_with('Z'));
    }
}
