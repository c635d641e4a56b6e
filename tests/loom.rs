//! What threads share and is our own, under loom: every order of the steps of two threads that the memory model allows, up
//! to a bound on preemptions. Built with RUSTFLAGS="--cfg loom" only; scripts/test does so.
//!
//! Of the places where threads meet, [`Published`] and the queue of captured frames are our own. The queues of a mailbox are crossbeam's,
//! tested there, and its stop flag orders nothing.
//!
//! The model can fail: it does without the writer's release fence, with its last store relaxed, with the reader's first
//! load relaxed, without its acquire fence, and without its second look at the version (each tried once by hand).
#![cfg(loom)]

use handfast::stats::publish::Published;
use handfast::worker::capture::{Note, queue};
use loom::sync::Arc;
use loom::thread;

/// Switches from a thread that could go on, at most, in one order of steps.
const PREEMPTIONS: usize = 3;

/// What the writer publishes as its `n`th block.
fn block(n: u64) -> [u64; 2] {
    [n, n + 10]
}

/// Looks once, and insists that what is seen was published as a whole and not before `last`. Returns what is seen, if it was
/// anything.
fn look(published: &Published<2>, last: u64) -> u64 {
    let Some(words) = published.read() else { return last };
    let n = words[0];
    assert!(words == [0, 0] || words == block(n), "a torn block: {words:?}");
    assert!(n >= last, "a reader went back from {last} to {n}");
    n
}

#[test]
fn a_reader_sees_whole_blocks_and_never_goes_back() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(|| {
        let published = Arc::new(Published::new());
        let theirs = Arc::clone(&published);
        let writer = thread::spawn(move || {
            theirs.publish(&block(1));
            theirs.publish(&block(2));
        });
        let last = look(&published, 0);
        look(&published, last);
        writer.join().unwrap();
        assert_eq!(published.read(), Some(block(2)), "what was published before a join is seen after it");
    });
}

#[test]
fn frames_pass_a_capture_queue_whole_and_in_order() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(|| {
        // Two slots for three frames: one is used again.
        let (mut producer, mut consumer) = queue::pair(2, 8);
        let note = |nanos| Note { nanos, ..Note::default() };
        let worker = thread::spawn(move || {
            (1..=3_u64).filter(|n| producer.push(&note(*n), &[u8::try_from(*n).unwrap(); 8])).collect::<Vec<_>>()
        });
        let mut bytes = Vec::new();
        let mut taken = Vec::new();
        let mut take = |taken: &mut Vec<u64>| {
            while let Some(note) = consumer.pop(&mut bytes) {
                assert_eq!(bytes, [u8::try_from(note.nanos).unwrap(); 8], "a torn frame");
                taken.push(note.nanos);
            }
        };
        take(&mut taken);
        let pushed = worker.join().unwrap();
        take(&mut taken);
        assert_eq!(taken, pushed);
    });
}
