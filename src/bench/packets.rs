//! The packet ceilings of a link: `handfast lab packets send`, which sends frames of 64 bytes as fast as it goes,
//! `handfast lab packets drop`, which counts and drops what arrives, and `handfast lab packets answer`, which turns SYNs round
//! in an XDP program. With `handfast lab reflect` at the other end the first two measure sending, receiving and turning round;
//! the third is what any defence against a flood of SYNs can be compared with.
//!
//! There are two senders. `afxdp` is the port that `serve` and `blast` use, so it is what they can reach. `live` has the
//! kernel send copies of one frame (BPF_PROG_RUN, since Linux 5.18): it costs the sender less than the receiver has to do, and so
//! finds the receiver's limit.

mod program;

use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use core_affinity::CoreId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::stop::{StopError, stop_on_signals, wait_for_the_end};
use crate::blast::next_hop::parse_mac;
use crate::control::config::Config;
use crate::control::link::Link;
use crate::control::preflight;
use crate::control::problem::Problems;
use crate::control::supervisor::xsk_config;
use crate::control::values::{Millis, XdpMode};
use crate::observe::json;
use crate::port::Port;
use crate::port::xsk::{XskConfig, XskError, XskPort};
use crate::wire::ether::{Mac, VlanTags};
use crate::wire::reply::{Addressing, Reply, write};
use crate::wire::segment::Control;
use crate::wire::tuple::FourTuple;
use program::{Counting, Injecting};

/// Bytes of a frame of 64 on the wire, without the four of its check sequence.
const FRAME_LEN: usize = 60;
/// Frames queued between two calls of the kernel.
const BATCH: usize = 256;
/// Copies a millisecond that the kernel is expected to send. Each call costs it some 25 ms before or after, in which nothing is
/// sent, so the first call is to take nearly all of the time.
const EXPECTED_PER_MS: u64 = 2_000;
/// The fewest copies of a call.
const FEWEST: u32 = 10_000;
/// The source address and port that frames come from.
const SOURCE: &str = "198.18.1.1:5000";

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sender {
    /// An AF_XDP socket
    Afxdp,
    /// The kernel, with copies of one frame
    Live,
}

/// `handfast lab packets`
#[derive(Clone, Debug, Args)]
pub struct PacketsArgs {
    #[command(subcommand)]
    command: PacketsCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum PacketsCommand {
    /// Send TCP frames of 64 bytes as fast as it goes
    Send(SendArgs),
    /// Count and drop everything that arrives
    Drop(DropArgs),
    /// Turn every SYN over IPv4 for a port round as its SYN-ACK, inside the XDP program
    Answer(AnswerArgs),
}

/// `handfast lab packets send`
#[derive(Clone, Debug, Args)]
struct SendArgs {
    /// The interface that frames leave through
    #[arg(short, long, value_name = "IFACE", value_parser = crate::control::settings::interface_name)]
    interface: String,
    /// Where frames go
    #[arg(long, value_name = "ADDR:PORT", default_value = "198.18.0.1:7000")]
    target: SocketAddrV4,
    /// The MAC address that they go to
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    dst_mac: Mac,
    /// Who sends them
    #[arg(long, value_enum, default_value = "afxdp")]
    sender: Sender,
    /// The core to send from
    #[arg(long, value_name = "N", default_value_t = 0)]
    core: usize,
    /// How long
    #[arg(long, value_name = "TIME", default_value = "1s")]
    duration: Millis,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `handfast lab packets drop`
#[derive(Clone, Debug, Args)]
struct DropArgs {
    /// The interface; its XDP program is ours meanwhile
    #[arg(short, long, value_name = "IFACE", value_parser = crate::control::settings::interface_name)]
    interface: String,
    /// Where the program runs: auto, native, generic
    #[arg(long, value_name = "MODE", default_value = "auto")]
    xdp_mode: XdpMode,
    /// End after this time
    #[arg(long, value_name = "TIME")]
    duration: Option<Millis>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `handfast lab packets answer`
#[derive(Clone, Debug, Args)]
struct AnswerArgs {
    /// The port
    #[arg(long, value_name = "PORT", default_value_t = 7000, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    #[command(flatten)]
    on: DropArgs,
}

/// Why it failed.
#[derive(Debug, Error)]
pub enum PacketsError {
    /// The machine cannot do it.
    #[error(transparent)]
    Machine(Problems),
    /// The interface's programs.
    #[error("interface {interface}: {cause}")]
    Program {
        /// The interface.
        interface: String,
        /// What was tried, and why it failed.
        cause: String,
    },
    /// An AF_XDP port.
    #[error(transparent)]
    Port(#[from] XskError),
    /// The thread could not be pinned.
    #[error(
        "cannot pin the sender to core {0}; give one that this process may run on (taskset -p $$ shows them) with --core"
    )]
    Pin(usize),
    /// No signals.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// Standard output took no result.
    #[error("standard output: cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Who sent.
    pub sender: Sender,
    /// Frames handed to the link.
    pub sent: u64,
    /// How long, in seconds.
    pub duration_s: f64,
}

/// What was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// Frames that arrived.
    pub received: u64,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// SYNs that were turned round.
    pub answered: u64,
}

/// Does what `handfast lab packets` was asked for.
///
/// # Errors
///
/// [`PacketsError`].
pub fn run(args: &PacketsArgs) -> Result<(), PacketsError> {
    let stop = stop_on_signals()?;
    let text = match &args.command {
        PacketsCommand::Send(args) => {
            let sent = send(args, &stop)?;
            let mpps = frames_f64(sent.sent) / sent.duration_s / 1e6;
            let text = format!("{} frames sent in {:.2} s: {mpps:.3} Mpps\n", sent.sent, sent.duration_s);
            if args.json { json::line(&sent) + "\n" } else { text }
        }
        PacketsCommand::Drop(args) => {
            let dropped = drop_all(args, &stop)?;
            let text = format!("{} frames arrived\n", dropped.received);
            if args.json { json::line(&dropped) + "\n" } else { text }
        }
        PacketsCommand::Answer(args) => {
            let answered = answer_all(args, &stop)?;
            let text = format!("{} SYNs answered\n", answered.answered);
            if args.on.json { json::line(&answered) + "\n" } else { text }
        }
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "2^53 frames take years")]
fn frames_f64(frames: u64) -> f64 {
    frames as f64
}

/// The options that an interface is judged by.
fn config(interface: &str, xdp_mode: XdpMode) -> Config {
    Config { interface: interface.to_owned(), flows: 1, xdp_mode, queues: Some(vec![0]), ..Config::default() }
}

/// Drops until `stop` is set or the duration is over.
fn drop_all(args: &DropArgs, stop: &AtomicBool) -> Result<Dropped, PacketsError> {
    let received = count_all(args, stop, "drops everything", Counting::dropping)?;
    Ok(Dropped { received })
}

/// Answers until `stop` is set or the duration is over.
fn answer_all(args: &AnswerArgs, stop: &AtomicBool) -> Result<Answered, PacketsError> {
    let port = args.port;
    let what = format!("answers SYNs for port {port}");
    let answered = count_all(&args.on, stop, &what, |ifindex, mode| Counting::answering(ifindex, mode, port))?;
    Ok(Answered { answered })
}

/// Has a program count until `stop` is set or the duration is over.
fn count_all(
    args: &DropArgs,
    stop: &AtomicBool,
    what: &str,
    attach: impl FnOnce(u32, XdpMode) -> Result<Counting, String>,
) -> Result<u64, PacketsError> {
    let preflight = preflight::check(&config(&args.interface, args.xdp_mode)).map_err(PacketsError::Machine)?;
    let failed = |cause| PacketsError::Program { interface: args.interface.clone(), cause };
    let counting = attach(preflight.link.index, args.xdp_mode).map_err(failed)?;
    eprintln!("handfast: ready: {} {what}", args.interface);
    wait_for_the_end(stop, args.duration, || false);
    counting.counted().map_err(failed)
}

/// Sends until `stop` is set or the duration is over.
fn send(args: &SendArgs, stop: &AtomicBool) -> Result<Sent, PacketsError> {
    if !core_affinity::set_for_current(CoreId { id: args.core }) {
        return Err(PacketsError::Pin(args.core));
    }
    let (sent, duration) = match args.sender {
        Sender::Afxdp => send_over_afxdp(args, stop)?,
        Sender::Live => send_live(args, stop)?,
    };
    Ok(Sent { sender: args.sender, sent, duration_s: duration.as_secs_f64() })
}

/// Sends from an AF_XDP socket.
fn send_over_afxdp(args: &SendArgs, stop: &AtomicBool) -> Result<(u64, Duration), PacketsError> {
    let config = config(&args.interface, XdpMode::Auto);
    let preflight = preflight::check(&config).map_err(PacketsError::Machine)?;
    let frame = frame(args, preflight.mac);
    // Nothing is received: nearly all frames are to send.
    let mut port = XskPort::open(&XskConfig { fill_ring: 64, ..xsk_config(&config, &preflight, 0)? })?;
    while_time(args, stop, || Ok(send_batch(&mut port, &frame)))
}

/// Has the kernel send. The interface may have an XDP program for what comes back.
fn send_live(args: &SendArgs, stop: &AtomicBool) -> Result<(u64, Duration), PacketsError> {
    let failed = |cause| PacketsError::Program { interface: args.interface.clone(), cause };
    let link = Link::query(&args.interface).map_err(|cause| failed(cause.to_string()))?;
    let link = link.ok_or_else(|| failed("does not exist in this network namespace".to_owned()))?;
    let frame = frame(args, link.mac.unwrap_or_default());
    let injecting = Injecting::out_of(link.index).map_err(failed)?;
    let copies = |count: u64| u32::try_from(count).unwrap_or(u32::MAX).clamp(FEWEST, i32::MAX.unsigned_abs());
    let mut repeat = copies(args.duration.0 * EXPECTED_PER_MS);
    let start = Instant::now();
    while_time(args, stop, || {
        let began = Instant::now();
        injecting.send(&frame, repeat).map_err(|cause| {
            let remedy = "it takes Linux 5.18, and --sender afxdp does not need it";
            failed(format!("sending with BPF_PROG_RUN: {cause}; {remedy}"))
        })?;
        let sent = u64::from(repeat);
        let left = Duration::from_millis(args.duration.0).saturating_sub(start.elapsed());
        let per_ms = sent / u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        repeat = copies(per_ms * u64::try_from(left.as_millis()).unwrap_or(0));
        Ok(sent)
    })
}

/// Calls `some` until the time that was asked for is over or `stop` is set. Returns the sum of its results, and the time.
fn while_time(
    args: &SendArgs,
    stop: &AtomicBool,
    mut some: impl FnMut() -> Result<u64, PacketsError>,
) -> Result<(u64, Duration), PacketsError> {
    let (start, most) = (Instant::now(), Duration::from_millis(args.duration.0));
    let mut sum = 0;
    loop {
        sum += some()?;
        let elapsed = start.elapsed();
        if elapsed >= most || stop.load(Ordering::Relaxed) {
            return Ok((sum, elapsed));
        }
    }
}

/// Sends up to a batch. Returns how many frames went into the TX ring.
fn send_batch<P: Port>(port: &mut P, frame: &[u8]) -> u64 {
    let before = port.counters().tx_frames;
    for _ in 0..BATCH {
        let Some(mut free) = port.take_free() else { break };
        port.bytes_mut(&mut free)[..frame.len()].copy_from_slice(frame);
        port.transmit(free, frame.len());
    }
    port.flush();
    port.counters().tx_frames - before
}

/// The frame: an ACK to the target from an address of the client's pool, padded to the least length.
fn frame(args: &SendArgs, mac: Mac) -> [u8; FRAME_LEN] {
    let source = SOURCE.parse().expect("an address and port");
    let tuple = FourTuple::new(source, args.target.into());
    let to = Addressing { dst_mac: args.dst_mac, src_mac: mac, tags: VlanTags::default(), tuple };
    let reply = Reply { control: Control::ACK, ..Reply::default() };
    let mut room = [0; 128];
    write(&mut room, &to, &reply, |_| {});
    let mut frame = [0; FRAME_LEN];
    frame.copy_from_slice(&room[..FRAME_LEN]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::memory::{MemoryConfig, MemoryPort};
    use crate::wire::parse::{PartialChecksums, parse};

    fn args() -> SendArgs {
        SendArgs {
            interface: "hf-client".into(),
            target: "198.18.0.1:7000".parse().unwrap(),
            dst_mac: [2, 0, 0, 0, 0, 1],
            sender: Sender::Afxdp,
            core: 0,
            duration: Millis(1),
            json: false,
        }
    }

    #[test]
    fn the_frame_is_legal_and_of_the_least_length() {
        let segment = parse(&frame(&args(), [2, 0, 0, 0, 0, 2]), PartialChecksums::Refuse).unwrap();
        assert_eq!((segment.control, segment.tuple.local_port), (Control::ACK, 7000));
    }

    #[test]
    fn a_batch_is_counted_as_it_goes_into_the_ring() {
        let mut port = MemoryPort::new(&MemoryConfig { fill_ring: 64, ..MemoryConfig::default() });
        let frame = frame(&args(), [2, 0, 0, 0, 0, 2]);
        assert_eq!(send_batch(&mut port, &frame), BATCH as u64);
        assert_eq!(port.take_sent(usize::MAX, |bytes| assert_eq!(bytes, frame)), BATCH);
    }
}
