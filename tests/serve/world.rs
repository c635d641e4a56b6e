//! A lab with a server in it: namespaces, processes, files, and the questions that tests ask. All of it goes away with the
//! values, also when a test fails. A test program that takes this file in says what its labs are called.
#![allow(dead_code, reason = "not every test program that takes this file in uses all of it")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use handfast::bench::clients::{ClientsArgs, ClientsReport, drive};
use handfast::bench::lab::{Lab, LabConfig};
use handfast::bench::netns::inside;
use handfast::observe::report::{Stats, Summary};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::root_or_skip;

/// The program under test.
pub const HANDFAST: &str = env!("CARGO_BIN_EXE_handfast");

/// The server's addresses, and the interface that it is served on.
pub const V4: &str = "198.18.0.1";
pub const V6: &str = "2001:2::1";
pub const SERVED: &str = "hf-server";

/// How long anything may take that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Held by the test that runs.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits until `done` says so; `what` is what was waited for in vain.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A socket address of the server.
pub fn server(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// What a program wrote, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A lab and a folder of its own.
pub struct World {
    pub lab: Lab,
    folder: PathBuf,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl World {
    /// A world with a lab of one queue and MTU 1500, or `None` if the test is to be skipped.
    pub fn up(test: &str) -> Option<Self> {
        Self::up_with(test, |_| {})
    }

    /// The same with a lab that `change` made different.
    pub fn up_with(test: &str, change: impl FnOnce(&mut LabConfig)) -> Option<Self> {
        if !root_or_skip(test) {
            return None;
        }
        // A test that failed while it held the turn has left nothing behind that matters here.
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Self::with_lab(&format!("{}-{}", crate::LAB, std::process::id()), Some(turn), change))
    }

    /// A second world with the same addresses, which nothing connects to this one.
    pub fn beside(&self) -> Self {
        Self::with_lab(&format!("{}-{}-b", crate::LAB, std::process::id()), None, |_| {})
    }

    fn with_lab(name: &str, turn: Option<MutexGuard<'static, ()>>, change: impl FnOnce(&mut LabConfig)) -> Self {
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut config = LabConfig::named(name);
        change(&mut config);
        // The guard comes first: a lab that came up halfway is removed as well.
        let world = Self { lab: Lab::named(name).unwrap(), folder, _turn: turn };
        Lab::up(&config).unwrap();
        // The client's kernel would take 2 ms of silence for a loss and send again (tail loss probes). That says that the
        // machine is busy and the worker had to wait for a core, not that a segment was lost.
        world.in_client(|| fs::write("/proc/sys/net/ipv4/tcp_early_retrans", "0").unwrap());
        world
    }

    /// The path of a file of this world.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// Makes a file and returns its path.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// A command inside the namespace of the server.
    pub fn at_server(&self, program: &str, args: &[&str]) -> Command {
        command_inside(&self.lab.server_namespace(), program, args)
    }

    /// A command inside the namespace of the client.
    pub fn at_client(&self, program: &str, args: &[&str]) -> Command {
        command_inside(&self.lab.client_namespace(), program, args)
    }

    /// Runs code on a thread inside the namespace of the server.
    pub fn in_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.lab.server_namespace(), work).unwrap()
    }

    /// Runs code on a thread inside the namespace of the client.
    pub fn in_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.lab.client_namespace(), work).unwrap()
    }

    /// A kernel socket of the client's, connected within two seconds. Reads and writes time out.
    pub fn connect(&self, target: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self.in_client(|| TcpStream::connect_timeout(&target, Duration::from_secs(2)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Runs kernel clients in the client's namespace.
    pub fn drive(&self, args: &ClientsArgs) -> ClientsReport {
        self.in_client(|| drive(args, &mut |_| {})).unwrap()
    }

    /// Runs kernel clients and insists that none of them fails.
    pub fn drive_all(&self, args: &ClientsArgs) -> ClientsReport {
        let report = self.drive(args);
        assert_eq!(report.failed_total(), 0, "{report}");
        assert_eq!(report.connections.completed, report.connections.attempted, "{report}");
        report
    }

    /// The command line of `serve` on this lab, with a control socket in the world's folder.
    pub fn serve_command(&self, args: &str) -> Command {
        let control = self.path("control.sock");
        let mut command = self.at_server(HANDFAST, &["serve", "-i", SERVED, "--control", &control]);
        command.args(args.split_whitespace()).env_remove("RUST_LOG");
        command
    }

    /// Starts a server and waits until it is ready.
    pub fn serve(&self, args: &str) -> Serve<'_> {
        Serve::start(self, self.serve_command(args))
    }

    /// Runs a server that is expected to end by itself.
    pub fn serve_to_the_end(&self, args: &str) -> Output {
        self.serve_command(args).output().unwrap()
    }

    /// True if an XDP program is on the served interface.
    pub fn has_xdp(&self) -> bool {
        self.lab.show().unwrap().server.xdp
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Err(error) = self.lab.down(true) {
            eprintln!("cannot clean up: {error}");
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// `ip netns exec` becomes the program, so that the process that is started is the program itself.
fn command_inside(namespace: &str, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]).args(args).stdin(Stdio::null());
    command
}

/// Runs a command and insists on its success; returns its standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A process that is killed with the value, if it has not ended by then.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the end of a process", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sets a flag when it goes away, also when the test fails: others wait for it.
pub struct Finally<'a>(pub &'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How a server ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A running server.
pub struct Serve<'a> {
    world: &'a World,
    pub process: Process,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl<'a> Serve<'a> {
    /// Starts `command` and waits until it is ready.
    pub fn start(world: &'a World, mut command: Command) -> Self {
        let [stdout, stderr] = ["serve.out", "serve.err"].map(|name| PathBuf::from(world.path(name)));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let mut serve = Self { world, process: Process(command.spawn().unwrap()), stdout, stderr };
        wait_for("a server that is ready", || {
            let ended = serve.process.0.try_wait().unwrap();
            assert!(ended.is_none(), "serve ended with {ended:?}: {}", serve.log());
            serve.log().lines().any(|line| line.starts_with("handfast: ready: "))
        });
        serve
    }

    /// What it has written to standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Puts a question to it with the program itself.
    pub fn ask(&self, args: &[&str]) -> Output {
        let mut command = Command::new(HANDFAST);
        command.arg(args[0]).args(["--control", &self.world.path("control.sock")]).args(&args[1..]);
        command.output().unwrap()
    }

    /// What `handfast stats --json` says.
    pub fn stats(&self) -> Stats {
        let output = self.ask(&["stats", "--json"]);
        assert!(output.status.success(), "{}\n{}", text(&output.stderr), self.log());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the books say what `done` asks for, and returns them.
    pub fn stats_when(&self, what: &str, mut done: impl FnMut(&Stats) -> bool) -> Stats {
        let mut last = self.stats();
        let start = Instant::now();
        while !done(&last) {
            assert!(
                start.elapsed() < PATIENCE,
                "waited {PATIENCE:?} in vain: {what}: {}",
                handfast::observe::text::stats(&last)
            );
            thread::sleep(Duration::from_millis(20));
            last = self.stats();
        }
        last
    }

    /// Waits until no flow is left, and insists that then no frame, flow or timer is missing or left over.
    pub fn settled(&self) -> Stats {
        let stats = self.stats_when("no flow and no frame under way", |stats| {
            let place = |name| stats.total.ledger.get(name).unwrap();
            stats.total.flows == 0 && place("tx") + place("tx_pending") + place("in_hand") == 0
        });
        assert_clean(&stats);
        stats
    }

    /// Waits for its end and returns what it wrote.
    pub fn ended(mut self) -> Ended {
        let status = self.process.wait();
        let read = |path: &PathBuf| {
            let mut text = String::new();
            File::open(path).unwrap().read_to_string(&mut text).unwrap();
            text
        };
        Ended { status, stdout: read(&self.stdout), stderr: read(&self.stderr) }
    }

    /// Ends it with SIGTERM and returns its closing summary, which has to be clean.
    pub fn end(self) -> Ended {
        self.process.signal(Signal::TERM);
        let ended = self.ended();
        assert!(ended.status.success(), "{ended:?}");
        ended
    }
}

/// The books balance, no frame was lost on the way in, and nothing is left over.
pub fn assert_clean(stats: &Stats) {
    assert_no_loss(stats);
    let total = &stats.total;
    let place = |name| total.ledger.get(name).unwrap();
    assert_eq!(place("fill") + place("free"), place("total"), "a frame is held back: {:?}", total.ledger);
    assert_eq!(total.flows, 0);
    assert!(total.states.iter().all(|(_, flows)| flows == 0), "{:?}", total.states);
    for worker in &stats.workers {
        assert_eq!(worker.figures.timers, 0, "timers are left over on queue {}", worker.queue);
    }
}

/// The books balance and neither kernel nor port lost a frame.
pub fn assert_no_loss(stats: &Stats) {
    assert!(stats.ledgers.balanced(), "{:?}", stats.ledgers);
    for name in ["rx_dropped", "rx_ring_full", "rx_invalid_descs", "tx_invalid_descs"] {
        assert_eq!(stats.total.xdp_statistics.get(name), Some(0), "{name}: {:?}", stats.total.xdp_statistics);
    }
}

/// Values of one report that another one has more of, by name; those that did not change are left out.
pub fn differences<'a>(
    before: &'a handfast::observe::report::Values,
    after: &'a handfast::observe::report::Values,
) -> Vec<(&'a str, u64)> {
    let changed = |(name, value): (&'a str, u64)| {
        let more = value - before.get(name).unwrap_or(0);
        (more != 0).then_some((name, more))
    };
    after.iter().filter_map(changed).collect()
}

/// The summary of a server that was started with `--json`; standard output must have it and nothing else.
pub fn summary(ended: &Ended) -> Summary {
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Sends a request on a connection and reads a response whose body has `Content-Length` bytes. Returns head and body.
pub fn http_exchange(stream: &mut TcpStream, request: &[u8]) -> (String, Vec<u8>) {
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "closed in the middle of a response: {}", text(&bytes));
        bytes.extend_from_slice(&buffer[..n]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = text(&bytes[..end]);
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        assert!(bytes.len() <= end + 4 + length, "more than the response: {} bytes", bytes.len());
        if bytes.len() == end + 4 + length {
            return (head, bytes.split_off(end + 4));
        }
    }
}
