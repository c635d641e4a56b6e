//! The validated configuration of `serve`: what the flags say over what the file says, every mistake of both at once.
//!
//! [`validate`] is pure but for the reader of files that it is handed. What only the machine can tell (is there such an
//! interface, such a queue, that much memory) is preflight's.

use super::capture::CaptureSettings;
use super::cookies::Secret;
use super::file;
use super::listen::{HttpFiles, Listen, ListenChanges, MAX_LISTENS, ServiceSpec, read_http_file};
use super::problem::{Problem, Problems};
use super::protocol::ReloadRequest;
use super::settings::{KEYS, Key, Origin, Settings, Table};
use super::values::{BindMode, Indexes, Millis, PartialChecksums, SynXdp, XdpMode};
use crate::port::xsk::DEFAULT_TX_BUDGET;
use crate::steer::filter::MAX_PREFIXES;
use crate::steer::{Prefix, Rule, SourceFilter, SynRate};
use crate::tcp::config::{SynCookies, TcpConfig};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Cookies a second from which on the steering program sends them, if nothing else is said: a fourteenth of what one worker
/// can send (docs/performance.md), so that there is time to switch before any is lost.
pub const DEFAULT_SYN_XDP_AT: u32 = 50_000;

/// Where the control socket is made if nothing else is said.
pub const CONTROL_DIRECTORY: &str = "/run/handfast";

/// What to serve, where, and within which limits. Valid as far as that can be told without asking the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The interface's name.
    pub interface: String,
    /// What is listened on; at least one, no endpoint twice.
    pub listens: Vec<Listen>,
    /// The bodies of the `http:FILE` services among the listeners.
    pub http_files: HttpFiles,
    /// Queues to serve; `None` is all that the interface has.
    pub queues: Option<Vec<u32>>,
    /// A core for each queue, in the same order; `None` leaves the choice to preflight.
    pub cores: Option<Vec<u32>>,
    /// Connections held at most, over all queues.
    pub flows: u32,
    /// UMEM frames of each queue, a power of two.
    pub frames: u32,
    /// Places of each RX ring, a power of two; `None` is one for each frame.
    pub rx_ring: Option<u32>,
    /// Places of each TX ring, a power of two; `None` is one for each frame.
    pub tx_ring: Option<u32>,
    /// Where the steering program runs.
    pub xdp_mode: XdpMode,
    /// How the sockets share frames with the driver.
    pub bind: BindMode,
    /// Frames that the kernel sends in one call in copy mode, at most.
    pub tx_budget: u32,
    /// Microseconds of preferred busy polling at a time; 0 is none.
    pub busy_poll_us: u32,
    /// Packet memory in huge pages.
    pub huge_pages: bool,
    /// What becomes of partial TCP checksums.
    pub partial_checksums: PartialChecksums,
    /// Spin instead of sleeping.
    pub busy: bool,
    /// Path of the control socket.
    pub control: PathBuf,
    /// Where metrics are served; `None` is nowhere.
    pub metrics: Option<SocketAddr>,
    /// How long to run; `None` is until told to stop.
    pub duration: Option<Duration>,
    /// Print the closing summary as JSON.
    pub json: bool,
    /// Where the secret of the SYN cookies' keys lies; without it they are drawn.
    pub cookie_secret_file: Option<PathBuf>,
    /// What is in that file.
    pub cookie_secret: Option<Secret>,
    /// Limits and times of the TCP. The segment sizes are those of an MTU of 1500 until preflight knows the MTU.
    pub tcp: TcpConfig,
    /// Source prefixes that are denied; none stands among the allowed ones, too.
    pub deny: Vec<Prefix>,
    /// Source prefixes that are allowed although a shorter one is denied.
    pub allow: Vec<Prefix>,
    /// The limit of SYNs by the prefix of their source.
    pub syn_rate: SynRate,
    /// When the steering program answers SYNs.
    pub syn_xdp: SynXdp,
    /// Cookies a second from which on it does so by itself; 0 is never.
    pub syn_xdp_at: u32,
    /// What is captured, and where to.
    pub capture: CaptureSettings,
    /// What all this was made from, for a reload.
    pub source: Source,
}

/// What a configuration was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The flags.
    pub flags: Settings,
    /// The configuration file.
    pub file: Option<PathBuf>,
}

impl Default for Config {
    /// The defaults; an interface and a listener are still missing.
    fn default() -> Self {
        Self {
            interface: String::new(),
            listens: Vec::new(),
            http_files: HttpFiles::new(),
            queues: None,
            cores: None,
            flows: 262_144,
            frames: 4_096,
            rx_ring: None,
            tx_ring: None,
            xdp_mode: XdpMode::Auto,
            bind: BindMode::Auto,
            tx_budget: DEFAULT_TX_BUDGET,
            busy_poll_us: 0,
            huge_pages: false,
            partial_checksums: PartialChecksums::Auto,
            busy: false,
            control: PathBuf::new(),
            metrics: None,
            duration: None,
            json: false,
            cookie_secret_file: None,
            cookie_secret: None,
            tcp: TcpConfig::default(),
            deny: Vec::new(),
            allow: Vec::new(),
            syn_rate: SynRate::default(),
            syn_xdp: SynXdp::Auto,
            syn_xdp_at: DEFAULT_SYN_XDP_AT,
            capture: CaptureSettings::default(),
            source: Source::default(),
        }
    }
}

/// The path of the control socket of an interface's server, unless another one is given.
pub fn default_control(interface: &str) -> PathBuf {
    Path::new(CONTROL_DIRECTORY).join(format!("{interface}.sock"))
}

/// Reads a body; the error says why that cannot be done.
pub type ReadBody<'a> = &'a dyn Fn(&Path) -> Result<Arc<[u8]>, String>;

impl Config {
    /// The configuration that flags and file make, the flags before the file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the flags, the file, or between them.
    pub fn load(source: Source) -> Result<Config, Problems> {
        let (file, problems) = match &source.file {
            Some(path) => file::read(path),
            None => (Settings::default(), Vec::new()),
        };
        let settings = source.flags.over(&file);
        let (mut config, found) = validate(&settings, &read_http_file);
        let unread = read_cookie_secret(&mut config);
        let problems = problems.into_iter().chain(found).chain(unread).collect();
        Problems::none_or("the configuration", problems, Config { source, ..config })
    }

    /// Who may talk to listeners.
    pub fn filter(&self) -> SourceFilter {
        let denied = self.deny.iter().map(|prefix| (*prefix, Rule::Deny));
        SourceFilter::new(denied.chain(self.allow.iter().map(|prefix| (*prefix, Rule::Allow))))
    }

    /// What a running server's configuration becomes by a reload, and what that changes.
    ///
    /// The file is read again: the one named in the request, else the one of the start. What the request names comes
    /// before the flags of the start. Listeners (with the content of their files), the limits and times of the TCP, and the
    /// defences of the steering program are taken over.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the new configuration; the old one stays in force.
    pub fn reload(&self, request: &ReloadRequest) -> Result<(Config, Changes), Problems> {
        let mut source = self.source.clone();
        let lists = [("listen", &request.listen), ("deny", &request.deny), ("allow", &request.allow)];
        for (name, texts) in lists {
            let key = Key::find(name).expect("there is a setting of that name");
            if request.config.is_some() || !texts.is_empty() {
                source.flags.forget(key);
            }
            for text in texts {
                source.flags.give(key, text, Origin::Flag);
            }
        }
        if request.config.is_some() {
            source.file.clone_from(&request.config);
        }
        let new = Config::load(source)?;
        let listens = ListenChanges::between((&self.listens, &self.http_files), (&new.listens, &new.http_files));
        let differing = |tables: &[Table]| {
            let differs =
                |key: &&Key| tables.contains(&key.table) && key.name != "listen" && key.show(&new) != key.show(self);
            KEYS.iter().filter(differs).map(|key| key.name).collect()
        };
        let limits = differing(&[Table::Tcp, Table::Steering]);
        let changes = Changes { listens, limits, needs_restart: differing(&[Table::Top]) };
        let Config { listens, http_files, tcp, deny, allow, syn_rate, syn_xdp, syn_xdp_at, source, .. } = new;
        let taken =
            Config { listens, http_files, tcp, deny, allow, syn_rate, syn_xdp, syn_xdp_at, source, ..self.clone() };
        Ok((taken, changes))
    }
}

/// What a reload changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The listeners.
    pub listens: ListenChanges,
    /// Names of limits, times and prefix lists that have another value now.
    pub limits: Vec<&'static str>,
    /// Names of settings that now differ but only take effect with a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Sets everything that was given and checks it, also against one another. What is wrong keeps its default in the
/// configuration, so that one mistake does not hide the next.
pub fn validate(settings: &Settings, read_body: ReadBody<'_>) -> (Config, Vec<Problem>) {
    let mut config = Config::default();
    let mut problems = Vec::new();
    for key in KEYS {
        for given in settings.get(key) {
            if let Err(cause) = key.set(&mut config, &given.text) {
                problems.push(given.problem(key, cause));
            }
        }
    }
    let missing = |name: &str| Key::find(name).is_none_or(|key| !settings.mentions(key));
    if missing("interface") {
        problems
            .push(Problem::new("no interface to serve on", "give -i IFACE, or interface in the configuration file"));
    }
    if missing("listen") {
        problems.push(Problem::new("nothing to listen on", "give --listen 80=http or the like, or listen in the file"));
    }
    if missing("control") {
        config.control = default_control(&config.interface);
    }
    problems.extend(read_bodies(&mut config, read_body));
    problems.extend(listener_contradictions(&config.listens));
    problems.extend(queue_contradictions(&config));
    problems.extend(tcp_contradictions(&config.tcp));
    problems.extend(prefix_contradictions(&config));
    problems.extend(cookie_contradiction(&config));
    problems.extend(capture_contradictions(&config.capture));
    (config, problems)
}

/// Reads the files of the `http:FILE` listeners into the configuration, each once.
fn read_bodies(config: &mut Config, read: ReadBody<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for listen in &config.listens {
        let ServiceSpec::Http(Some(path)) = &listen.service else { continue };
        if config.http_files.contains_key(path) {
            continue;
        }
        match read(path) {
            Ok(body) => drop(config.http_files.insert(path.clone(), body)),
            Err(cause) => problems.push(Problem::new(format!("listener {listen}"), cause)),
        }
    }
    problems
}

/// Reads the secret of the SYN cookies into the configuration.
fn read_cookie_secret(config: &mut Config) -> Option<Problem> {
    let path = config.cookie_secret_file.as_ref()?;
    match Secret::read(path) {
        Ok(secret) => {
            config.cookie_secret = Some(secret);
            None
        }
        Err(cause) => Some(Problem::new(format!("cookie-secret {}", path.display()), cause)),
    }
}

/// Listeners that contradict one another, or are too many.
fn listener_contradictions(listens: &[Listen]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (i, listen) in listens.iter().enumerate() {
        if let Some(first) = listens[..i].iter().find(|earlier| earlier.same_endpoint(listen)) {
            let what = format!("listeners {first} and {listen}");
            problems
                .push(Problem::new(what, "one address and port can have one service only").remedy("drop one of them"));
        }
    }
    if listens.len() > MAX_LISTENS {
        let cause = format!("one server has at most {MAX_LISTENS}");
        problems.push(Problem::new(format!("{} listeners", listens.len()), cause));
    }
    problems
}

/// Queues, cores, flows and modes that contradict one another.
fn queue_contradictions(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let (Some(queues), Some(cores)) = (&config.queues, &config.cores)
        && queues.len() != cores.len()
    {
        problems.push(cores_for_queues(queues, cores));
    }
    if let Some(queues) = &config.queues
        && (config.flows as usize) < queues.len()
    {
        let what = format!("flows {} for {} queues", config.flows, queues.len());
        problems.push(Problem::new(what, "each queue needs at least one").remedy("raise flows"));
    }
    if config.xdp_mode == XdpMode::Generic && config.bind == BindMode::ZeroCopy {
        let what = "xdp-mode generic with bind zerocopy";
        problems.push(Problem::new(what, "zero-copy needs the program in the driver").remedy("choose one of the two"));
    }
    problems
}

/// The problem of a number of cores that is not the number of queues.
pub(super) fn cores_for_queues(queues: &[u32], cores: &[u32]) -> Problem {
    let (q, c) = (Indexes(queues.to_vec()), Indexes(cores.to_vec()));
    let what = format!("cores {c} ({}) for queues {q} ({})", cores.len(), queues.len());
    Problem::new(what, "each queue has one worker on a core of its own").remedy("name as many cores as queues")
}

/// Times of the TCP that contradict one another.
fn tcp_contradictions(tcp: &TcpConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let show = |millis: u32| Millis(millis.into());
    if tcp.rto_min_ms > tcp.rto_initial_ms || tcp.rto_initial_ms > tcp.rto_max_ms {
        let (min, initial, max) = (show(tcp.rto_min_ms), show(tcp.rto_initial_ms), show(tcp.rto_max_ms));
        let what = format!("rto-min {min}, rto-initial {initial}, rto-max {max}");
        problems.push(Problem::new(what, "must not decrease from left to right"));
    }
    if let Some(at) = tcp.syn_cookies_at.filter(|at| *at > tcp.half_open_limit) {
        let what = format!("syn-cookies-at {at}, half-open-limit {}", tcp.half_open_limit);
        let cause = "so many half-open connections there never are";
        problems.push(Problem::new(what, cause).remedy("lower syn-cookies-at, or raise half-open-limit"));
    }
    if tcp.keepalive_idle_ms != 0 && tcp.idle_timeout_ms != 0 && tcp.keepalive_idle_ms >= tcp.idle_timeout_ms {
        let what = format!("keepalive {}, idle-timeout {}", show(tcp.keepalive_idle_ms), show(tcp.idle_timeout_ms));
        let cause = "the connection is reset before it is probed";
        problems.push(Problem::new(what, cause).remedy("make keepalive shorter, or idle-timeout longer or 0"));
    }
    problems
}

/// Cookies that are never to be sent, and always.
fn cookie_contradiction(config: &Config) -> Option<Problem> {
    let contradiction = config.syn_xdp == SynXdp::Always && config.tcp.syn_cookies == SynCookies::Never;
    let problem = || {
        let cause = "what the steering program answers SYNs with are cookies";
        Problem::new("syn-xdp always, syn-cookies never", cause).remedy("choose one of the two")
    };
    contradiction.then(problem)
}

/// Captures to one file, and settings of a capture that there is none of.
fn capture_contradictions(capture: &CaptureSettings) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let (Some(all), Some(failed)) = (&capture.file, &capture.failed)
        && all == failed
    {
        let what = format!("capture {}, capture-failed {}", all.display(), failed.display());
        problems.push(Problem::new(what, "each needs a file of its own").remedy("name another file for one of them"));
    }
    if let (Some(filter), None) = (&capture.filter, &capture.file) {
        let cause = "it says what goes to the file of capture, and there is none";
        problems.push(Problem::new(format!("capture-filter {filter}"), cause).remedy("give --capture FILE"));
    }
    problems
}

/// Prefixes that are both denied and allowed, or too many.
fn prefix_contradictions(config: &Config) -> Vec<Problem> {
    let allowed: BTreeSet<_> = config.allow.iter().collect();
    let both = config.deny.iter().filter(|prefix| allowed.contains(prefix));
    let contradiction = |prefix: &Prefix| {
        Problem::new(format!("deny {prefix} and allow {prefix}"), "one prefix has one rule").remedy("drop one of them")
    };
    let mut problems: Vec<Problem> = both.map(contradiction).collect();
    let prefixes = config.filter().len();
    if prefixes > MAX_PREFIXES {
        let cause = format!("the filter has room for {MAX_PREFIXES}");
        let problem = Problem::new(format!("{prefixes} source prefixes denied and allowed"), cause);
        problems.push(problem.remedy("join prefixes that lie side by side"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, text) in pairs {
            settings.give(Key::find(name).unwrap(), *text, Origin::Flag);
        }
        settings
    }

    fn check(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
        let read = |path: &Path| match path.to_str() {
            Some("body") => Ok(Arc::from(&b"hello"[..])),
            _ => Err(format!("cannot read {}: No such file", path.display())),
        };
        let (config, problems) = validate(&flags(pairs), &read);
        (config, problems.iter().map(ToString::to_string).collect())
    }

    const GOOD: [(&str, &str); 2] = [("interface", "eth0"), ("listen", "80=http")];

    #[test]
    fn an_interface_and_a_listener_are_enough() {
        let (config, problems) = check(&GOOD);
        assert_eq!(problems, [""; 0]);
        assert_eq!(config.control, Path::new("/run/handfast/eth0.sock"));
        assert_eq!((config.flows, config.queues, config.tcp), (262_144, None, TcpConfig::default()));
    }

    #[test]
    fn without_interface_or_listener_both_are_asked_for() {
        let (_, problems) = check(&[]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("-i IFACE") && problems[1].contains("--listen"));
    }

    #[test]
    fn every_mistake_is_listed_with_its_value() {
        let (_, problems) = check(&[
            ("interface", "a/b"),
            ("listen", "80=echo"),
            ("listen", "0=http"),
            ("flows", "0"),
            ("queues", "1,1"),
            ("time-wait", "soon"),
            ("bind", ""),
        ]);
        let starts = [
            "--interface a/b: ",
            "--listen 80=echo: service",
            "--listen 0=http: port",
            "--queues 1,1: names 1 twice",
            "--flows 0: must be from 1",
            "--bind \"\": must be one of",
            "--time-wait soon: must be a duration",
        ];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn values_that_contradict_one_another_are_named_together() {
        let contradictions: [(&[(&str, &str)], &str); 12] = [
            (&[("capture", "a"), ("capture-failed", "a")], "capture a, capture-failed a: each needs a file of its own"),
            (&[("capture-filter", "syn")], "capture-filter syn: it says what goes to the file of capture"),
            (&[("syn-xdp", "always"), ("syn-cookies", "never")], "syn-xdp always, syn-cookies never: what the"),
            (&[("syn-cookies-at", "65537")], "syn-cookies-at 65537, half-open-limit 65536: so many"),
            (&[("listen", "80=close")], "listeners 80=http and 80=close: one address and port"),
            (&[("queues", "0-3"), ("cores", "1,2")], "cores 1-2 (2) for queues 0-3 (4): each queue"),
            (&[("queues", "0-3"), ("flows", "3")], "flows 3 for 4 queues: each queue needs"),
            (&[("xdp-mode", "generic"), ("bind", "zerocopy")], "xdp-mode generic with bind zerocopy"),
            (&[("rto-min", "2s")], "rto-min 2s, rto-initial 1s, rto-max 1m: must not decrease"),
            (&[("rto-max", "900ms")], "rto-min 200ms, rto-initial 1s, rto-max 900ms: must not decrease"),
            (&[("deny", "::/0"), ("allow", "::/0")], "deny ::/0 and allow ::/0: one prefix has one rule"),
            (&[("keepalive", "2h")], "keepalive 2h, idle-timeout 2h: the connection is reset"),
        ];
        for (more, start) in contradictions {
            let (_, problems) = check(&[&GOOD, more].concat());
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(start), "{}", problems[0]);
        }
        let (_, problems) = check(&[&GOOD[..], &[("listen", "10.0.0.1:80=close"), ("keepalive", "75s")]].concat());
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn too_many_listeners_are_refused() {
        let texts: Vec<String> = (1..=MAX_LISTENS + 1).map(|port| format!("{port}=discard")).collect();
        let mut pairs = vec![("interface", "eth0")];
        pairs.extend(texts.iter().map(|text| ("listen", text.as_str())));
        assert_eq!(check(&pairs).1, ["257 listeners: one server has at most 256"]);
        assert_eq!(check(&pairs[..=MAX_LISTENS]).1, [""; 0]);
    }

    #[test]
    fn bodies_are_read_once_and_the_missing_ones_are_named() {
        let listens = [("listen", "1=http:body"), ("listen", "2=http:body"), ("listen", "3=http:none")];
        let (config, problems) = check(&[&GOOD[..], &listens].concat());
        assert_eq!(problems, ["listener 3=http:none: cannot read none: No such file"]);
        assert_eq!(config.http_files.keys().collect::<Vec<_>>(), [Path::new("body")]);
    }

    #[test]
    fn a_secret_is_read_with_the_configuration() {
        let path = std::env::temp_dir().join(format!("hfcf-of-config-{}", std::process::id()));
        std::fs::write(&path, [7; 16]).unwrap();
        let with = |file: &str| {
            let pairs = [&GOOD[..], &[("cookie-secret", file)]].concat();
            Config::load(Source { flags: flags(&pairs), file: None })
        };
        let config = with(path.to_str().unwrap()).unwrap();
        assert!(config.cookie_secret.is_some());
        let (after, changes) = config.reload(&ReloadRequest::default()).unwrap();
        assert_eq!((after.cookie_secret, changes.needs_restart), (config.cookie_secret, Vec::new()));
        let problems = with("/nowhere/secret").unwrap_err().list;
        assert_eq!(problems.len(), 1);
        let problem = problems[0].to_string();
        assert!(
            problem.starts_with("cookie-secret /nowhere/secret: cannot read /nowhere/secret: No such"),
            "{problem}"
        );
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_reload_takes_listeners_and_names_what_needs_a_restart() {
        let path = std::env::temp_dir().join(format!("hfcf-config-{}.toml", std::process::id()));
        std::fs::write(&path, "listen = [\"80=http\"]\nflows = 1000\n").unwrap();
        let source = Source { flags: flags(&[("interface", "eth0")]), file: Some(path.clone()) };
        let old = Config::load(source).unwrap();
        std::fs::write(&path, "listen = [\"80=close\", \"81=http\"]\nflows = 2000\n[tcp]\ntime-wait = \"1s\"\n")
            .unwrap();
        let (new, changes) = old.reload(&ReloadRequest::default()).unwrap();
        assert_eq!(changes.listens.changed, ["80=close".parse().unwrap()]);
        assert_eq!(changes.listens.added, ["81=http".parse().unwrap()]);
        assert_eq!((changes.limits, changes.needs_restart), (vec!["time-wait"], vec!["flows"]));
        assert_eq!(new.tcp.time_wait_ms, 1_000);
        assert_eq!((new.listens.len(), new.flows), (2, 1000), "only listeners and limits are taken over");

        let request = ReloadRequest { listen: vec!["9=discard".into()], ..ReloadRequest::default() };
        let (new, changes) = new.reload(&request).unwrap();
        assert_eq!((changes.listens.added.len(), changes.listens.removed.len()), (1, 2));
        let back = ReloadRequest { config: Some(path.clone()), ..ReloadRequest::default() };
        let (back, ..) = new.reload(&back).unwrap();
        assert_eq!(back.listens.len(), 2, "a file named in the request comes before earlier flags");

        let request =
            ReloadRequest { deny: vec!["::/0".into()], allow: vec!["::1".into()], ..ReloadRequest::default() };
        let (denying, changes) = back.reload(&request).unwrap();
        assert_eq!((changes.limits, changes.needs_restart), (vec!["deny", "allow"], vec!["flows"]));
        let rule = |config: &Config, source: &str| config.filter().rule_for(source.parse().unwrap());
        assert_eq!((rule(&denying, "::1"), rule(&denying, "::2")), (Rule::Allow, Rule::Deny));
        std::fs::write(&path, "listen = [\"80=http\"]\n[steering]\ndeny = [\"::1\"]\nsyn-rate = \"1k\"\n").unwrap();
        let (same, changes) = denying.reload(&ReloadRequest::default()).unwrap();
        assert_eq!((same.deny.len(), changes.limits), (1, vec!["time-wait", "syn-rate"]), "flags come before the file");
        assert_eq!(same.syn_rate.per_second, 1_000);
        let again = ReloadRequest { config: Some(path.clone()), ..ReloadRequest::default() };
        let (filed, _) = same.reload(&again).unwrap();
        assert_eq!((rule(&filed, "::1"), rule(&filed, "::2")), (Rule::Deny, Rule::Allow));

        std::fs::write(&path, "listen = [\"80=nothing\", 7]\n").unwrap();
        assert_eq!(old.reload(&ReloadRequest::default()).unwrap_err().list.len(), 2);
        std::fs::remove_file(&path).unwrap();
    }
}
