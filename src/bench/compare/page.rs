//! The result as a page to look at.

use std::path::Path;

use super::BenchError;
use super::report::BenchReport;

/// False while this build has no pages.
pub(super) const AVAILABLE: bool = false;

/// Writes the page.
///
/// # Errors
///
/// [`BenchError::NoPages`], always: pages are not part of this build.
pub(super) fn write(_path: &Path, _report: &BenchReport) -> Result<(), BenchError> {
    Err(BenchError::NoPages)
}
