//! What `handfast profile` does from its options to its exit status: a running server is asked to time its workers' turns for a
//! while, and what it answers is written in the forms asked for. What a profile says is not here (observe::profile).

use super::client::{ClientError, call};
use super::protocol::{DEFAULT_PROFILE_EVERY, MAX_PROFILE_EVERY, PROFILE_MS, ProfileRequest, Request};
use super::values::Millis;
use crate::observe::json;
use crate::observe::profile::folded::folded;
use crate::observe::profile::{ProfileReport, page, text};
use clap::Args;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The options of `handfast profile`, beside the server's name.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// Profile for this long
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    pub duration: Millis,
    /// Time one of so many turns stage by stage, the others as a whole; 1 times every turn, and costs more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PROFILE_EVERY)),
        default_value_t = DEFAULT_PROFILE_EVERY)]
    pub every: u32,
    /// Write one JSON object to this file; `-` prints it instead of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write an HTML page with charts to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write folded stacks to this file, for inferno, flamegraph.pl or speedscope
    #[arg(long, value_name = "FILE")]
    pub folded: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Millis, String> {
    let duration: Millis = text.parse().map_err(|error| format!("{error}"))?;
    let (least, most) = (Millis(*PROFILE_MS.start()), Millis(*PROFILE_MS.end()));
    if (least..=most).contains(&duration) { Ok(duration) } else { Err(format!("must be from {least} to {most}")) }
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The server could not be asked, or did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A result cannot be written there.
    #[error("writing the profile to {}: {cause}; name a file in a folder that exists and may be written to", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// Standard output took no result.
    #[error("standard output: cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Does what `handfast profile` was asked for.
///
/// # Errors
///
/// [`ProfileError`]; a file that cannot be written is noticed before anything is timed.
pub fn run(server: &Path, args: &ProfileArgs) -> Result<(), ProfileError> {
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let files = [args.json.as_ref().filter(|_| !to_stdout), args.html.as_ref(), args.folded.as_ref()];
    for path in files.into_iter().flatten() {
        try_to_write(path).map_err(failed(path))?;
    }
    let request = ProfileRequest { duration_ms: args.duration.0, every: args.every };
    let report: ProfileReport = call(server, &Request::Profile(request))?;
    let json = json::line(&report) + "\n";
    let mut out = io::stdout().lock();
    out.write_all(if to_stdout { json.clone() } else { text::page(&report) }.as_bytes())?;
    out.flush()?;
    for (path, content) in files.into_iter().zip([json, page::page(&report), folded(&report)]) {
        if let Some(path) = path {
            fs::write(path, content).map_err(failed(path))?;
        }
    }
    Ok(())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ProfileError {
    let path = path.to_owned();
    move |cause| ProfileError::Write { path, cause }
}

/// Whether `path` can be written to. What is there stays there; a file that was not there is not left behind.
fn try_to_write(path: &Path) -> io::Result<()> {
    let was_there = path.exists();
    drop(OpenOptions::new().write(true).create(true).truncate(false).open(path)?);
    if was_there { Ok(()) } else { fs::remove_file(path) }
}
