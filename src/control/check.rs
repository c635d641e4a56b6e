//! The closed list of what is looked at before serving: the name of each check, as reports have it, and why it matters.
//!
//! What was found, and what that means, is not here: preflight says what keeps `serve` from starting, doctor judges the
//! rest.

use std::fmt;

macro_rules! checks {
    ($( $variant:ident, $name:literal, $why:literal; )+) => {
        /// One thing that is looked at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Check { $( #[doc = $why] $variant ),+ }

        impl Check {
            /// Every check, in the order of reports.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];

            /// Its name in reports; never changes.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name ),+ }
            }

            /// Why it matters.
            pub fn why(self) -> &'static str {
                match self { $( Self::$variant => $why ),+ }
            }
        }
    };
}

checks! {
    Kernel, "kernel", "bpf links for XDP come with 5.9, and some kernels panic when AF_XDP sends.";
    Privileges, "privileges", "Loading, attaching and AF_XDP sockets each need a capability.";
    AfXdp, "af-xdp", "Frames reach the workers through AF_XDP sockets.";
    Program, "program", "The kernel's verifier has to accept the steering program; it is loaded here and attached nowhere.";
    BpfJit, "bpf-jit", "Without the compiler every frame runs through the interpreter of the kernel.";
    Btf, "btf", "Tools that trace the kernel need its types; handfast itself does not.";
    Memory, "memory", "All memory is taken at the start.";
    MemoryLock, "memory-lock", "Packet memory is locked, which CAP_IPC_LOCK or a sufficient RLIMIT_MEMLOCK allows.";
    HugePages, "huge-pages", "serve takes ordinary pages: reserved huge pages are memory that it does not get.";
    Governor, "governor", "A core that clocks down between bursts adds latency and loses frames when the next burst comes.";
    Interfaces, "interfaces", "Without an interface that can be served there is nothing to serve.";
    Interface, "interface", "Interfaces are those of the network namespace that the command runs in.";
    State, "state", "An interface that is down receives nothing, and takes no AF_XDP socket.";
    Carrier, "carrier", "Without a carrier nothing arrives.";
    Address, "address", "Frames are Ethernet's, and only those to the address of the interface are taken.";
    Mtu, "mtu", "A packet has to fit a frame of packet memory.";
    Driver, "driver", "Native mode runs before the kernel makes a buffer, zero-copy saves the copy of each frame.";
    Native, "native", "Where native mode is refused, serve falls back to generic mode, which is slower.";
    Queues, "queues", "Every receive queue needs a socket: what arrives on a queue without one meets the kernel, which answers RST.";
    Cores, "cores", "Each queue has one worker, and workers that share a core wait for one another.";
    Rss, "rss", "The hash decides which worker gets a connection: without the ports all between two hosts meet in one queue.";
    IrqAffinity, "irq-affinity", "Interrupts that all go to one core make that core the bottleneck of all queues.";
    Checksums, "checksums", "A sender on the same machine may leave TCP checksums partial, for hardware that is not there.";
    Segmentation, "segmentation", "Segments that a sender on the same machine leaves unsplit are longer than a frame, and dropped (rx_dropped).";
    Merging, "merging", "Segments that GRO or LRO merged on the way in are longer than a frame, and dropped (rx_dropped).";
    VlanOffload, "vlan-offload", "A tag that the interface takes out is invisible to the program, and the answer goes out untagged.";
    SynAnswers, "syn-answers", "What the program answers in a flood (syn-xdp) leaves a veth in native mode, and waits in its other end unless that polls.";
    XdpProgram, "xdp-program", "An interface has one XDP program.";
    Sockets, "sockets", "A queue has one AF_XDP socket; a second one is refused with EBUSY.";
    ControlSocket, "control-socket", "Two servers cannot answer at one path.";
    Preflight, "preflight", "What else keeps serve from starting.";
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_for_programs_and_each_is_there_once() {
        let mut names: Vec<&str> = Check::ALL.iter().map(|check| check.name()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')), "{names:?}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Check::ALL.len());
    }

    #[test]
    fn every_reason_is_a_sentence() {
        assert!(Check::ALL.iter().all(|check| check.why().ends_with('.') && check.why().len() > 20));
    }
}
