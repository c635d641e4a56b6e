//! SYN cookies against Linux: clients notice nothing, and the operator may switch them while the server runs.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use handfast::bench::clients::{ClientsArgs, Service};

use crate::control::reload;
use crate::wire::Capture;
use crate::world::{V4, V6, World, run, server};

const CURL: [&str; 5] = ["--silent", "--show-error", "--globoff", "--max-time", "10"];

#[test]
fn with_cookies_always_linux_clients_notice_nothing() {
    let Some(world) = World::up("with_cookies_always_linux_clients_notice_nothing") else { return };
    let body = world.file("body.bin", &[b'x'; 300_000]);
    let secret = world.file("secret", &[7; 32]);
    set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    // Frames for the ACKs of all that may be under way: on a busy machine they come while the worker waits for a core.
    let serve = world.serve(&format!(
        "--listen 80=http:{body} --listen 7000=discard --listen 7001=close --time-wait 500ms --syn-cookies always \
         --cookie-secret {secret} --frames 32768"
    ));
    assert!(serve.log().contains("everybody may read the secret of the SYN cookies"), "{}", serve.log());
    let capture = Capture::start(&world);
    for host in [V4, "[2001:2::1]"] {
        let got = world.path("got.bin");
        run(world.at_client("curl", &CURL).args(["--output", &got, &format!("http://{host}/")]));
        assert!(std::fs::read(&got).unwrap() == vec![b'x'; 300_000]);
    }
    for (address, service, port) in
        [(V4, Service::Discard, 7000), (V6, Service::Discard, 7000), (V4, Service::Close, 7001)]
    {
        let args = ClientsArgs { connections: 200, concurrency: 8, service, ..ClientsArgs::new(server(address, port)) };
        world.drive_all(&args);
    }
    let captured = capture.stop();
    captured.assert_undisturbed();
    // Linux offers everything, and everything is agreed on.
    let offers = "tcp.flags.syn == 1 && tcp.flags.ack == 1";
    let all = "tcp.options.sack_perm && tcp.options.wscale.shift && tcp.options.timestamp.tsval && tcp.options.mss_val";
    assert_eq!(captured.count(offers), 602);
    assert_eq!(captured.count(&format!("{offers} && {all}")), 602);
    let stats = serve.settled();
    let engine = |name| stats.total.engine.get(name).unwrap();
    assert_eq!(["cookies_sent", "cookies_accepted", "passive_opens", "established"].map(engine), [602; 4]);
    assert_eq!(["cookies_refused", "cookies_switched_on", "half_open_timeouts", "resets_sent"].map(engine), [0; 4]);
    serve.end();
}

#[test]
fn a_reload_switches_cookies_on_and_off() {
    let Some(world) = World::up("a_reload_switches_cookies_on_and_off") else { return };
    let config = |when: &str| format!("listen = [\"80=http\"]\n[tcp]\nsyn-cookies = \"{when}\"\n");
    let path = world.file("serve.toml", config("never").as_bytes());
    let serve = world.serve(&format!("--config {path}"));
    let got_by_cookie = || {
        let before = serve.settled().total.engine.get("cookies_accepted").unwrap();
        run(world.at_client("curl", &CURL).args(["--output", "/dev/null", &format!("http://{V4}/")]));
        serve.settled().total.engine.get("cookies_accepted").unwrap() - before
    };
    assert_eq!(got_by_cookie(), 0);
    for (when, by_cookie) in [("always", 1), ("auto", 0), ("always", 1), ("never", 0)] {
        world.file("serve.toml", config(when).as_bytes());
        assert_eq!(reload(&serve, &[]).limits, ["syn-cookies"], "{when}");
        assert_eq!(got_by_cookie(), by_cookie, "{when}");
    }
    serve.end();
}
