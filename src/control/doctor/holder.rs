//! Who holds an XDP program: the processes that have a descriptor of it or of its link, as /proc shows them.
//!
//! Without root only one's own processes show. A program that was attached over netlink needs no holder.

use std::fmt;
use std::fs;
use std::path::Path;

/// A process that holds a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

/// How much of a command line is shown, in characters.
const SHOWN: usize = 120;

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// The processes that hold the program with this id.
pub fn holders(program: u32) -> Vec<Holder> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = processes.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        holds(&entry.path(), program).then(|| Holder { pid, command: command(&entry.path()) })
    });
    found.collect()
}

/// True if one of the process's descriptors is of the program.
fn holds(process: &Path, program: u32) -> bool {
    let descriptors = fs::read_dir(process.join("fdinfo")).into_iter().flatten().flatten();
    descriptors.into_iter().any(|entry| fs::read_to_string(entry.path()).is_ok_and(|info| names(&info, program)))
}

/// True if what /proc shows of a descriptor is about that program.
fn names(info: &str, program: u32) -> bool {
    info.lines().filter_map(|line| line.strip_prefix("prog_id:")).any(|id| id.trim().parse() == Ok(program))
}

fn command(process: &Path) -> String {
    let bytes = fs::read(process.join("cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
    match line.trim() {
        "" => "it does not say what it is".to_owned(),
        line => line.chars().take(SHOWN).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_of_a_program_or_its_link_is_told_from_others() {
        let link = "pos:\t0\nlink_type:\txdp\nlink_id:\t89\nprog_id:\t102\nifindex:\t2\n";
        assert!(names(link, 102));
        assert!(!names(link, 89) && !names(link, 10) && !names("pos:\t102\n", 102));
    }

    #[test]
    fn nobody_holds_a_program_that_there_is_not() {
        assert_eq!(holders(u32::MAX), []);
    }

    #[test]
    fn a_command_line_is_shown_as_it_was_typed() {
        assert!(!command(Path::new("/proc/self")).contains('\0'));
        assert_eq!(command(Path::new("/nonexistent")), "it does not say what it is");
    }
}
