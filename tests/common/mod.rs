//! What tests of several files share.

use std::os::unix::fs::MetadataExt;

/// True if the test may go on as root. Otherwise says why it is skipped; fails instead where
/// `HANDFAST_REQUIRE_ROOT_TESTS` is set, so that a gate cannot pass by skipping.
pub fn root_or_skip(test: &str) -> bool {
    let process = std::fs::metadata("/proc/self").expect("/proc is mounted");
    let root = process.uid() == 0;
    if !root {
        let required = std::env::var_os("HANDFAST_REQUIRE_ROOT_TESTS").is_some();
        assert!(!required, "{test} needs root, and HANDFAST_REQUIRE_ROOT_TESTS is set");
        eprintln!("{test} is skipped: it needs root");
    }
    root
}
