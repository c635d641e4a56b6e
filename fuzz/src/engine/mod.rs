//! An engine among arbitrary peers, users and waits, as the packet scripts have it (tests/scripts), but without a script:
//! whatever happens, the invariants of [`world::World`] hold after every step, and once the peers fall silent every
//! connection comes to its end.
//!
//! Not here: what the RFCs want said to which segment. The packet scripts know that; here nothing is too absurd to happen.

mod peer;
pub mod step;
mod world;

use arbitrary::Unstructured;
use step::{Head, Step};
use world::World;

/// Steps that are taken at most: long inputs find little that short ones do not.
const MAX_STEPS: usize = 256;

/// Checks the scenario that the bytes describe.
pub fn check(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(head) = input.arbitrary::<Head>() else { return };
    let mut world = World::new(head);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        let Ok(step) = input.arbitrary::<Step>() else { break };
        world.take(step);
    }
    world.commit();
    world.silence();
}
