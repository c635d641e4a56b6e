//! What a run leaves: a JSON and a page whose figures agree with each other and with the server's own, to the connection.

use super::*;
use crate::browser::{browser_or_skip, load};
use crate::world::V4;
use serde_json::Value;
use std::path::Path;

/// The report that stands in a page.
fn embedded(page: &str) -> Value {
    let (_, rest) =
        page.split_once("<script type=\"application/json\" id=\"report\">").expect("the page has its report");
    serde_json::from_str(rest.split_once("</script>").expect("it ends").0).unwrap()
}

/// The values that the page's tables show, with the place of each in the JSON.
fn shown(page: &str) -> Vec<(String, f64)> {
    let value = |element: &str| {
        let attribute = |name: &str| Some(element.split_once(&format!("{name}=\""))?.1.split_once('"')?.0.to_owned());
        Some((attribute("data-json")?, attribute("value")?.parse().ok()?))
    };
    page.split("<data ").skip(1).filter_map(value).collect()
}

#[test]
fn json_page_and_server_agree_to_the_connection() {
    let Some(world) = World::up("json_page_and_server_agree_to_the_connection") else { return };
    let Some(browser) = browser_or_skip("json_page_and_server_agree_to_the_connection") else { return };
    let serve = world.serve("--listen 7000=discard");
    let (json, html) = (world.path("load.json"), world.path("load.html"));
    let args =
        ["blast", "-i", FROM, "--target", &format!("{V4}:7000"), "--source", SOURCE, "--rate", "3k", "--duration"];
    let mut command = world.at_client(HANDFAST, &args);
    let printed = world::run(command.args(["10s", "--json", &json, "--html", &html]));
    assert!(printed.contains("30000 attempted, 30000 established, 30000 completed, 0 failed"), "{printed}");

    let written: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let page = std::fs::read_to_string(&html).unwrap();
    assert_eq!(embedded(&page), written, "page and JSON are one report");
    let counts = ["/connections/attempted", "/connections/established", "/connections/completed"];
    assert!(counts.iter().all(|at| written.pointer(at) == Some(&Value::from(30_000))), "{written}");
    let rate = written["connections_per_second"].as_f64().unwrap();
    assert!((rate * written["duration_s"].as_f64().unwrap() - 30_000.0).abs() < 1.0, "{rate}");

    let stats = serve.settled();
    let engine = |name| stats.total.engine.get(name).unwrap();
    assert_eq!((engine("established"), engine("closed"), engine("reset_by_peer")), (30_000, 30_000, 0));
    serve.end();

    // What a browser makes of it: all values that it shows are the report's, and nothing is wrong or fetched.
    let seen = load(&browser, Path::new(&html), Path::new(&world.path("")));
    assert!(seen.console.is_empty(), "{:?}", seen.console);
    let values = shown(&seen.dom);
    assert!(values.iter().any(|(at, _)| at == counts[2]) && values.len() > 10, "{values:?}");
    for (at, value) in values {
        let Some(expected) = written.pointer(&at).and_then(Value::as_f64) else { continue };
        assert!((value - expected).abs() <= expected.abs() * 1e-12, "{at}: {value} is shown, and {expected} written");
    }
}
