//! `handfast top` on a terminal: asks the server once a second, hands what it says to the view, and draws.
//!
//! Asking has a thread of its own, so that keys work while a server does not answer. The terminal is as it was before when
//! this ends: by a key, by SIGTERM, by an error, and by a panic too. What the view is and looks like is not here (observe::top).

use super::client::call;
use super::protocol::{FlowsRequest, Request};
use crate::observe::report::{Flows, Past, Stats};
use crate::observe::top::draw::draw;
use crate::observe::top::{Key, Tab, Then, Top};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// How often the server is asked.
const STEP: Duration = Duration::from_secs(1);

/// How often keys, answers and signals are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Connections that are asked for to find the top talkers.
const TALKERS_LIMIT: u32 = 1_000;

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// Nothing to draw on.
    #[error("top draws on a terminal, and {0} is none; for programs there are `handfast stats --json` and --metrics")]
    NoTerminal(&'static str),
    /// The terminal failed.
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

impl TopError {
    /// The exit status of the command line.
    pub fn exit_status(&self) -> u8 {
        match self {
            TopError::NoTerminal(_) => 2,
            TopError::Terminal(_) => 1,
        }
    }
}

/// What the asking thread says.
enum Said {
    Past(Past),
    Stats(Box<Stats>),
    Flows(Flows),
    Trouble(String),
}

/// Shows the server whose control socket is at `path`, called `name`, until a key or signal ends it.
///
/// # Errors
///
/// If standard input or output is no terminal, or the terminal fails.
pub fn run(path: PathBuf, name: String) -> Result<(), TopError> {
    for (what, is_one) in
        [("standard input", io::stdin().is_terminal()), ("standard output", io::stdout().is_terminal())]
    {
        if !is_one {
            return Err(TopError::NoTerminal(what));
        }
    }
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let (answers, said) = channel();
    let (wishes, wished) = channel();
    // It ends with the first answer that nobody takes; at the latest with the process.
    thread::Builder::new().name("asking".into()).spawn(move || ask(&path, &answers, &wished))?;
    let mut terminal = ratatui::try_init()?;
    let outcome = show(&mut terminal, Top::of(name), &said, &wishes, &ended);
    ratatui::try_restore()?;
    outcome
}

/// Asks once a second, for connections too if they are wished for; and for the past of each server ahead of its first report.
fn ask(path: &Path, answers: &Sender<Said>, wished: &Receiver<bool>) {
    let (mut flows_wished, mut is_new) = (false, true);
    loop {
        // A server that keeps no past refuses, and the view begins with the present.
        if is_new
            && let Ok(past) = call(path, &Request::History {})
            && answers.send(Said::Past(past)).is_err()
        {
            return;
        }
        let stats = call::<Stats>(path, &Request::Stats {});
        is_new = stats.is_err();
        let said = stats.map_or_else(|error| Said::Trouble(error.to_string()), |stats| Said::Stats(Box::new(stats)));
        if answers.send(said).is_err() {
            return;
        }
        let request = Request::Flows(FlowsRequest { limit: TALKERS_LIMIT, state: None });
        if flows_wished
            && let Ok(flows) = call(path, &request)
            && answers.send(Said::Flows(flows)).is_err()
        {
            return;
        }
        match wished.recv_timeout(STEP) {
            Ok(wish) => flows_wished = wish,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn show(
    terminal: &mut DefaultTerminal,
    mut top: Top,
    said: &Receiver<Said>,
    wishes: &Sender<bool>,
    ended: &AtomicBool,
) -> Result<(), TopError> {
    let mut changed = true;
    // Relaxed: a flag that stands alone.
    while !ended.load(Ordering::Relaxed) {
        if changed {
            terminal.draw(|frame| draw(&top, frame))?;
        }
        changed = event::poll(LOOK)?;
        if changed {
            let before = top.tab;
            if press(&mut top, &event::read()?) == Then::Quit {
                return Ok(());
            }
            if before != top.tab {
                // Should nobody hear it any more, the thread's end has been said already.
                let _ = wishes.send(top.tab == Tab::Talkers);
            }
        }
        for said in said.try_iter() {
            changed = true;
            match said {
                Said::Past(past) => top.take_past(&past),
                Said::Stats(stats) => top.take(*stats),
                Said::Flows(flows) => top.take_flows(flows),
                Said::Trouble(why) => top.lose(why),
            }
        }
    }
    Ok(())
}

/// What an event of the terminal does.
fn press(top: &mut Top, event: &Event) -> Then {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return Then::Stay };
    let key = match code {
        KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => return Then::Quit,
        KeyCode::Char(letter) => Key::Char(*letter),
        KeyCode::Tab | KeyCode::Right => Key::Next,
        KeyCode::BackTab | KeyCode::Left => Key::Previous,
        KeyCode::Esc => Key::Escape,
        _ => return Then::Stay,
    };
    top.press(key)
}
