//! Running code inside a named network namespace, in this process.
//!
//! A network namespace belongs to a thread, so the code runs on a thread of its own that ends with it: the caller's
//! thread never changes its namespace, and threads that the code starts are inside too. Making and removing namespaces
//! is the [lab](super::lab)'s.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::thread;

use nix::sched::{CloneFlags, setns};
use thiserror::Error;

/// Where `ip netns` keeps its named namespaces.
const NAMED_NAMESPACES: &str = "/var/run/netns";

/// A namespace that could not be entered.
#[derive(Debug, Error)]
#[error("cannot enter the network namespace {namespace}: {source}; is the lab up, and is this root?")]
pub struct EnterError {
    /// The namespace's name.
    pub namespace: String,
    /// Why not.
    pub source: io::Error,
}

/// The file that stands for the namespace `name`.
pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(NAMED_NAMESPACES).join(name)
}

/// Runs `work` on a new thread inside the network namespace `namespace` and returns what it returns. A namespace without
/// a name is meant by the absolute path of a file that stands for it, such as `/proc/1/ns/net`.
///
/// # Errors
///
/// If the namespace does not exist or must not be entered (CAP_SYS_ADMIN); `work` did not run then.
///
/// # Panics
///
/// If `work` does: its panic goes on in the caller.
pub fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T, EnterError> {
    let enter = || -> io::Result<()> { Ok(setns(File::open(path(namespace))?, CloneFlags::CLONE_NEWNET)?) };
    let on_thread = || enter().map(|()| work());
    let result = thread::scope(|scope| scope.spawn(on_thread).join());
    match result {
        Ok(result) => result.map_err(|source| EnterError { namespace: namespace.to_owned(), source }),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_meant_by_its_name_or_by_an_absolute_path() {
        assert_eq!(path("hf"), PathBuf::from("/var/run/netns/hf"));
        assert_eq!(path("/proc/1/ns/net"), PathBuf::from("/proc/1/ns/net"));
    }

    #[test]
    fn a_namespace_that_is_not_there_is_an_error_and_nothing_runs() {
        let error = inside("handfast-no-such-namespace", || unreachable!("ran outside")).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("is the lab up"));
    }
}
