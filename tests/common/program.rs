//! Runs an XDP program by BPF_PROG_RUN over a frame that a test makes.

use libbpf_rs::{ProgramInput, ProgramMut};

/// Actions of a program (linux/bpf.h).
pub const DROP: u32 = 1;
pub const PASS: u32 = 2;
pub const REDIRECT: u32 = 4;

/// Runs the program once over a frame that arrives on an interface, 0 for none; the action, and the frame as the program
/// left it.
pub fn run(program: &ProgramMut<'_>, frame: &[u8], ifindex: u32) -> (u32, Vec<u8>) {
    let mut out = vec![0; 256];
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, u32::try_from(frame.len()).unwrap(), 0, ifindex, 0, 0];
    let mut context: Vec<u8> = context.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
    let input = ProgramInput {
        context_in: Some(&mut context),
        data_in: Some(frame),
        data_out: Some(&mut out),
        repeat: 1,
        ..Default::default()
    };
    let output = program.test_run(input).expect("the program runs");
    (output.return_value, output.data.expect("the frame").to_vec())
}
