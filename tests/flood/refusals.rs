//! Where it must not flood, and what it says to mistakes.

use std::process::Command;

use crate::common::root_or_skip;
use crate::flood;
use crate::world::{HANDFAST, World, run, text};

#[test]
fn a_flood_out_of_the_lab_is_refused_with_what_to_do() {
    if !root_or_skip("a_flood_out_of_the_lab_is_refused_with_what_to_do") {
        return;
    }
    // Whatever the interface is called: here is no lab.
    for interface in ["lo", "hf-client"] {
        let mut command = Command::new(HANDFAST);
        command.args(["flood", "-i", interface, "--target", "198.18.0.1:7000", "--duration", "100ms"]);
        let output = command.output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{stderr}");
        for part in ["is in no network namespace of a lab", "handfast lab up", "--really-target 198.18.0.1:7000"] {
            assert!(stderr.contains(part), "{stderr}");
        }
    }
}

#[test]
fn only_the_veth_of_a_lab_is_taken_for_one() {
    let Some(world) = World::up("only_the_veth_of_a_lab_is_taken_for_one") else { return };
    let refused = |interface: &str| {
        let args = ["flood", "-i", interface, "--target", "198.18.0.1:7000", "--duration", "100ms"];
        let output = world.at_client(HANDFAST, &args).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        stderr
    };
    let ip = |args: &str| run(world.at_client("ip", &[]).args(args.split_whitespace()));
    assert!(refused("lo").contains("is not hf-client, the interface that the lab"));
    ip("link add other type veth peer name another");
    assert!(refused("other").contains("is not hf-client"));
    // The name alone does not make it.
    ip("link set hf-client down");
    ip("link set hf-client name was-client");
    ip("link set other name hf-client");
    assert!(refused("hf-client").contains("is not the veth that a lab has"));
    ip("link set hf-client address 02:68:66:00:00:02");
    assert!(refused("hf-client").contains("has its other end outside of"));
}

#[test]
fn a_target_that_is_named_twice_may_be_flooded_elsewhere() {
    let Some(world) = World::up("a_target_that_is_named_twice_may_be_flooded_elsewhere") else { return };
    let ip = |args: &str| run(world.at_client("ip", &[]).args(args.split_whitespace()));
    ip("link add other type veth peer name another");
    ip("link set other up");
    ip("link set another up");
    let line =
        "--target 10.9.0.1:80 --source 10.8.0.0/16 --dst-mac 02:00:00:00:00:09 --rate 100 --duration 100ms --json";
    let flood = |more: &str| {
        let mut command = world.at_client(HANDFAST, &["flood", "-i", "other"]);
        command.args(line.split_whitespace()).args(more.split_whitespace()).output().unwrap()
    };
    assert_eq!(flood("").status.code(), Some(2));
    let other = flood("--really-target 10.9.0.2:80");
    assert!(other.status.code() == Some(2) && text(&other.stderr).contains("is not the target"), "{other:?}");
    let output = flood("--really-target 10.9.0.1:80");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\"frames_sent\":10,"), "{}", text(&output.stdout));
}

#[test]
fn mistakes_are_listed_together() {
    let Some(world) = World::up("mistakes_are_listed_together") else { return };
    let output = flood(&world, "--target 198.18.0.1:0 --kind smurf --source 2001:2::1/64 --ports 9-1 --rate none");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("the options of flood: 5 problems"), "{stderr}");
    for part in [
        "--target 198.18.0.1:0:",
        "--kind smurf: must be one of syn,",
        "--source 2001:2::1/64:",
        "--ports 9-1:",
        "--rate none:",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
    let family = flood(&world, "--target 198.18.0.1:80 --source 2001:2:0:1::/64");
    assert!(family.status.code() == Some(2) && text(&family.stderr).contains("another family"), "{family:?}");
    let nowhere = flood(&world, "--target 203.0.113.1:80 --duration 100ms");
    assert!(nowhere.status.code() == Some(1) && text(&nowhere.stderr).contains("no route to it"), "{nowhere:?}");
}
