//! What stands in the way of serving: each is said once, with its cause and what to do about it.

use std::process::{Command, Output};

use crate::world::{HANDFAST, SERVED, World, run, text};

/// Ends with `status` and says so in one line on standard error that contains all of `words`; standard output stays empty.
fn refuses(output: &Output, status: i32, words: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert_eq!(text(&output.stdout), "");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    let told = message.lines().filter(|line| !line.starts_with("handfast: memory: ")).count();
    assert!(told <= 2, "said more than once: {message}");
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn an_interface_that_is_not_there_is_named_beside_those_that_are() {
    let Some(world) = World::up("an_interface_that_is_not_there_is_named_beside_those_that_are") else { return };
    let output = world.at_server(HANDFAST, &["serve", "-i", "eth9", "--listen", "80=http"]).output().unwrap();
    refuses(&output, 1, &["eth9", "does not exist", "there are: ", SERVED]);
    assert!(!std::path::Path::new("/run/handfast/eth9.sock").exists());
}

#[test]
fn without_privilege_the_missing_capabilities_are_named() {
    let Some(world) = World::up("without_privilege_the_missing_capabilities_are_named") else { return };
    // A user may not be able to reach the folder of the build.
    let program = world.path("handfast");
    std::fs::copy(HANDFAST, &program).unwrap();
    let nobody =
        ["--reuid=65534", "--regid=65534", "--clear-groups", &program, "serve", "-i", SERVED, "--listen", "80=http"];
    let output = world.at_server("setpriv", &nobody).output().unwrap();
    refuses(&output, 1, &["CAP_BPF", "CAP_NET_ADMIN", "run as root"]);
}

#[test]
fn queues_and_cores_that_are_not_there_are_refused() {
    let Some(world) = World::up("queues_and_cores_that_are_not_there_are_refused") else { return };
    let output = world.serve_to_the_end("--listen 80=http --queues 1");
    refuses(&output, 1, &["queues 1", "hf-server has 1 receive queues", "or none for all"]);
    let output = world.serve_to_the_end("--listen 80=http --cores 4000");
    refuses(&output, 1, &["cores 4000", "may not run there"]);
}

/// An XDP program that passes everything, in an object file that iproute2 attaches.
fn pass_program(world: &World) -> String {
    let source = "__attribute__((section(\"xdp\"), used)) int pass(void *ctx) { return 2; }\n\
                  char terms[] __attribute__((section(\"license\"), used)) = \"MIT\";\n";
    let (source, object) = (world.file("pass.c", source.as_bytes()), world.path("pass.o"));
    run(Command::new("clang").args(["-O2", "-target", "bpf", "-c", &source, "-o", &object]));
    object
}

#[test]
fn an_interface_with_another_program_is_left_alone() {
    let Some(world) = World::up("an_interface_with_another_program_is_left_alone") else { return };
    let object = pass_program(&world);
    for (mode, name) in [("xdpdrv", "native"), ("xdpgeneric", "generic")] {
        let attach = ["link", "set", "dev", SERVED, mode, "obj", &object, "sec", "xdp"];
        run(&mut world.at_server("ip", &attach));
        let mut remedy = String::new();
        for wanted in ["native", "generic"] {
            let output = world.serve_to_the_end(&format!("--listen 80=http --xdp-mode {wanted}"));
            refuses(&output, 1, &[SERVED, "has an XDP program attached already", name, "id "]);
            remedy = text(&output.stderr).lines().last().unwrap().rsplit_once(", or ").unwrap().1.to_owned();
        }
        assert!(world.has_xdp(), "the other program was taken off");
        // The command that the message recommends does what it says.
        let words: Vec<&str> = remedy.split_whitespace().collect();
        run(&mut world.at_server(words[0], &words[1..]));
        assert!(!world.has_xdp(), "{remedy}");
    }
    // Once it is gone, serving works.
    world.serve("--listen 80=http").end();
}

#[test]
fn a_second_server_is_refused_and_the_first_serves_on() {
    let Some(world) = World::up("a_second_server_is_refused_and_the_first_serves_on") else { return };
    let serve = world.serve("--listen 80=http");
    // The same interface under another control socket: the program is in the way.
    let other = world.path("other.sock");
    let args = ["serve", "-i", SERVED, "--listen", "81=http", "--control", &other];
    let output = world.at_server(HANDFAST, &args).output().unwrap();
    refuses(&output, 1, &[SERVED, "has an XDP program attached already (native, id ", "bpftool link detach id "]);
    assert!(!std::path::Path::new(&other).exists());
    // Another interface under the same control socket.
    run(&mut world.at_server("ip", &["link", "add", "hf-other", "type", "veth", "peer", "name", "hf-peer"]));
    run(&mut world.at_server("ip", &["link", "set", "hf-other", "up"]));
    run(&mut world.at_server("ip", &["link", "set", "hf-peer", "up"]));
    let args = ["serve", "-i", "hf-other", "--listen", "81=http", "--control", &world.path("control.sock")];
    let output = world.at_server(HANDFAST, &args).output().unwrap();
    let pid = format!("process {} serves there already", serve.process.0.id());
    refuses(&output, 1, &["control.sock", &pid, "--control"]);
    let rows = run(&mut world.at_server("ip", &["-details", "link", "show", "hf-other"]));
    assert!(!rows.contains("xdp"), "the refused server left its program: {rows}");
    run(world.at_client("curl", &["--silent", "--fail", "--max-time", "5"]).arg("http://198.18.0.1/"));
    serve.end();
}

#[test]
fn every_wrong_listener_is_listed_at_once() {
    let Some(world) = World::up("every_wrong_listener_is_listed_at_once") else { return };
    let file = world.path("missing.html");
    let output =
        world.serve_to_the_end(&format!("--listen 80=ftp --listen 70000=http --listen http --listen 90=http:{file}"));
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for word in ["80=ftp", "70000=http", "--listen http", "missing.html", "one of"] {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
    assert!(!world.has_xdp());
}

#[test]
fn a_question_without_a_server_says_where_it_looked() {
    let Some(world) = World::up("a_question_without_a_server_says_where_it_looked") else { return };
    let control = world.path("nobody.sock");
    for command in ["stats", "flows", "reload", "drain"] {
        let output = Command::new(HANDFAST).args([command, "--control", &control]).output().unwrap();
        refuses(&output, 1, &[&control]);
    }
}
