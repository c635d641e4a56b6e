//! A worker's turn takes no lock, does no atomic read-modify-write and makes no system call, shown by looking at every
//! instruction that it executes: this program runs itself a second time and follows that process step by step (ptrace).
//!
//! What it proves: over the in-memory port, in the turns of connections of every kind, timed or not, with a capture or without one, with noise,
//! commands and a publication,
//! not one locked instruction was executed (any lock of any library would be one, free or not) and the kernel was not
//! called. What it does not: anything about a path that these turns did not take (tests/tidy.rs reads the sources for that), and
//! AF_XDP's rings, whose own calls to the kernel are the port's purpose.
//!
//! It knows x86-64 only; elsewhere, or where ptrace is forbidden, it says so and skips.

#[path = "common/peers.rs"]
mod peers;

/// Set for the second process.
const FOLLOWED: &str = "HANDFAST_TEST_FOLLOWED";

fn main() {
    if std::env::var_os(FOLLOWED).is_some() {
        followed::run();
        return;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let tests = vec![
        libtest_mimic::Trial::test("a_turn_executes_no_locked_instruction_and_no_system_call", follow::turns),
        libtest_mimic::Trial::test("locked_instructions_and_system_calls_are_recognised", follow::decoder),
    ];
    libtest_mimic::run(&arguments, tests).exit();
}

/// What is looked at. A stretch lies between two marks; what lies between two stretches runs freely.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod followed {
    use super::peers::{Cable, Conduct, Random, Setup, listeners};
    use handfast::engine::listeners::Listeners;
    use handfast::worker::capture::filter::Filter;
    use handfast::worker::capture::{Recorder, RecorderConfig, Tap, queue};
    use handfast::worker::mailbox::{Command, FlowQuery};
    use handfast::worker::profile::Profile;
    use nix::sys::signal::{Signal, raise};
    use std::io::{BufRead as _, Write as _};
    use std::sync::Mutex;

    const MILLI: u64 = 1_000_000;
    /// The way of each of the services, and two ways to end badly. Steps cost time: no more of them than there must be.
    const CONDUCTS: [Conduct; 5] =
        [Conduct::IsClosed, Conduct::Asks, Conduct::VanishesHalfOpen, Conduct::Uploads, Conduct::NeverCloses];

    /// Tells the other process that a stretch begins or ends.
    fn mark() {
        raise(Signal::SIGSTOP).expect("a signal to oneself");
    }

    fn stretch<T>(work: impl FnOnce() -> T) -> T {
        mark();
        let result = work();
        mark();
        result
    }

    /// Waits for the other process and then does, in this order: nothing, a thing with a lock, and turns of a worker.
    pub fn run() {
        println!("{}", std::process::id());
        std::io::stdout().flush().expect("a pipe");
        std::io::stdin().lock().read_line(&mut String::new()).expect("a pipe");
        stretch(|| ());
        let lock = Mutex::new(0);
        stretch(|| *lock.lock().expect("nobody else has it") += 1);
        let setup = Setup { flows: 5, ..Setup::default() };
        turns(Cable::new(&setup), false);
        turns(Cable::new(&setup), true);
        // The queue gets full on the way.
        let (producer, _consumer) = queue::pair(16, 64);
        let filter = Some(Filter::default());
        let config = RecorderConfig { filter, remember: 64, frame_bytes: 64, key: [1, 2], queue: producer };
        turns(Cable::tapped(&setup, Recorder::new(config)), false);
    }

    /// Turns in which the two commands and, if they are to be `timed`, that one have been taken.
    fn turns<T: Tap>(mut cable: Cable<T>, timed: bool) {
        let mut random = Random::new(5);
        cable.mailbox.send(Command::Flows(FlowQuery::new(None, 5, 3))).expect("an empty mailbox");
        cable.mailbox.send(Command::Listeners(Listeners::new(listeners()))).expect("room");
        if timed {
            cable.mailbox.send(Command::Profile(Box::new(Profile::new(1)))).expect("room");
        }
        for round in 0_usize..16 {
            if let Some(conduct) = CONDUCTS.get(round) {
                cable.open(*conduct);
                cable.send_noise(&mut random);
            }
            // A command is taken off crossbeam's queue by an atomic read-modify-write: it is not looked at.
            let is_free = round < 2 + usize::from(timed);
            cable.turn_with(
                90 * MILLI,
                |worker, now| {
                    if is_free { worker.turn(now) } else { stretch(|| worker.turn(now)) }
                },
            );
        }
        let counters = cable.worker.engine().counters();
        let ends = [counters.closed, counters.time_wait_expired, counters.fin_wait_2_timeouts];
        let sent = [counters.emitted, counters.requests, counters.syn_ack_retransmissions, counters.dropped_total()];
        assert!(ends.into_iter().chain(sent).all(|count| count > 0), "{counters:?}");
        cable.mailbox.stop();
        // Publishes twice, at its start and at its end.
        stretch(|| cable.worker.run());
    }
}

/// The one who looks.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod follow {
    use super::FOLLOWED;
    use libtest_mimic::Failed;
    use nix::errno::Errno;
    use nix::sys::ptrace;
    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;
    use std::collections::HashMap;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Child, Command, Stdio};

    /// What an instruction is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Kind {
        /// It has a LOCK prefix, or is an XCHG with memory, which locks without one.
        Locked,
        /// It enters the kernel.
        SystemCall,
        Other,
    }

    /// Reads one instruction as far as it takes to know its kind.
    fn kind(code: &[u8]) -> Kind {
        let is_prefix = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
        let prefixes = code.iter().take_while(|byte| is_prefix(byte)).count();
        if code[..prefixes].contains(&0xf0) {
            return Kind::Locked;
        }
        let rest = &code[prefixes..];
        // REX stands directly in front of the opcode.
        let rest = if rest.first().is_some_and(|byte| byte & 0xf0 == 0x40) { &rest[1..] } else { rest };
        match rest {
            [0x86 | 0x87, operands, ..] if operands >> 6 != 3 => Kind::Locked,
            [0x0f, 0x05 | 0x34, ..] | [0xcd, 0x80, ..] => Kind::SystemCall,
            _ => Kind::Other,
        }
    }

    /// What was executed in one stretch.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Executed {
        instructions: u64,
        locked: u64,
        system_calls: u64,
    }

    pub fn decoder() -> Result<(), Failed> {
        let cases: [(&[u8], Kind); 9] = [
            (&[0xf0, 0x48, 0x0f, 0xb1, 0x0f], Kind::Locked),
            (&[0x66, 0xf0, 0xff, 0x00], Kind::Locked),
            (&[0x48, 0x87, 0x07], Kind::Locked),
            (&[0x86, 0x47, 0x08], Kind::Locked),
            (&[0x48, 0x87, 0xc7], Kind::Other),
            (&[0x48, 0x89, 0xf0], Kind::Other),
            (&[0xb8, 0xf0, 0x87, 0x07, 0x00], Kind::Other),
            (&[0x0f, 0x05], Kind::SystemCall),
            (&[0xf3, 0x0f, 0x1e, 0xfa], Kind::Other),
        ];
        for (code, expected) in cases {
            assert_eq!(kind(code), expected, "{code:x?}");
        }
        Ok(())
    }

    #[expect(clippy::zombie_processes, reason = "following it to its end is waiting for it")]
    pub fn turns() -> Result<(), Failed> {
        let mut child = start();
        let pid = Pid::from_raw(child.id().try_into().expect("a process id"));
        if let Err(errno) = ptrace::seize(pid, ptrace::Options::empty()) {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
            assert!(std::env::var_os("HANDFAST_REQUIRE_ROOT_TESTS").is_none(), "ptrace: {errno}");
            eprintln!("skipped: a process may not be followed here (ptrace: {errno})");
            return Ok(());
        }
        child.stdin.take().expect("piped").write_all(b"go\n").expect("a pipe");
        let (stretches, status) = stretches(pid);
        assert_eq!(status, 0, "what was followed failed: see above");

        let [nothing, lock, turns @ ..] = &stretches[..] else { panic!("no stretches: {stretches:?}") };
        assert!(nothing.locked == 0 && lock.locked >= 2, "the looking itself is wrong: {nothing:?}, {lock:?}");
        assert_eq!(turns.len(), 44, "14 turns and a run, 13 and a run timed, and 14 and a run with a capture");
        let wrong = turns.iter().position(|turn| turn.locked > 0 || turn.system_calls != nothing.system_calls);
        assert_eq!(wrong.map(|at| (at, turns[at])), None, "beside the marks' own {nothing:?}");
        let instructions: u64 = turns.iter().map(|turn| turn.instructions - nothing.instructions).sum();
        assert!(instructions > 100_000, "so few instructions are no turns: {instructions}");
        Ok(())
    }

    /// This program once more, stopped until it reads a line.
    fn start() -> Child {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.env(FOLLOWED, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program once more");
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut String::new()).expect("it says that it is there");
        child
    }

    /// Follows `pid` to its end, step by step where it is in a stretch. Returns its exit status, too.
    fn stretches(pid: Pid) -> (Vec<Executed>, i32) {
        let mut kinds: HashMap<u64, Kind> = HashMap::new();
        let mut stretches: Vec<Executed> = Vec::new();
        let mut in_stretch = false;
        loop {
            match waitpid(pid, None).expect("our own child") {
                WaitStatus::Stopped(_, Signal::SIGSTOP) => {
                    in_stretch = !in_stretch;
                    if in_stretch {
                        stretches.push(Executed::default());
                    }
                }
                WaitStatus::Stopped(_, Signal::SIGTRAP) if in_stretch => {
                    let at = ptrace::getregs(pid).expect("a stopped process").rip;
                    let kind = *kinds.entry(at).or_insert_with(|| kind(&code(pid, at).expect("it executes this")));
                    let executed = stretches.last_mut().expect("in a stretch");
                    executed.instructions += 1;
                    executed.locked += u64::from(kind == Kind::Locked);
                    executed.system_calls += u64::from(kind == Kind::SystemCall);
                }
                WaitStatus::Exited(_, status) => return (stretches, status),
                WaitStatus::Stopped(_, signal) => {
                    ptrace::cont(pid, signal).expect("a stopped process");
                    continue;
                }
                other => panic!("a state that was not asked for: {other:?}"),
            }
            let go_on = if in_stretch { ptrace::step(pid, None) } else { ptrace::cont(pid, None) };
            go_on.expect("a stopped process");
        }
    }

    /// The bytes at `at`: enough for the longest instruction.
    fn code(pid: Pid, at: u64) -> Result<Vec<u8>, Errno> {
        let word = |at: u64| ptrace::read(pid, at as ptrace::AddressType).map(i64::to_ne_bytes);
        // The second word may lie behind the last page, and then no instruction reaches into it.
        Ok([word(at)?, word(at + 8).unwrap_or_default()].concat())
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod followed {
    pub fn run() {}
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod follow {
    use libtest_mimic::Failed;

    pub fn turns() -> Result<(), Failed> {
        eprintln!("skipped: only the instructions of x86-64 are known");
        Ok(())
    }

    pub fn decoder() -> Result<(), Failed> {
        Ok(())
    }
}
