//! Children of the comparison: servers and generators, each the program itself inside one of the lab's namespaces.
//!
//! A child has a process group of its own, so that Ctrl-C reaches the comparison alone, which then ends its children in
//! order. A value that is dropped takes its process with it.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use thiserror::Error;

/// How often a child is looked at.
const ROUND: Duration = Duration::from_millis(5);
/// How long a server may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long a server may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);
/// What a server says when it may be used.
const READY: &str = "handfast: ready:";
/// Lines of standard error that are kept for a message.
const KEPT_LINES: usize = 6;

/// A child that did not do what it was for.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot run `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// It ended, or did not end, or did not get ready.
    #[error("`{command}` {what}; it said: {said}")]
    Failed {
        /// The command line.
        command: String,
        /// What it did.
        what: String,
        /// The end of its standard error.
        said: String,
    },
    /// SIGINT or SIGTERM came meanwhile.
    #[error("interrupted")]
    Interrupted,
}

/// A command line inside a namespace of the lab, the same that a person would type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bench) struct Line {
    words: Vec<String>,
}

impl Line {
    /// `program` with the words of `arguments`, inside `namespace`.
    pub fn inside(namespace: &str, program: &str, arguments: &str) -> Self {
        let words = ["ip", "netns", "exec", namespace, program].into_iter().chain(arguments.split_whitespace());
        Self { words: words.map(str::to_owned).collect() }
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

/// A child that runs.
#[derive(Debug)]
pub(in crate::bench) struct Running {
    command: String,
    child: Child,
    ready: Receiver<()>,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<Vec<String>>>,
}

impl Running {
    /// Starts it. What it says on standard error goes to our log, at the level of `-v`.
    pub fn start(line: &Line) -> Result<Self, ProcessError> {
        let command = line.to_string();
        tracing::debug!("{command}");
        let (program, arguments) = line.words.split_first().expect("a line has a program");
        let mut process = Command::new(program);
        // `ip netns exec` becomes the program, so the child is the program itself.
        process.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process.env("PATH", crate::bench::command::search_path()).process_group(0);
        let mut child = process.spawn().map_err(|source| ProcessError::Start { command: command.clone(), source })?;
        let mut out = child.stdout.take().expect("it is piped");
        let stdout = thread::spawn(move || {
            let mut text = Vec::new();
            // A broken pipe ends it as the end of the file does; what is missing shows when it is read as JSON.
            let _ = out.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let (tell, ready) = channel();
        let err = child.stderr.take().expect("it is piped");
        let stderr = thread::spawn(move || listen(err, &tell));
        Ok(Self { command, child, ready, stdout: Some(stdout), stderr: Some(stderr) })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says that it is ready.
    pub fn wait_until_ready(&mut self, stop: &AtomicBool) -> Result<(), ProcessError> {
        let start = Instant::now();
        loop {
            match self.ready.recv_timeout(ROUND * 4) {
                Ok(()) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait();
                    return Err(self.failed(&format!("ended before it was ready{}", after(status.ok()))));
                }
                Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => {
                    return Err(ProcessError::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) if start.elapsed() > READY_WITHIN => {
                    return Err(self.failed("was not ready within 20 s"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits for its end, at most for `patience`. Returns its status and its standard output.
    pub fn wait(&mut self, patience: Duration, stop: &AtomicBool) -> Result<(ExitStatus, String), ProcessError> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok((status, self.output())),
                Ok(None) if stop.load(Ordering::Relaxed) => return Err(ProcessError::Interrupted),
                Ok(None) if start.elapsed() <= patience => thread::sleep(ROUND),
                Ok(None) => return Err(self.failed(&format!("did not end within {patience:?}"))),
                Err(source) => return Err(self.failed(&format!("cannot be waited for: {source}"))),
            }
        }
    }

    /// Asks it to end, as Ctrl-C would, and returns its standard output.
    pub fn end(mut self) -> Result<String, ProcessError> {
        // If it has ended by itself, its status says so.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let (status, output) = self.wait(END_WITHIN, &AtomicBool::new(false))?;
        if status.success() { Ok(output) } else { Err(self.failed(&format!("failed{}", after(Some(status))))) }
    }

    /// What it wrote to standard output, once it has ended.
    fn output(&mut self) -> String {
        self.stdout.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }

    /// An error about it, with what it said last. Ends it if it runs.
    pub fn failed(&mut self, what: &str) -> ProcessError {
        self.kill();
        let said = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default().join("; ");
        let said = if said.is_empty() { "nothing".to_owned() } else { said };
        ProcessError::Failed { command: self.command.clone(), what: what.to_owned(), said }
    }

    fn kill(&mut self) {
        // Its whole group, should it have children of its own. All three fail only for what has ended already.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// ` with STATUS`.
fn after(status: Option<ExitStatus>) -> String {
    status.map_or_else(String::new, |status| format!(" ({status})"))
}

/// Reads a child's standard error to its end; tells when it is ready, and returns the last lines.
fn listen(err: ChildStderr, tell: &Sender<()>) -> Vec<String> {
    let mut last = Vec::new();
    for line in BufReader::new(err).lines().map_while(Result::ok) {
        tracing::debug!("  {line}");
        if line.starts_with(READY) {
            // Nobody waits for a generator to be ready.
            let _ = tell.send(());
        }
        if last.len() == KEPT_LINES {
            last.remove(0);
        }
        last.push(line);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Running {
        let words = ["sh", "-c", script].map(str::to_owned).to_vec();
        Running::start(&Line { words }).unwrap()
    }

    #[test]
    fn a_server_is_ready_when_it_says_so_and_ends_when_it_is_asked() {
        let go = AtomicBool::new(false);
        let mut server =
            shell("trap 'echo {}; exit 0' INT; echo 'handfast: ready: here' >&2; while :; do sleep 0.01; done");
        server.wait_until_ready(&go).unwrap();
        assert_eq!(server.end().unwrap(), "{}\n");
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let go = AtomicBool::new(false);
        let error = shell("echo no such thing >&2; exit 3").wait_until_ready(&go).unwrap_err().to_string();
        assert!(
            error.contains("sh -c") && error.contains("exit status: 3") && error.contains("no such thing"),
            "{error}"
        );
        let slow = shell("sleep 60").wait(Duration::from_millis(20), &go).unwrap_err().to_string();
        assert!(slow.contains("did not end"), "{slow}");
    }

    #[test]
    fn an_interruption_ends_every_wait() {
        let stopped = AtomicBool::new(true);
        assert!(matches!(shell("sleep 60").wait_until_ready(&stopped), Err(ProcessError::Interrupted)));
        assert!(matches!(shell("sleep 60").wait(Duration::from_secs(9), &stopped), Err(ProcessError::Interrupted)));
    }

    #[test]
    fn a_line_is_what_a_person_would_type() {
        let line = Line::inside("lab-server", "/bin/handfast", "serve -i  hf-server");
        assert_eq!(line.to_string(), "ip netns exec lab-server /bin/handfast serve -i hf-server");
    }
}
