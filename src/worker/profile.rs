//! A worker's turns while they are timed: which turn is compiled how, and what its port did meanwhile.
//!
//! The profile comes with a command and goes back with an answer, so a worker neither allocates nor frees it. What the stages are
//! and how their time is summed up is not here ([`crate::profile`]).

use super::capture::Tap;
use super::clock::Clock;
use super::mailbox::Answer;
use super::user::User;
use super::{Port, Worker};
use crate::port::PortCounters;
use crate::profile::Off;
use crate::profile::sheet::{Moved, Sheet};
use crate::time::Now;

/// What a worker's turns are timed on.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Where its time went.
    pub sheet: Sheet,
    /// What its port did meanwhile.
    pub port: PortCounters,
    /// Frames that it sent meanwhile without one that asked for them.
    pub emitted: u64,
    /// Its first turn has come.
    begun: bool,
}

impl Profile {
    /// An empty one, for one of `every` turns timed stage by stage.
    pub fn new(every: u32) -> Self {
        Self { sheet: Sheet::new(every), port: PortCounters::default(), emitted: 0, begun: false }
    }
}

impl<P: Port, C: Clock, U: User, T: Tap> Worker<P, C, U, T> {
    /// From the next turn on, turns are timed on `profile`.
    pub(super) fn begin_profile(&mut self, profile: Box<Profile>) {
        self.profile_ends = false;
        self.profile = Some(profile);
    }

    /// One turn, timed.
    #[inline(never)]
    pub(super) fn turn_on_profile(&mut self, now: Now) -> bool {
        let Some(mut profile) = self.profile.take() else { return false };
        if !profile.begun {
            profile.begun = true;
            profile.port = self.port.counters();
            profile.emitted = self.engine.counters().emitted;
            profile.sheet.begin(now);
        }
        let before = self.port.counters().rx_frames;
        let detailed = profile.sheet.turn_begins();
        let worked = if detailed { self.turn_timed(now, &profile.sheet.marks) } else { self.turn_timed(now, Off) };
        let PortCounters { rx_frames, tx_frames, tx_completed, .. } = self.port.counters();
        let moved = Moved { worked, received: rx_frames - before, given: tx_frames, completed: tx_completed };
        profile.sheet.turn_ends(detailed, &moved);
        // One that began in this turn takes the place of this one.
        if self.profile_ends || self.profile.is_some() {
            profile.sheet.end(now);
            profile.port = difference(&self.port.counters(), &profile.port);
            profile.emitted = self.engine.counters().emitted - profile.emitted;
            self.mailbox.answer(Answer::Profile(profile));
        } else {
            self.profile = Some(profile);
        }
        worked
    }
}

/// What was counted between two looks.
fn difference(after: &PortCounters, before: &PortCounters) -> PortCounters {
    let (mut words, earlier) = (after.to_array(), before.to_array());
    for (word, earlier) in words.iter_mut().zip(earlier) {
        *word -= earlier;
    }
    PortCounters::from_array(&words)
}
