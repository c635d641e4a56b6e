//! Who is compared: each contender's server and generator as command lines, and how many connections its server counted.

use clap::ValueEnum;
use serde_json::Value;

/// The port that every contender listens on.
pub(in crate::bench) const PORT: u16 = 7000;
/// The server's address in the lab.
pub(in crate::bench) const SERVER_ADDRESS: &str = "198.18.0.1";

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Contender {
    /// The kernel's listener: accept, read, close
    Kernel,
    /// handfast serve, discard: the client closes first
    Discard,
    /// handfast serve, close: the server closes first
    Close,
    /// A responder without a TCP, on the same port code: what AF_XDP can do here
    Ceiling,
}

impl Contender {
    /// All of them, in the order of a round.
    pub const ALL: [Contender; 4] = [Contender::Kernel, Contender::Discard, Contender::Close, Contender::Ceiling];

    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Kernel => "kernel",
            Contender::Discard => "handfast discard",
            Contender::Close => "handfast close",
            Contender::Ceiling => "ceiling",
        }
    }

    /// What it is, in words.
    pub fn about(self) -> &'static str {
        match self {
            Contender::Kernel => "the kernel's listener: accept, read until the end, close; one thread",
            Contender::Discard => "handfast serve with the service discard: the client closes first",
            Contender::Close => "handfast serve with the service close: the server closes first",
            Contender::Ceiling => "AF_XDP without a TCP: SYN and FIN are turned round statelessly",
        }
    }

    /// True if its server is handfast's engine.
    pub fn is_ours(self) -> bool {
        matches!(self, Contender::Discard | Contender::Close)
    }

    /// The arguments of its server on `cores`, one for each queue. `control` is a path for a control socket, `seconds` when it ends at the latest: if the
    /// comparison itself is killed, its servers go away by themselves.
    pub fn server(self, cores: &str, xdp_mode: &str, control: &str, seconds: u64) -> String {
        let serve = |service: &str| {
            format!(
                "serve -i hf-server --listen {PORT}={service} --cores {cores} --xdp-mode {xdp_mode} --control {control} --duration {seconds}s --json"
            )
        };
        match self {
            Contender::Kernel => {
                format!("lab accept --listen {SERVER_ADDRESS}:{PORT} --cores {cores} --duration {seconds}s --json")
            }
            Contender::Discard => serve("discard"),
            // Whoever closes first keeps each connection for its TIME-WAIT: a second of it, and room for that.
            Contender::Close => serve("close") + " --time-wait 1s --flows 1M",
            Contender::Ceiling => format!(
                "lab reflect -i hf-server --port {PORT} --cores {cores} --mode tcp --xdp-mode {xdp_mode} --duration {seconds}s --json"
            ),
        }
    }

    /// Who closes first, as `blast --close` has it.
    pub fn closed_by(self) -> &'static str {
        match self {
            Contender::Close => "server",
            Contender::Kernel | Contender::Discard | Contender::Ceiling => "client",
        }
    }

    /// How many connections its server counted, from its closing summary: accepted, established, or FINs answered.
    pub fn counted(self, summary: &Value) -> Option<u64> {
        let pointer = match self {
            Contender::Kernel => "/accepted",
            Contender::Discard | Contender::Close => "/total/engine/established",
            Contender::Ceiling => "/fins",
        };
        summary.pointer(pointer)?.as_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_contender_has_a_name_and_a_way_to_count() {
        let summaries = [
            json!({"accepted": 5}),
            json!({"total": {"engine": {"established": 5}}}),
            json!({"total": {"engine": {"established": 5}}}),
            json!({"fins": 5}),
        ];
        for (contender, summary) in Contender::ALL.into_iter().zip(summaries) {
            assert_eq!(contender.counted(&summary), Some(5), "{}", contender.name());
            assert_eq!(contender.counted(&json!({})), None);
            assert!(contender.server("3", "native", "/tmp/x", 9).contains("--cores 3"), "{}", contender.name());
        }
    }
}
