//! The command line: what can be asked for, what is printed where, and the exit status.
//!
//! The flags of `serve` are not spelled out here: they follow from `control::settings`, as the keys of the configuration
//! file do. Results go to standard output, everything else to standard error.

#![forbid(unsafe_code)]

use crate::bench::compare::{BenchArgs, BenchError, bench};
use crate::bench::defence::{self, DefenceArgs};
use crate::bench::lab;
use crate::blast::args::BlastArgs;
use crate::blast::command::{BlastError, blast};
use crate::control::client::{ClientError, call};
use crate::control::config::{Config, Source, default_control};
use crate::control::doctor::{self, DoctorArgs, DoctorError};
use crate::control::listen::{Listen, ServiceSpec};
use crate::control::logs::{self, LogFormat};
use crate::control::preflight;
use crate::control::problem::Problems;
use crate::control::profile::{self, ProfileArgs, ProfileError};
use crate::control::protocol::{
    DEFAULT_FLOWS_LIMIT, DrainRequest, FlowsRequest, MAX_DRAIN_TIMEOUT_MS, MAX_FLOWS_LIMIT, MAX_WHY_SECONDS,
    ReloadRequest, Request, STATES, WhyRequest,
};
use crate::control::settings::{KEYS, Kind, Origin, Settings, Table, interface_name};
use crate::control::supervisor::{self, ServeError};
use crate::control::top::{self, TopError};
use crate::control::values::{Count, Millis};
use crate::flood::args::FloodArgs;
use crate::flood::command::flood;
use crate::flood::error::FloodError;
use crate::observe::report::{Drained, EndedBy, Flows, Reloaded};
use crate::observe::{json, text, why};
use crate::steer::Prefix;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand};
use serde::Serialize;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Accepts, holds and closes TCP connections at the packet rate of the link, over AF_XDP.
#[derive(Debug, Parser)]
#[command(name = "handfast", version, after_help = EXIT_STATUS)]
struct Cli {
    /// How log lines on standard error look
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value = "human", help_heading = LOGGING)]
    log_format: LogFormat,
    /// Log more; twice for everything. RUST_LOG comes before this
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = LOGGING)]
    verbose: u8,
    /// Log warnings and errors only; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = LOGGING)]
    quiet: u8,
    #[command(subcommand)]
    command: Commands,
}

const LOGGING: &str = "Logging";

const EXIT_STATUS: &str = "\
Results go to standard output, logs and progress to standard error.
Exit status: 0 success, 1 failed while running, 2 wrong usage or configuration.";

const FLOOD_EXAMPLES: &str = "\
A flood leaves through a lab's interface only, unless the target is named twice.

Examples:
  ip netns exec handfast-client handfast flood -i hf-client --target 198.18.0.1:80 --rate 100k
  ip netns exec handfast-client handfast flood -i hf-client --target [2001:2::1]:80 --kind ack --json

Exit status: 0 success, 1 failed while running (also if the rate was not held), 2 wrong usage or refused.";

const SERVE_EXAMPLES: &str = "\
Every flag under Serving and TCP is a key of the configuration file, too; those under TCP stand
in its table [tcp], which has further, rarely needed keys. See docs/handfast.toml.

Times are whole numbers with a unit of ms, s, m, h or d; counts may end in k, M or G.

Examples:
  handfast serve -i eth0 --listen 80=http
  handfast serve -i eth0 --listen 10.0.0.1:80=http:/srv/index.html --listen 7000=discard
  handfast serve -i eth0 --listen [2001:db8::1]:7=close --queues 0-3 --cores 2-5 --flows 2M --busy
  handfast serve -i veth0 --listen 80=http --duration 10s --json --config /etc/handfast.toml

Exit status: 0 success, 1 failed while running, 2 wrong usage or configuration.";

const RELOAD_EXAMPLES: &str = "\
Listeners and the limits and times of the TCP change; what else differs in the file is named and
needs a restart. A wrong configuration changes nothing.

Examples:
  handfast reload -i eth0
  handfast reload -i eth0 --listen 80=close --listen 81=http:/srv/index.html";

const WHY_EXAMPLES: &str = "\
It compares what the server counted now and then. A server that has run for less is looked at from
its start on. docs/operations.md lists the causes.

Examples:
  handfast why -i eth0
  handfast why -i eth0 --last 60s --json";

const PROFILE_EXAMPLES: &str = "\
The server times its turns for so long and then no more, also if this command is ended early. One
profile at a time. docs/operations.md explains the stages.

Examples:
  handfast profile -i eth0
  handfast profile -i eth0 --duration 1s --every 1 --json profile.json --html profile.html
  handfast profile -i eth0 --folded profile.folded && inferno-flamegraph profile.folded > profile.svg

Exit status: 0 success, 1 failed while running, 2 wrong usage.";

const BLAST_EXAMPLES: &str = "\
Without --rate and --concurrency, 512 connections are in progress at any time, as fast as it goes.

Examples:
  handfast blast -i eth0 --target 10.0.0.1:80 --rate 50k --duration 30s
  handfast blast -i eth0 --target 10.0.0.1:80 --request 'GET /' --connections 100k --json -
  handfast blast -i eth0 --target 10.0.0.1:7000 --source 10.0.9.0/24 --concurrency 1M --ramp 10s
  handfast blast -i eth0 --target 10.0.0.1:7000 --search --html search.html

Exit status: 0 success, 1 failed while running (also if a connection failed, or the rate was not held),
2 wrong usage or configuration.";

#[derive(Debug, Subcommand)]
enum Commands {
    /// Serve an interface: accept, hold and close TCP connections
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Show what a running server counts and holds, and whether its books balance
    Stats {
        #[command(flatten)]
        server: ServerArgs,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List connections of a running server
    Flows {
        #[command(flatten)]
        server: ServerArgs,
        /// List this many at most
        #[arg(long, value_name = "N", value_parser = flows_limit, default_value_t = DEFAULT_FLOWS_LIMIT)]
        limit: u32,
        /// List only those in this state
        #[arg(long, value_name = "NAME", ignore_case = true, value_parser = PossibleValuesParser::new(STATES))]
        state: Option<String>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Have a running server read its configuration again and take over its listeners and limits
    #[command(after_help = RELOAD_EXAMPLES)]
    Reload {
        #[command(flatten)]
        server: ServerArgs,
        /// Read this file instead of the one the server was started with; its listeners and prefixes come before the server's
        /// flags
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Listen on this, instead of what the file says; may be repeated
        #[arg(long, value_name = "[ADDR:]PORT=SERVICE")]
        listen: Vec<Listen>,
        /// Deny these source prefixes, instead of those that were denied; may be repeated
        #[arg(long, value_name = "CIDR")]
        deny: Vec<Prefix>,
        /// Allow these source prefixes, instead of those that were allowed; may be repeated
        #[arg(long, value_name = "CIDR")]
        allow: Vec<Prefix>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Have a running server accept nothing more, wait for its connections to end, and exit
    Drain {
        #[command(flatten)]
        server: ServerArgs,
        /// Wait this long at most; exit status 1 if connections are left then
        #[arg(long, value_name = "TIME", value_parser = drain_timeout, default_value = "30s")]
        timeout: Millis,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say why connections to a running server fail or are slow: causes, likeliest first, with evidence and remedy
    #[command(after_help = WHY_EXAMPLES)]
    Why {
        #[command(flatten)]
        server: ServerArgs,
        /// Look at this long a time before now
        #[arg(long, value_name = "TIME", value_parser = why_seconds, default_value = "10s")]
        last: u64,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say where the time of a running server's workers goes: for a while, by stage and frame, beside what links have for a frame
    #[command(after_help = PROFILE_EXAMPLES)]
    Profile {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        args: ProfileArgs,
    },
    /// Show live what a running server does: rates, states, queues, drops, listeners, top talkers
    Top {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Open connections to a target, at a rate or so many at once, and measure it
    #[command(after_help = BLAST_EXAMPLES)]
    Blast(BlastArgs),
    /// Send forged segments to a target in a lab, to see how it stands them, and count what comes back
    #[command(after_help = FLOOD_EXAMPLES)]
    Flood(FloodArgs),
    /// Say whether this machine can serve, what would make it serve worse than it could, and what mends that
    Doctor(DoctorArgs),
    /// Compare the kernel's listener, handfast and the raw AF_XDP ceiling in a lab that is made for it
    Bench(BenchLine),
    /// Make a lab of two network namespaces joined by a veth pair, and drive responders in it with kernel sockets
    Lab(lab::LabArgs),
}

/// `handfast bench`, and `handfast bench flood`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
struct BenchLine {
    #[command(flatten)]
    args: BenchArgs,
    #[command(subcommand)]
    command: Option<BenchCommand>,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Have honest connections opened while forged SYNs arrive, more at each step, at the kernel's listener and at handfast
    Flood(DefenceArgs),
}

/// Which running server is meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ServerArgs {
    /// The server of this interface, at its default control socket
    #[arg(short, long, value_name = "IFACE", value_parser = interface_name)]
    interface: Option<String>,
    /// The server whose control socket this is
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

impl ServerArgs {
    /// As people name it.
    fn name(&self) -> String {
        self.interface.clone().unwrap_or_else(|| self.path().display().to_string())
    }

    fn path(&self) -> PathBuf {
        let default = || default_control(self.interface.as_deref().unwrap_or_default());
        self.control.clone().unwrap_or_else(default)
    }
}

/// The flags of `serve`, unread; made from the list of settings.
#[derive(Debug)]
struct ServeArgs(Source);

impl Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        let defaults = Config::default();
        let file = Arg::new("config").long("config").value_name("FILE").value_parser(clap::value_parser!(PathBuf));
        let command = command.arg(file.help("Configuration file (TOML); flags come before it"));
        KEYS.iter().filter(|key| key.flag).fold(command, |command, key| {
            let heading = match key.table {
                Table::Top => "Serving",
                Table::Tcp => "TCP",
                Table::Steering => "Steering",
            };
            let default = key.show(&defaults);
            let shown = !default.is_empty() && key.kind != Kind::Switch;
            let help = if shown { format!("{} [default: {default}]", key.help) } else { key.help.to_owned() };
            let arg = Arg::new(key.name).long(key.name).help(help).help_heading(heading).allow_negative_numbers(true);
            let arg = if key.name == "interface" { arg.short('i') } else { arg };
            command.arg(match key.kind {
                Kind::Switch => {
                    arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("true|false")
                }
                Kind::List => arg.value_name(key.value).action(ArgAction::Append),
                Kind::Text | Kind::Number | Kind::Time | Kind::Numbers => arg.value_name(key.value),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Settings::default();
        for key in KEYS.iter().filter(|key| key.flag) {
            for text in matches.get_many::<String>(key.name).into_iter().flatten() {
                flags.give(key, text, Origin::Flag);
            }
        }
        Ok(Self(Source { flags, file: matches.get_one::<PathBuf>("config").cloned() }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flows_limit(text: &str) -> Result<u32, String> {
    let Count(limit) = text.parse().map_err(|error| format!("{error}"))?;
    let limit = u32::try_from(limit).ok().filter(|limit| (1..=MAX_FLOWS_LIMIT).contains(limit));
    limit.ok_or_else(|| format!("must be from 1 to {MAX_FLOWS_LIMIT}"))
}

fn drain_timeout(text: &str) -> Result<Millis, String> {
    let timeout: Millis = text.parse().map_err(|error| format!("{error}"))?;
    let most = Millis(MAX_DRAIN_TIMEOUT_MS);
    if timeout <= most { Ok(timeout) } else { Err(format!("must be at most {most}")) }
}

fn why_seconds(text: &str) -> Result<u64, String> {
    let Millis(millis) = text.parse().map_err(|error| format!("{error}"))?;
    let whole =
        (millis % 1_000 == 0).then_some(millis / 1_000).filter(|seconds| (1..=MAX_WHY_SECONDS).contains(seconds));
    whole.ok_or_else(|| format!("must be from 1s to {MAX_WHY_SECONDS}s, in whole seconds"))
}

/// Why a command failed, by exit status.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Wrong configuration: exit status 2.
    #[error(transparent)]
    Configuration(Problems),
    /// The machine cannot do it: exit status 1.
    #[error(transparent)]
    Machine(Problems),
    /// A running server could not be asked: exit status 1.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Standard output took no result: exit status 1.
    #[error("standard output: cannot be written: {0}")]
    Output(#[from] io::Error),
    /// The path in an argument has no absolute form: exit status 1.
    #[error("{}: has no absolute path: {cause}", path.display())]
    Path { path: PathBuf, cause: io::Error },
    /// Connections were left when the time to drain was over: exit status 1. Said on standard output already.
    #[error("{0} connections are left; ask again with a longer --timeout, or stop the server")]
    NotDrained(u64),
    /// Serving could not start: exit status 1.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A worker ended by itself: exit status 1.
    #[error("serving {0} ended early, because a worker did; the log says why")]
    Worker(String),
    /// A running server could not be profiled: exit status 1.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The live view: the status is its.
    #[error(transparent)]
    Top(#[from] TopError),
    /// The load generator: the status is its.
    #[error(transparent)]
    Blast(#[from] BlastError),
    /// The flood: the status is its.
    #[error(transparent)]
    Flood(#[from] FloodError),
    /// The machine cannot serve, or that could not be said: exit status 1.
    #[error(transparent)]
    Doctor(#[from] DoctorError),
    /// The comparison: the status is its.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// The lab or its clients: the status is theirs.
    #[error(transparent)]
    Lab(#[from] lab::RunError),
}

impl Failure {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Machine(_)
            | Self::Client(_)
            | Self::Profile(_)
            | Self::Output(_)
            | Self::Path { .. }
            | Self::NotDrained(_)
            | Self::Serve(_)
            | Self::Worker(_)
            | Self::Doctor(_) => 1,
            Self::Top(error) => error.exit_status(),
            Self::Blast(error) => error.exit_status(),
            Self::Flood(error) => error.exit_status(),
            Self::Bench(error) => error.exit_status(),
            Self::Lab(error) => error.exit_status(),
        }
    }
}

/// Runs what the command line says.
pub fn main() -> ExitCode {
    let Cli { log_format, verbose, quiet, command } = Cli::parse();
    logs::start(log_format, i16::from(verbose) - i16::from(quiet));
    let outcome = match command {
        Commands::Serve(ServeArgs(source)) => serve(source),
        Commands::Stats { server, json } => ask(&server, &Request::Stats {}, json, text::stats).map(drop),
        Commands::Flows { server, limit, state, json } => {
            // Any case is taken on the command line; the protocol knows the RFC's spelling only.
            let state = state.map(|state| state.to_ascii_uppercase());
            ask::<Flows>(&server, &Request::Flows(FlowsRequest { limit, state }), json, text::flows).map(drop)
        }
        Commands::Reload { server, config, listen, deny, allow, json } => {
            let texts = |prefixes: Vec<Prefix>| prefixes.iter().map(ToString::to_string).collect();
            let request = ReloadRequest { config, listen: Vec::new(), deny: texts(deny), allow: texts(allow) };
            reload(&server, request, listen, json)
        }
        Commands::Drain { server, timeout, json } => drain(&server, timeout, json),
        Commands::Why { server, last, json } => {
            ask(&server, &Request::Why(WhyRequest { seconds: last }), json, why::page::page).map(drop)
        }
        Commands::Profile { server, args } => profile::run(&server.path(), &args).map_err(Failure::Profile),
        Commands::Top { server } => top::run(server.path(), server.name()).map_err(Failure::Top),
        Commands::Blast(args) => blast(&args).map_err(Failure::Blast),
        Commands::Flood(args) => flood(&args).map_err(Failure::Flood),
        Commands::Doctor(args) => doctor::run(args).map_err(Failure::Doctor),
        Commands::Bench(BenchLine { command: Some(BenchCommand::Flood(args)), .. }) => {
            defence::bench(&args).map_err(Failure::Bench)
        }
        Commands::Bench(BenchLine { args, command: None }) => bench(&args).map_err(Failure::Bench),
        Commands::Lab(args) => lab::run(args).map_err(Failure::Lab),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("handfast: {failure}");
            ExitCode::from(failure.exit_status())
        }
    }
}

fn serve(source: Source) -> Result<(), Failure> {
    let config = Config::load(source).map_err(Failure::Configuration)?;
    let preflight = preflight::check(&config).map_err(Failure::Machine)?;
    for note in &preflight.notes {
        tracing::warn!("{note}");
    }
    eprintln!("handfast: memory: {}", preflight.memory);
    let summary = supervisor::run(&config, &preflight)?;
    let text = if config.json { json::line(&summary) + "\n" } else { text::summary(&summary) };
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    match summary.ended_by {
        EndedBy::Signal | EndedBy::Duration | EndedBy::Drain => Ok(()),
        EndedBy::Failure => Err(Failure::Worker(config.interface)),
    }
}

/// Asks for `request` with these listeners in it.
fn reload(server: &ServerArgs, request: ReloadRequest, listens: Vec<Listen>, json: bool) -> Result<(), Failure> {
    let config = request.config.as_deref().map(absolute).transpose()?;
    let mut listen = Vec::new();
    for mut one in listens {
        if let ServiceSpec::Http(Some(file)) = &mut one.service {
            *file = absolute(file)?;
        }
        listen.push(one.to_string());
    }
    let request = Request::Reload(ReloadRequest { config, listen, ..request });
    ask::<Reloaded>(server, &request, json, text::reloaded).map(drop)
}

/// The server has a working directory of its own.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|cause| Failure::Path { path: path.to_owned(), cause })
}

fn drain(server: &ServerArgs, timeout: Millis, json: bool) -> Result<(), Failure> {
    let request = Request::Drain(DrainRequest { timeout_ms: timeout.0 });
    match ask::<Drained>(server, &request, json, text::drained)?.remaining {
        0 => Ok(()),
        remaining => Err(Failure::NotDrained(remaining)),
    }
}

/// Puts a request to a running server and prints the answer.
fn ask<T>(server: &ServerArgs, request: &Request, as_json: bool, page: fn(&T) -> String) -> Result<T, Failure>
where
    T: for<'de> serde::Deserialize<'de> + Serialize,
{
    let report: T = call(&server.path(), request)?;
    let text = if as_json { json::line(&report) + "\n" } else { page(&report) };
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn serve_help() -> String {
        let mut command = Cli::command();
        command.build();
        command.find_subcommand_mut("serve").unwrap().render_long_help().to_string()
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_serve_names_every_flag_with_its_default() {
        // Wrapped lines would break what is looked for.
        let help = serve_help().split_whitespace().collect::<Vec<_>>().join(" ");
        let defaults = Config::default();
        for key in KEYS {
            assert_eq!(help.contains(&format!("--{}", key.name)), key.flag, "--{}", key.name);
            let default = key.show(&defaults);
            if key.flag && !default.is_empty() && key.kind != Kind::Switch {
                assert!(help.contains(&format!("[default: {default}]")), "default of --{}", key.name);
            }
        }
        assert!(help.contains("--config <FILE>"));
    }

    #[test]
    fn flags_become_settings_as_they_were_given() {
        let line =
            ["handfast", "serve", "-i", "e0", "--listen", "80=http", "--listen", "81=close", "--busy", "--flows", "-1"];
        let Commands::Serve(ServeArgs(source)) = Cli::try_parse_from(line).unwrap().command else { unreachable!() };
        let texts = |name: &str| -> Vec<String> {
            let key = KEYS.iter().find(|key| key.name == name).unwrap();
            source.flags.get(key).iter().map(|given| given.text.clone()).collect()
        };
        assert_eq!(texts("listen"), ["80=http", "81=close"]);
        assert_eq!(
            (texts("busy"), texts("flows"), texts("interface")),
            (vec!["true".into()], vec!["-1".into()], vec!["e0".into()])
        );
        assert_eq!((texts("json"), source.file.clone()), (Vec::<String>::new(), None));
    }

    #[test]
    fn a_server_is_named_by_its_interface_or_its_socket() {
        let parse = |line: &[&str]| Cli::try_parse_from([&["handfast", "stats"], line].concat());
        let path = |line: &[&str]| match parse(line).unwrap().command {
            Commands::Stats { server, .. } => server.path(),
            _ => unreachable!(),
        };
        assert_eq!(path(&["-i", "veth0"]), Path::new("/run/handfast/veth0.sock"));
        assert_eq!(path(&["--control", "/tmp/x"]), Path::new("/tmp/x"));
        assert!(parse(&[]).is_err());
        assert!(parse(&["-i", "a", "--control", "b"]).is_err());
        assert!(parse(&["-i", "../../etc"]).is_err());
    }
}
