//! The program's frames are those that Rust makes: of every kind, over both families, with and without a VLAN tag, a Linux
//! host's options, and few ports.

use handfast::flood::frames::write;
use handfast::flood::kind::Kind;
use handfast::flood::plan::FloodPlan;

use crate::program::{REDIRECT, run};
use crate::{ENDS, at_client, load, plan};

/// Frames of each plan.
const FRAMES: u64 = 40;

fn agree(plan: &FloodPlan, key: u64) {
    let flooder = load(plan, key);
    let config = flooder.config().clone();
    for number in 0..FRAMES {
        // A page that is used again holds what its last user left in it.
        let blank = vec![0xaa; config.frame_bytes as usize];
        let (action, made) = run(&flooder.program(), &blank, 0);
        let mut expected = vec![0x55; 128];
        let len = write(&config, number, &mut expected);
        assert_eq!((action, &made[..]), (REDIRECT, &expected[..len]), "{} number {number} of {plan:?}", plan.kind);
    }
    assert_eq!(flooder.tally().unwrap().sent, FRAMES);
}

#[test]
fn the_program_and_rust_make_the_same_frames() {
    at_client("the_program_and_rust_make_the_same_frames", || {
        for (n, kind) in (0..).zip(Kind::ALL) {
            for ends in ENDS {
                let bare = plan(kind, ends);
                agree(&bare, n);
                agree(&FloodPlan { vlan: Some(4094), ports: 7..=9, options: kind.has_options(), ..bare }, u64::MAX - n);
            }
        }
        // One address and one port: nothing but numbers differ.
        agree(&FloodPlan { ports: 65_535..=65_535, ..plan(Kind::Syn, ("198.18.0.1:1", "198.19.255.255")) }, 1 << 40);
    });
}
