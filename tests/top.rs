//! `handfast top` on a pseudo terminal of 80 columns and 24 lines, read by a terminal emulator: what stands on the screen, what keys
//! do, what happens when the server goes away, and that the terminal is afterwards as it was.
//!
//! The server is a control socket that makes up its reports; no test needs root. The picture in every size is tested beside
//! the code that draws it.
#![cfg(feature = "xdp")]

use handfast::control::protocol::{DrainRequest, FlowsRequest, ProfileRequest, Refusal, ReloadRequest, WhyRequest};
use handfast::control::socket::{Handler, Server};
use handfast::observe::profile::ProfileReport;
use handfast::observe::report::{
    Drained, Figures, FlowRow, Flows, ListenerReport, Mode, Moment, Past, Reloaded, Stats, WorkerReport,
};
use handfast::observe::why::Diagnosis;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A number of rows or columns.
fn size(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

/// How long the made-up server ran before its test began.
const BEFORE_S: u32 = 60;

/// A server of one worker that opens 1,000 connections in each second.
struct Fake(Instant);

impl Handler for Fake {
    fn stats(&self) -> Result<Stats, Refusal> {
        let uptime_s = f64::from(BEFORE_S) + self.0.elapsed().as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousands of a few seconds")]
        let opened = (uptime_s * 1e3) as u64;
        let figures = Figures {
            engine: [("established", opened), ("passive_opens", opened)].into_iter().collect(),
            drops: [("bad_flags", opened)].into_iter().collect(),
            states: [("ESTABLISHED", 7), ("TIME-WAIT", 3)].into_iter().collect(),
            flows: 10,
            flows_capacity: 100,
            ..Figures::default()
        };
        let listener = ListenerReport {
            addr: None,
            port: 8080,
            service: "http".into(),
            connections: Some(10),
            opened: Some(opened),
            half_open: Some(0),
            states: None,
        };
        Ok(Stats {
            interface: "fake0".into(),
            uptime_s,
            mode: Mode { xdp: "native".into(), bind: "copy".into() },
            listeners: vec![listener],
            workers: vec![WorkerReport { queue: 0, core: Some(5), figures: figures.clone() }],
            total: figures,
            ..Stats::default()
        })
    }

    fn history(&self) -> Result<Past, Refusal> {
        let moment = |second: u32| {
            let opened = u64::from(second) * 1_000;
            Moment { uptime_s: f64::from(second), established: opened, opened, ..Moment::default() }
        };
        Ok(Past { moments: (0..=BEFORE_S).map(moment).collect() })
    }

    fn flows(&self, _: &FlowsRequest) -> Result<Flows, Refusal> {
        let flow = FlowRow { remote: "198.51.100.7:1234".into(), ..FlowRow::default() };
        Ok(Flows { matching: 10, flows: vec![flow] })
    }

    fn reload(&self, _: &ReloadRequest) -> Result<Reloaded, Refusal> {
        Ok(Reloaded::default())
    }

    fn drain(&self, _: &DrainRequest) -> Result<Drained, Refusal> {
        Ok(Drained::default())
    }

    fn why(&self, _: &WhyRequest) -> Result<Diagnosis, Refusal> {
        Ok(Diagnosis::default())
    }

    fn profile(&self, _: &ProfileRequest, _: &dyn Fn() -> bool) -> Result<ProfileReport, Refusal> {
        Ok(ProfileReport::default())
    }
}

/// A folder with the socket of a made-up server.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("hftp-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s.sock")
    }

    fn serve(&self) -> Server {
        Server::start(&self.socket(), Arc::new(Fake(Instant::now()))).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program on a terminal.
struct Terminal {
    child: Child,
    master: File,
    slave: File,
    /// How the terminal was set before.
    before: Termios,
    screen: Arc<Mutex<vt100::Parser>>,
    started: Instant,
}

impl Terminal {
    /// Starts `top` for that socket on a terminal of 80 by 24.
    fn start(socket: &Path) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let before = tcgetattr(&slave).unwrap();
        // setsid gives it a session with this terminal as the controlling one.
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_handfast"), "top", "--control"]).arg(socket);
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm-256color").spawn().unwrap();
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size(24), size(80), 0)));
        let (mut reader, written) = (master.try_clone().unwrap(), Arc::clone(&screen));
        // Ends when the last descriptor of the other end is closed.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                written.lock().unwrap().process(&bytes[..count]);
            }
        });
        Self { child, master, slave, before, screen, started: Instant::now() }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn wait_for(&self, what: &str, done: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !done(&self.text()) {
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}:\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn shows(&self, part: &str) {
        self.wait_for(part, |text| text.contains(part));
    }

    fn press(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// Waits for the end, and insists on success and on a terminal that is as it was.
    fn ends_well(&mut self) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end:\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{status:?}\n{}", self.text());
        let is_as_before = || {
            let parser = self.screen.lock().unwrap();
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        };
        while !is_as_before() {
            assert!(start.elapsed() < PATIENCE, "the screen was not given back");
            thread::sleep(Duration::from_millis(20));
        }
        let after = tcgetattr(&self.slave).unwrap();
        let modes =
            |termios: &Termios| (termios.input_modes, termios.output_modes, termios.control_modes, termios.local_modes);
        assert_eq!(modes(&after), modes(&self.before));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_minutes_before_are_there_from_the_first_picture_on() {
    let place = Place::new("past");
    let _server = place.serve();
    let mut terminal = Terminal::start(&place.socket());
    // The rate is always the same, so every second that is known is a whole bar.
    terminal
        .wait_for("bars of a minute", |text| text.lines().any(|line| line.chars().filter(|c| *c == '█').count() >= 50));
    assert!(terminal.started.elapsed() < Duration::from_secs(30), "it might have seen them by itself");
    terminal.press(b"q");
    terminal.ends_well();
}

#[test]
fn views_follow_the_keys_and_the_terminal_is_given_back() {
    let place = Place::new("keys");
    let _server = place.serve();
    let mut terminal = Terminal::start(&place.socket());
    terminal.shows("handfast top fake0 (native, copy)");
    terminal.shows("q quit  p pause  tab view  1-5 views  ? help");
    terminal.shows("ESTABLISHED 7  TIME-WAIT 3");
    assert!(terminal.screen.lock().unwrap().screen().alternate_screen());
    // The second report makes rates: about 1,000 connections a second.
    terminal.wait_for("a rate", |text| {
        let rate = text.split("connections/s ").nth(1).and_then(|rest| rest.split_whitespace().next());
        rate.is_some_and(|rate| {
            rate == "1k" || (rate.starts_with("1.0") && rate.ends_with('k')) || rate.starts_with("99")
        })
    });
    terminal.press(b"\t");
    terminal.shows("queue core");
    terminal.press(b"3");
    terminal.shows("bad_flags");
    terminal.press(b"4");
    terminal.shows("8080");
    terminal.press(b"5");
    terminal.shows("198.51.100.7");
    terminal.press(b"?");
    terminal.shows("Esc, Ctrl-C   end");
    terminal.press(b"?1p");
    terminal.shows("PAUSED");
    terminal.press(b"q");
    terminal.ends_well();
}

#[test]
fn a_signal_and_ctrl_c_give_the_terminal_back_too() {
    let place = Place::new("signal");
    let _server = place.serve();
    for way in ["SIGTERM", "Ctrl-C", "Escape"] {
        let mut terminal = Terminal::start(&place.socket());
        terminal.shows("fake0");
        match way {
            "SIGTERM" => kill_process(Pid::from_child(&terminal.child), Signal::TERM).unwrap(),
            "Ctrl-C" => terminal.press(b"\x03"),
            _ => terminal.press(b"\x1b"),
        }
        terminal.ends_well();
    }
}

#[test]
fn a_server_that_goes_away_is_missed_and_found_again() {
    let place = Place::new("away");
    let mut terminal = Terminal::start(&place.socket());
    terminal.shows("NO ANSWER, trying again: no server answers at");
    let server = place.serve();
    terminal.shows("fake0");
    terminal.wait_for("an answer", |text| !text.contains("NO ANSWER"));
    server.stop();
    terminal.shows("NO ANSWER");
    assert!(terminal.text().contains("ESTABLISHED 7"), "what was seen last stays: {}", terminal.text());
    let _server = place.serve();
    terminal.wait_for("an answer", |text| !text.contains("NO ANSWER"));
    terminal.press(b"q");
    terminal.ends_well();
}

#[test]
fn a_terminal_that_changes_its_size_is_followed() {
    let place = Place::new("size");
    let _server = place.serve();
    let mut terminal = Terminal::start(&place.socket());
    terminal.shows("fake0");
    for (rows, cols) in [(5, 18), (50, 160), (24, 80)] {
        terminal.screen.lock().unwrap().screen_mut().set_size(size(rows), size(cols));
        tcsetwinsize(&terminal.slave, Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        kill_process(Pid::from_child(&terminal.child), Signal::WINCH).unwrap();
        if rows < 6 {
            terminal.shows("too");
        } else {
            terminal.shows("? help");
        }
    }
    terminal.press(b"q");
    terminal.ends_well();
}

#[test]
fn without_a_terminal_it_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_handfast"))
        .args(["top", "--control", "/nonexistent/s.sock"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("top draws on a terminal") && message.contains("handfast stats --json"), "{message}");
}
