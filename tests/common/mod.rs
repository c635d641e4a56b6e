//! What tests of several files share.

/// True if the test may go on as root. Otherwise says why it is skipped; fails instead where
/// `HANDFAST_REQUIRE_ROOT_TESTS` is set, so that a gate cannot pass by skipping.
pub fn root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let required = std::env::var_os("HANDFAST_REQUIRE_ROOT_TESTS").is_some();
        assert!(!required, "{test} needs root, and HANDFAST_REQUIRE_ROOT_TESTS is set");
        eprintln!("{test} is skipped: it needs root");
    }
    root
}
