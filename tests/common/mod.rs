//! What tests of several files share.

/// True if the test may go on as root. Otherwise says why it is skipped, and fails instead where
/// HANDFAST_REQUIRE_ROOT_TESTS is set.
pub fn root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(
        root || std::env::var_os("HANDFAST_REQUIRE_ROOT_TESTS").is_none(),
        "{test} needs root and may not be skipped"
    );
    if !root {
        eprintln!("skipped: {test} needs root");
    }
    root
}
