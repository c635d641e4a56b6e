//! What cannot work says so, before the run where that can be known, with what to do about it.

use super::*;
use crate::world::V4;

/// Exit status and standard error of a run that must not print a result.
fn refused(world: &World, args: &str) -> (Option<i32>, String) {
    let output = blast(world, args);
    assert_eq!(text(&output.stdout), "", "{args}");
    (output.status.code(), text(&output.stderr))
}

#[test]
fn what_can_be_known_before_is_refused_before() {
    let Some(world) = World::up("what_can_be_known_before_is_refused_before") else { return };
    let cases = [
        ("--target 203.0.113.1:80", 1, "no route to it from hf-client"),
        ("--target 198.18.0.2:80", 1, "is an address of this host"),
        ("--target 198.18.0.77:80", 1, "no answer to ARP for 198.18.0.77 on hf-client"),
        ("--target [2001:2::77]:80", 1, "no answer to neighbour solicitations for 2001:2::77"),
        ("--target 198.18.0.1:80 --source 198.18.0.0/24", 2, "contains the target 198.18.0.1"),
        ("--target 198.18.0.1:80 --source 198.18.0.2", 2, "contains 198.18.0.2, an address of this host"),
        ("--target 198.18.0.1:80 --concurrency 100 --ports 5000-5009", 2, "with ports 5000-5009 make 10"),
        ("--target 198.18.0.1:80 --queues 7", 1, "has 1 receive queues"),
        ("--target 198.18.0.1:80 --rate 0 --duration 0", 2, "2 problems"),
        ("--target nonsense", 2, "must be an address and a port"),
    ];
    for (args, status, message) in cases {
        let (code, stderr) = refused(&world, args);
        assert!(code == Some(status) && stderr.contains(message), "{args}: {code:?} {stderr}");
    }
    let mut command = world.at_client(HANDFAST, &["blast", "-i", "hf-none", "--target", "198.18.0.1:80"]);
    let output = command.output().unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("there are: lo, hf-client"), "{stderr}");
}

#[test]
fn a_target_that_refuses_is_given_up_early_with_the_result_kept() {
    let Some(world) = World::up("a_target_that_refuses_is_given_up_early_with_the_result_kept") else { return };
    let start = std::time::Instant::now();
    let output = blast(&world, &format!("--target {V4}:7009 --duration 30s"));
    let report = report(&output);
    assert!(start.elapsed().as_secs() < 20, "it went on to the end");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report.connections.failed.get("refused"), Some(&report.connections.attempted), "{report}");
    assert!(report.generator.bottleneck.as_ref().unwrap().contains("every connection so far had failed"), "{report}");
    assert!(text(&output.stderr).contains("failed (refused"), "{}", text(&output.stderr));
}

#[test]
fn a_rate_beyond_the_generator_is_said_to_be_so_and_the_result_kept() {
    let Some(world) = World::up("a_rate_beyond_the_generator_is_said_to_be_so_and_the_result_kept") else { return };
    let serve = world.serve("--listen 7000=discard");
    let args = format!("--target {V4}:7000 --source {SOURCE} --rate 20M --duration 500ms");
    let output = blast(&world, &args);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.connections.attempted > 0, "{report}");
    assert!(report.generator.bottleneck.as_ref().is_some_and(|text| text.starts_with("the generator")), "{report}");
    serve.end();
}

#[test]
fn a_second_generator_on_the_interface_is_told_about_the_first() {
    let Some(world) = World::up("a_second_generator_on_the_interface_is_told_about_the_first") else { return };
    let serve = world.serve("--listen 7000=discard");
    let run = start_blast(&world, &format!("--target {V4}:7000 --concurrency 10 --duration 1m"));
    serve.stats_when("connections", |stats| stats.total.states.get("ESTABLISHED") == Some(10));
    let (code, stderr) = refused(&world, &format!("--target {V4}:7000"));
    assert!(code == Some(1) && stderr.contains("XDP program"), "{code:?} {stderr}");
    end_blast(run);
    serve.end();
}
