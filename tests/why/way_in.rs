//! What goes wrong before a segment meets its connection.

use handfast::port::xsk::XskConfig;

use crate::wire::{ACK, Checksum, Hand, RST, SYN};
use crate::world::{V4, World, run, server};
use crate::{named_first, segment, send, shows};

#[test]
fn frames_that_are_not_taken_are_named_by_why_they_are_not() {
    let Some(world) = World::up("frames_that_are_not_taken_are_named_by_why_they_are_not") else { return };
    shows(&world, "", "not_listened_to", |_| send(&world, 20, SYN, |segment| segment.dst.set_port(81)));
    shows(&world, "", "wrong_mac_address", |_| send(&world, 20, SYN, |segment| segment.dst_mac[5] = 9));
    shows(&world, "", "too_many_vlan_tags", |_| {
        send(&world, 20, SYN, |segment| segment.tags = vec![(0x88a8, 3), (0x8100, 2), (0x8100, 1)]);
    });
    shows(&world, "", "fragments", |_| send(&world, 20, SYN, |segment| segment.fragment = 0x2000));
    shows(&world, "", "malformed_frames", |_| send(&world, 20, SYN, |segment| segment.data_offset = 4));
}

#[test]
fn checksums_that_do_not_sum_up_are_told_from_partial_ones_that_are_refused() {
    let Some(world) = World::up("checksums_that_do_not_sum_up_are_told_from_partial_ones_that_are_refused") else {
        return;
    };
    shows(&world, "--partial-checksums refuse", "partial_checksums_refused", |_| {
        send(&world, 20, SYN, |segment| segment.checksum = Checksum::Partial);
    });
    shows(&world, "--partial-checksums accept", "corrupted_segments", |_| {
        send(&world, 20, SYN, |segment| segment.checksum = Checksum::Wrong);
    });
}

#[test]
fn a_queue_without_a_worker_and_one_with_too_much_work_are_named() {
    let Some(world) = World::up_with("a_queue_without_a_worker_and_one_with_too_much_work_are_named", |config| {
        config.queues = 2;
    }) else {
        return;
    };
    shows(&world, "--queues 0", "queue_without_socket", |_| {
        for _ in 0..40 {
            drop(world.connect(server(V4, 80)));
        }
    });
    // An AF_XDP socket on one queue sends to the peer's queue of the same number. A RST without a connection is ignored.
    shows(&world, "", "queue_imbalance", |_| send(&world, 2_000, RST, |_| {}));
}

#[test]
fn frames_longer_than_packet_memory_was_made_for_are_named() {
    let Some(world) = World::up("frames_longer_than_packet_memory_was_made_for_are_named") else { return };
    let serve = world.serve("--listen 80=discard");
    for (end, interface) in [(true, "hf-server"), (false, "hf-client")] {
        let args = ["link", "set", "dev", interface, "mtu", "3400"];
        run(&mut if end { world.at_server("ip", &args) } else { world.at_client("ip", &args) });
    }
    let long = |number| {
        let mut segment = segment(number, ACK);
        segment.payload = vec![7; 3_000];
        segment.bytes()
    };
    let config = XskConfig::new("hf-client", 0).for_mtu(3_400).unwrap();
    Hand::with(&world, config).send_all(&(0..20).map(long).collect::<Vec<_>>());
    named_first(&serve, "frames_too_long");
    serve.end();
}
