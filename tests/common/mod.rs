//! What several test programs share.

use std::io::Write as _;

/// True if the test may go on as root. Otherwise the reason is printed and the test is to return; with the environment
/// variable HANDFAST_REQUIRE_ROOT_TESTS set it fails instead, so that nobody takes a skipped test for a passed one.
pub fn root_or_skip(test: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let user_ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let is_root = user_ids.split_whitespace().nth(1) == Some("0");
    let required = std::env::var_os("HANDFAST_REQUIRE_ROOT_TESTS").is_some();
    assert!(is_root || !required, "{test} needs root, and HANDFAST_REQUIRE_ROOT_TESTS is set");
    if !is_root {
        // Not eprintln!: the test harness would swallow it, since the test passes.
        let _ = writeln!(std::io::stderr(), "skipped: {test} needs root (namespaces and interfaces)");
    }
    is_root
}
