//! Running iproute2 and ethtool. They are the well-kept interface to namespaces, veth pairs and offloads, and a person
//! can repeat by hand what an error names; that is why there is no netlink library here.

use std::io;
use std::process::{Command, Stdio};

use thiserror::Error;

/// Where Debian and Ubuntu keep `ip` and `ethtool`; the PATH of an ordinary user often lacks these folders.
const SYSTEM_FOLDERS: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// A command that could not be started, or that failed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The program could not be started.
    #[error(
        "cannot run `{command}`: {source}; the program is in the Debian package {package}, and scripts/setup installs it"
    )]
    Start {
        /// The command line.
        command: String,
        /// The Debian package that has the program.
        package: &'static str,
        /// Why it did not start.
        source: io::Error,
    },
    /// The program ran and failed.
    #[error("`{command}` failed: {stderr}; {remedy}")]
    Failed {
        /// The command line.
        command: String,
        /// What it wrote to standard error.
        stderr: String,
        /// What to do about it.
        remedy: &'static str,
    },
}

/// Runs `program` and returns what it wrote to standard output.
///
/// # Errors
///
/// If it cannot be started or ends with a status other than 0; the error holds the command line and its stderr.
pub fn run(program: &'static str, arguments: &[&str]) -> Result<String, CommandError> {
    let command = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", search_path())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| CommandError::Start { command: command.clone(), package: package_of(program), source })?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        let stderr = if stderr.is_empty() { format!("it said nothing ({})", output.status) } else { stderr };
        let remedy = remedy_for(&stderr);
        return Err(CommandError::Failed { command, stderr, remedy });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Our own PATH, and the folders where `ip` and `ethtool` are.
pub(super) fn search_path() -> String {
    match std::env::var("PATH") {
        Ok(path) => format!("{path}:{SYSTEM_FOLDERS}"),
        Err(_) => SYSTEM_FOLDERS.to_owned(),
    }
}

/// The Debian package that has `program`.
fn package_of(program: &str) -> &'static str {
    if program == "ethtool" { "ethtool" } else { "iproute2" }
}

/// What to do about the message of a failed command.
fn remedy_for(stderr: &str) -> &'static str {
    const KNOWN: &[(&str, &str)] = &[
        ("not permitted", "run it as root (namespaces need CAP_SYS_ADMIN, interfaces CAP_NET_ADMIN)"),
        ("Permission denied", "run it as root (namespaces need CAP_SYS_ADMIN, interfaces CAP_NET_ADMIN)"),
        ("resource busy", "something still uses the namespace: end what `ip netns pids` lists, then try again"),
        ("Unknown device type", "this kernel has no veth: load the module with `modprobe veth`"),
        ("Cannot open network namespace", "the lab is not up: run `handfast lab up`"),
    ];
    let found = KNOWN.iter().find(|(message, _)| stderr.contains(message));
    found.map_or("`handfast lab down`, then `handfast lab up`, makes the lab anew", |(_, remedy)| remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_named_with_its_stderr_and_a_remedy() {
        let error = run("ip", &["-n", "handfast-no-such-namespace", "link"]).unwrap_err().to_string();
        assert!(error.contains("`ip -n handfast-no-such-namespace link` failed"), "{error}");
        assert!(error.contains("No such file or directory"), "{error}");
        assert!(error.contains("run `handfast lab up`"), "{error}");
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = run("handfast-no-such-program", &[]).unwrap_err().to_string();
        assert!(error.contains("cannot run `handfast-no-such-program"), "{error}");
        assert!(error.contains("scripts/setup"), "{error}");
    }

    #[test]
    fn a_refusal_for_lack_of_privilege_asks_for_root() {
        assert!(remedy_for("mkdir /var/run/netns failed: Permission denied").contains("as root"));
        assert!(remedy_for("RTNETLINK answers: Operation not permitted").contains("as root"));
        assert!(remedy_for("Device or resource busy").contains("ip netns pids"));
        assert!(remedy_for("never heard of").contains("lab down"));
    }
}
