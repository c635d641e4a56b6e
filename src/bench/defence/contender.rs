//! Who is compared under a flood, as data: each contender's server as a command line, the kernel's settings, and who keeps
//! the half-open connections.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::bench::compare::contender::{PORT, SERVER_ADDRESS};
use crate::control::values::XdpMode;

/// How often every contender sends its SYN-ACK again: after 1 s, and 2 s later the connection is given up.
pub(super) const SYN_ACK_RETRIES: u32 = 1;

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defender {
    /// The kernel's listener; cookies once its queue is full
    Kernel,
    /// The kernel's listener; cookies for every SYN
    KernelCookies,
    /// handfast serve, which keeps every half-open connection
    Tables,
    /// handfast serve as it is by default: cookies under pressure
    Auto,
    /// handfast serve; cookies for every SYN, in the workers
    Cookies,
    /// handfast serve; cookies for every SYN, in the steering program
    Xdp,
}

/// Who keeps half-open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// The kernel of the server's namespace.
    Kernel,
    /// A running handfast.
    Handfast,
}

/// What a contender is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definition {
    /// Its name in results.
    pub name: &'static str,
    /// What it is, in words.
    pub about: &'static str,
    /// Settings of the server's namespace below /proc/sys/net; the next contender has its own.
    pub settings: &'static [(&'static str, &'static str)],
    /// Who keeps its half-open connections.
    pub keeper: Keeper,
    /// What `serve` is told beside what all are told; nothing for the kernel's listener.
    pub serve: &'static str,
    /// Where its XDP program runs, if not where the command line says.
    pub mode: Option<XdpMode>,
}

const KERNEL: Definition = Definition {
    name: "kernel",
    about: "the kernel's listener with net.ipv4.tcp_syncookies = 1: cookies once its queue of half-open connections is full",
    settings: &[("ipv4/tcp_syncookies", "1"), ("ipv4/tcp_synack_retries", "1")],
    keeper: Keeper::Kernel,
    serve: "",
    mode: None,
};

const KERNEL_COOKIES: Definition = Definition {
    name: "kernel cookies",
    about: "the kernel's listener with net.ipv4.tcp_syncookies = 2: a cookie for every SYN",
    settings: &[("ipv4/tcp_syncookies", "2"), ("ipv4/tcp_synack_retries", "1")],
    ..KERNEL
};

const TABLES: Definition = Definition {
    name: "handfast tables",
    about: "handfast serve --syn-cookies never --syn-xdp never: a half-open connection for each SYN, up to --half-open-limit",
    settings: &[],
    keeper: Keeper::Handfast,
    serve: "--syn-cookies never --syn-xdp never",
    mode: None,
};

const AUTO: Definition = Definition {
    name: "handfast auto",
    about: "handfast serve as it is by default: cookies under pressure, from the workers or the steering program",
    serve: "--syn-cookies auto --syn-xdp auto",
    ..TABLES
};

const COOKIES: Definition = Definition {
    name: "handfast cookies",
    about: "handfast serve --syn-cookies always --syn-xdp never: a cookie for every SYN, from the worker",
    serve: "--syn-cookies always --syn-xdp never",
    ..TABLES
};

const XDP: Definition = Definition {
    name: "handfast XDP",
    about: "handfast serve --syn-cookies always --syn-xdp always: a cookie for every SYN, from the steering program",
    serve: "--syn-cookies always --syn-xdp always",
    ..TABLES
};

impl Defender {
    /// All of them, in the order in which they have their turns.
    pub const ALL: [Defender; 6] =
        [Defender::Kernel, Defender::KernelCookies, Defender::Tables, Defender::Auto, Defender::Cookies, Defender::Xdp];

    /// Their names on the command line.
    pub(super) const NAMES: [&str; 6] = ["kernel", "kernel-cookies", "tables", "auto", "cookies", "xdp"];

    /// What it is made of.
    pub(super) fn definition(self) -> Definition {
        match self {
            Defender::Kernel => KERNEL,
            Defender::KernelCookies => KERNEL_COOKIES,
            Defender::Tables => TABLES,
            Defender::Auto => AUTO,
            Defender::Cookies => COOKIES,
            Defender::Xdp => XDP,
        }
    }
}

impl Definition {
    /// The arguments of its server. `control` is a path for a control socket, `seconds` when it ends at the latest.
    pub fn server(&self, core: u32, mode: XdpMode, control: &str, seconds: u64) -> String {
        match self.keeper {
            Keeper::Kernel => {
                format!("lab accept --listen {SERVER_ADDRESS}:{PORT} --cores {core} --duration {seconds}s --json")
            }
            Keeper::Handfast => {
                let mode = self.mode.unwrap_or(mode);
                let Self { serve, .. } = self;
                let line = format!(
                    "serve -i hf-server --listen {PORT}=discard --cores {core} --xdp-mode {mode} --control {control} \
                     --syn-retries {SYN_ACK_RETRIES} --duration {seconds}s --json {serve}"
                );
                line.trim_end().to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_has_a_server_on_the_core_that_it_is_told() {
        for defender in Defender::ALL {
            let line = defender.definition().server(3, XdpMode::Generic, "/tmp/x", 9);
            assert!(line.contains("--cores 3") && line.contains("--duration 9s --json"), "{line}");
        }
        let names: std::collections::HashSet<_> = Defender::ALL.map(|defender| defender.definition().name).into();
        assert_eq!(names.len(), Defender::ALL.len());
    }

    #[test]
    fn all_give_a_half_open_connection_up_after_the_same_time() {
        let retries = SYN_ACK_RETRIES.to_string();
        for definition in Defender::ALL.map(Defender::definition) {
            let kernels = definition.settings.iter().find(|(name, _)| *name == "ipv4/tcp_synack_retries");
            match definition.keeper {
                Keeper::Kernel => assert_eq!(kernels.map(|(_, value)| *value), Some(&retries[..])),
                Keeper::Handfast => {
                    let line = definition.server(0, XdpMode::Auto, "x", 1);
                    assert!(line.contains(&format!("--syn-retries {retries} ")), "{line}");
                }
            }
        }
    }
}
