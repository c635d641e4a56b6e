//! The result of a flood, for people (its text form) and programs (its JSON form).

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::contract::Count;
use super::flooder::Tally;
use crate::blast::report::float;

/// The result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodReport {
    /// Version of this program.
    pub version: String,
    /// The interface that frames left through.
    pub interface: String,
    /// What was flooded.
    pub target: SocketAddr,
    /// With what.
    pub kind: String,
    /// Who sent: `xdp` or `afxdp`.
    pub engine: String,
    /// The mode of the program that counted answers.
    pub xdp_mode: String,
    /// From where.
    pub source: String,
    /// From which ports: the lowest and the highest.
    pub ports: [u16; 2],
    /// In which VLAN.
    pub vlan: Option<u16>,
    /// True if SYNs had the options of a Linux host.
    pub options: bool,
    /// Frames a second that were asked for.
    pub rate: Option<u64>,
    /// The length of each frame, without the check sequence of Ethernet.
    pub frame_bytes: u32,
    /// How long was sent, in seconds.
    pub duration_s: f64,
    /// Frames handed to the interface.
    pub frames_sent: u64,
    /// The same a second.
    pub frames_per_second: f64,
    /// What came back, by kind.
    pub replies: Replies,
    /// Frames that a SYN-ACK or RST came for, each counted once.
    pub answered: u64,
    /// The same a second.
    pub answered_per_second: f64,
    /// SYN-ACKs and RSTs for a frame that had been answered before.
    pub repeated: u64,
    /// Frames sent without such an answer.
    pub lost: u64,
    /// Frames sent more than 1 ms after they were due; 0 without a rate.
    pub late: u64,
    /// Frames that the interface did not take.
    pub tx_errors: u64,
    /// What was so far, every second.
    pub series: Vec<Second>,
}

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies {
    /// SYN-ACKs, repeated ones too.
    pub syn_ack: u64,
    /// RSTs.
    pub rst: u64,
    /// ACKs alone, as RFC 5961 has them sent. They do not say which frame they are for.
    pub challenge_ack: u64,
    /// Any other segment, and what is not TCP, such as ICMP.
    pub other: u64,
}

/// What was sent and answered by then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the start.
    pub t_s: f64,
    /// Frames sent.
    pub sent: u64,
    /// Frames answered.
    pub answered: u64,
}

impl Replies {
    /// The replies that were counted.
    pub fn of(tally: &Tally) -> Self {
        Self {
            syn_ack: tally.get(Count::SynAck),
            rst: tally.get(Count::Rst),
            challenge_ack: tally.get(Count::ChallengeAck),
            other: tally.get(Count::Other),
        }
    }
}

impl FloodReport {
    /// The same with what was counted over `duration_s` seconds.
    #[must_use]
    pub fn with(self, tally: &Tally, duration_s: f64) -> Self {
        let per_second = |count: u64| if duration_s > 0.0 { float(count) / duration_s } else { 0.0 };
        let answered = tally.get(Count::Answered);
        Self {
            duration_s,
            frames_sent: tally.sent,
            frames_per_second: per_second(tally.sent),
            replies: Replies::of(tally),
            answered,
            answered_per_second: per_second(answered),
            repeated: tally.get(Count::Repeated),
            lost: tally.sent.saturating_sub(answered),
            ..self
        }
    }
}

impl fmt::Display for FloodReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, kind, engine, xdp_mode, source, ports: [low, high], .. } = self;
        let Replies { syn_ack, rst, challenge_ack, other } = self.replies;
        writeln!(f, "flood of {target}: {kind} from {source} ports {low}-{high}, {} bytes each", self.frame_bytes)?;
        writeln!(f, "through {}, engine {engine}, answers counted in {xdp_mode} mode", self.interface)?;
        write!(
            f,
            "sent      {:>12}  {:>10.0}/s over {:.2} s",
            self.frames_sent, self.frames_per_second, self.duration_s
        )?;
        match self.rate {
            Some(rate) => writeln!(f, ", {rate}/s asked for, {} late", self.late)?,
            None => writeln!(f)?,
        }
        writeln!(
            f,
            "answered  {:>12}  {:>10.0}/s, and {} answers again",
            self.answered, self.answered_per_second, self.repeated
        )?;
        writeln!(f, "lost      {:>12}  without an answer", self.lost)?;
        writeln!(f, "replies   {syn_ack} SYN-ACK, {rst} RST, {challenge_ack} ACK, {other} other")?;
        if self.tx_errors > 0 {
            writeln!(f, "          {} frames were not taken by the interface", self.tx_errors)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::flood::contract::Counters;

    /// A result before anything was counted.
    pub fn empty() -> FloodReport {
        FloodReport {
            version: "0.1.0".into(),
            interface: "hf-client".into(),
            target: "198.18.0.1:80".parse().unwrap(),
            kind: "syn".into(),
            engine: "xdp".into(),
            xdp_mode: "native".into(),
            source: "198.19.0.0/16".into(),
            ports: [1024, 65_535],
            vlan: None,
            options: false,
            rate: Some(1_000),
            frame_bytes: 58,
            duration_s: 0.0,
            frames_sent: 0,
            frames_per_second: 0.0,
            replies: Replies::default(),
            answered: 0,
            answered_per_second: 0.0,
            repeated: 0,
            lost: 0,
            late: 0,
            tx_errors: 0,
            series: Vec::new(),
        }
    }

    fn tally() -> Tally {
        let words: [u64; 7] = [95, 3, 2, 1, 90, 8, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Tally { sent: 100, counters: Counters::sum([&bytes[..]].into_iter()) }
    }

    #[test]
    fn what_has_no_answer_is_lost() {
        let report = empty().with(&tally(), 2.0);
        assert_eq!((report.frames_sent, report.answered, report.repeated, report.lost), (100, 90, 8, 10));
        assert_eq!((report.frames_per_second, report.answered_per_second), (50.0, 45.0));
        assert_eq!(report.replies, Replies { syn_ack: 95, rst: 3, challenge_ack: 2, other: 1 });
        assert!(empty().with(&tally(), 0.0).frames_per_second.abs() < 1e-9);
    }

    #[test]
    fn the_result_reads_back_from_its_json_and_is_said_in_words() {
        let report = empty().with(&tally(), 2.0);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<FloodReport>(&text).unwrap(), report);
        let words = report.to_string();
        assert!(words.contains("95 SYN-ACK, 3 RST, 2 ACK, 1 other") && words.contains("1000/s asked for"), "{words}");
    }
}
