//! The other end of the control socket: what `stats`, `flows`, `reload`, `drain` and `why` use.

use super::protocol::{DrainRequest, ProfileRequest, Refusal, Request, parse_answer};
use serde::Deserialize;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest answer in bytes: 16 MiB.
pub const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// How long an answer may take to begin, or to go on, beyond what the request itself asks to wait.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Why a running server could not be asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "no server answers at {}: {source}; start one with `handfast serve -i IFACE ...`, or name its socket with --control PATH",
        path.display()
    )]
    NoServer {
        /// The path that was tried.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The connection failed on the way.
    #[error("the server at {} did not answer: {source}; it may be overloaded or have ended, try again", path.display())]
    Broken {
        /// The path of its socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The answer is none.
    #[error("the server at {} does not answer in this protocol: {reason}; use the same version of handfast", path.display())]
    Foreign {
        /// The path of its socket.
        path: PathBuf,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The server answered that it does not do that.
    #[error("the server refused: {0}")]
    Refused(Refusal),
}

/// Puts `request` to the server at `path` and waits for its answer.
///
/// # Errors
///
/// If nobody answers, in time and in this protocol, or the server refuses.
pub fn call<T: for<'de> Deserialize<'de>>(path: &Path, request: &Request) -> Result<T, ClientError> {
    let connected = UnixStream::connect(path);
    let mut stream = connected.map_err(|source| ClientError::NoServer { path: path.to_owned(), source })?;
    let answer = exchange(&mut stream, request);
    let line = answer.map_err(|source| ClientError::Broken { path: path.to_owned(), source })?;
    match parse_answer(&line) {
        Ok(outcome) => outcome.map_err(ClientError::Refused),
        Err(reason) => Err(ClientError::Foreign { path: path.to_owned(), reason }),
    }
}

/// Sends the line of the request and receives the line of the answer.
fn exchange(stream: &mut UnixStream, request: &Request) -> io::Result<Vec<u8>> {
    let asked = match request {
        Request::Drain(DrainRequest { timeout_ms }) => Duration::from_millis(*timeout_ms),
        Request::Profile(ProfileRequest { duration_ms, .. }) => Duration::from_millis(*duration_ms),
        Request::Stats {} | Request::History {} | Request::Flows(_) | Request::Reload(_) | Request::Why(_) => {
            Duration::ZERO
        }
    };
    stream.set_read_timeout(Some(asked + ANSWER_PATIENCE))?;
    stream.set_write_timeout(Some(ANSWER_PATIENCE))?;
    // A server that is busy answers and closes without reading: the answer counts, not the failed sending.
    let sent = stream.write_all(format!("{}\n", request.line()).as_bytes());
    let mut answer = Vec::new();
    let received = stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer);
    if answer.ends_with(b"\n") {
        return Ok(answer);
    }
    sent?;
    received?;
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ended before its line did"))
}
