//! What several tests need.

/// True if the test may go on: we are root. Otherwise says why not, and fails if HANDFAST_REQUIRE_ROOT_TESTS is set.
pub fn root_or_skip(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("HANDFAST_REQUIRE_ROOT_TESTS").is_none(),
        "{test} needs root, and must not be skipped here"
    );
    eprintln!("skipped {test}: it needs root for network namespaces and AF_XDP");
    false
}
