//! The control socket's server: a Unix stream socket with one thread that accepts and one for each client.
//!
//! A client sends one line and gets one line. Requests have limits in size and time, clients in number; whoever breaks one
//! is told which. Only the socket file's owner may connect (mode 0600), so nobody is authenticated here. A handler runs on
//! control threads: it may lock and wait, and must never make a worker wait.

use super::config::CONTROL_DIRECTORY;
use super::protocol::{
    DrainRequest, ErrorCode, FlowsRequest, ProfileRequest, Refusal, ReloadRequest, Request, WhyRequest, answer_line,
};
use crate::observe::profile::ProfileReport;
use crate::observe::report::{Drained, Flows, Past, Reloaded, Stats};
use crate::observe::why::Diagnosis;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, FlockOperation, Mode, access, fchmod, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest request line in bytes.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// How many clients are served at the same time; another one is told so and has to come again.
pub const MAX_CLIENTS: usize = 8;

/// A request has to be complete this long after the client connected.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A client has to take its answer within this time.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a start waits for another start that is looking at the same folder.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// What the requests are put to. Called from several threads at once.
pub trait Handler: Send + Sync {
    /// The whole report.
    ///
    /// # Errors
    ///
    /// Why there is none now.
    fn stats(&self) -> Result<Stats, Refusal>;

    /// What is known of the last minutes.
    ///
    /// # Errors
    ///
    /// Why that cannot be said now.
    fn history(&self) -> Result<Past, Refusal>;

    /// Single flows.
    ///
    /// # Errors
    ///
    /// Why they cannot be listed now.
    fn flows(&self, request: &FlowsRequest) -> Result<Flows, Refusal>;

    /// Takes over changed listeners.
    ///
    /// # Errors
    ///
    /// Why nothing was changed.
    fn reload(&self, request: &ReloadRequest) -> Result<Reloaded, Refusal>;

    /// Accepts nothing more and waits for the flows to end, or for the time-out. Must come back early when the server is
    /// about to be stopped: [`Server::stop`] waits for it.
    ///
    /// # Errors
    ///
    /// Why it does not drain.
    fn drain(&self, request: &DrainRequest) -> Result<Drained, Refusal>;

    /// What the last seconds say about why connections fail or are slow.
    ///
    /// # Errors
    ///
    /// Why that cannot be told now.
    fn why(&self, request: &WhyRequest) -> Result<Diagnosis, Refusal>;

    /// Times the workers' turns for a while. Must come back early when the server is about to be stopped, and when
    /// `has_left` says that the client does not wait for the answer any more.
    ///
    /// # Errors
    ///
    /// Why there is no profile.
    fn profile(&self, request: &ProfileRequest, has_left: &dyn Fn() -> bool) -> Result<ProfileReport, Refusal>;
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error(
        "control socket {}: process {pid} serves there already; stop it, or give another --control PATH (an interface of \
         the same name in another network namespace has the same default path)",
        path.display()
    )]
    Live {
        /// The path.
        path: PathBuf,
        /// The process that answers.
        pid: String,
    },
    /// Something that is no socket stands there.
    #[error("control socket {}: there is a file that is not a socket; remove it, or give another --control PATH", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("control socket {}: cannot {what}: {source}; make the folder writable, or give another --control PATH", path.display())]
    System {
        /// The path.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// A running control socket. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Device and inode of the socket file, to remove no other.
    identity: (u64, u64),
    /// Closing it tells every thread of the server to end.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Makes the socket at `path` and serves it. The folder of the default path is made if it is missing; the socket of a
    /// dead process is replaced.
    ///
    /// # Errors
    ///
    /// If a live process serves there, something else is in the way, or the system refuses.
    pub fn start(path: &Path, handler: Arc<dyn Handler>) -> Result<Server, SocketError> {
        let failed = |what| move |source| SocketError::System { path: path.to_owned(), what, source };
        let directory = folder_of(path);
        if directory == Path::new(CONTROL_DIRECTORY) {
            fs::create_dir_all(directory).map_err(failed("make its folder"))?;
        }
        // Held until the socket is bound: of two starts at once, one would else remove the other's fresh socket as stale.
        let _guard = locked(directory).map_err(failed("lock its folder"))?;
        clear_stale(path)?;
        let listener = bind_private(path).map_err(failed("make the socket"))?;
        let metadata = fs::symlink_metadata(path).map_err(failed("look at the socket"))?;
        let (stop, stopped) = UnixStream::pair().map_err(failed("make a stop signal"))?;
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || accept(&listener, &stopped, &*handler))
            .map_err(failed("start its thread"))?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Server { path: path.to_owned(), identity, stop: Some(stop), thread: Some(thread) })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stops accepting, waits for requests that are being handled, and removes the socket.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the control socket's thread ended with a panic");
        }
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the control socket could not be removed");
        }
    }
}

/// An exclusive lock on a folder, which ends when the file is dropped.
fn locked(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The folder that a path stands in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Says, and changes nothing, whether a server could make its socket at `path`.
///
/// # Errors
///
/// What [`Server::start`] would fail with, as far as that can be told without making the socket.
pub fn check(path: &Path) -> Result<(), SocketError> {
    stale(path)?;
    // A folder that is missing is made, if it is the default one.
    let folder = folder_of(path);
    let made = if folder == Path::new(CONTROL_DIRECTORY) && !folder.exists() { folder_of(folder) } else { folder };
    let writable = access(made, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from);
    writable.map_err(|source| SocketError::System { path: path.to_owned(), what: "write to its folder", source })
}

/// Removes the socket of a dead process; refuses anything else that stands at `path`.
fn clear_stale(path: &Path) -> Result<(), SocketError> {
    if !stale(path)? {
        return Ok(());
    }
    tracing::info!(path = %path.display(), "replacing the control socket that a dead process left");
    let removed = fs::remove_file(path);
    let what = "remove the socket of a dead process";
    removed.map_err(|source| SocketError::System { path: path.to_owned(), what, source })
}

/// True if the socket of a dead process stands at `path`, false if nothing does; anything else is in the way.
fn stale(path: &Path) -> Result<bool, SocketError> {
    let failed = |what| move |source| SocketError::System { path: path.to_owned(), what, source };
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found.map_err(failed("look at the path"))?,
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Ok(stream) => {
            let credentials = sockopt::socket_peercred(&stream);
            let pid = credentials.map_or_else(|_| "?".into(), |peer| peer.pid.as_raw_nonzero().to_string());
            Err(SocketError::Live { path: path.to_owned(), pid })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) => Err(failed("find out who serves there")(error)),
    }
}

/// A listening socket with mode 0600 from its first moment on: the mode of the unbound socket is the one of its file.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, i32::try_from(MAX_CLIENTS).unwrap_or(i32::MAX))?;
    Ok(UnixListener::from(socket))
}

/// What a wait ended with.
#[derive(PartialEq, Eq)]
enum Wait {
    Ready,
    TimedOut,
    Stopped,
}

/// Waits until `ready` can be read, `stopped` says stop, or `limit` is over; without a limit for as long as it takes.
fn wait(ready: impl std::os::fd::AsFd, stopped: &UnixStream, limit: Option<Duration>) -> io::Result<Wait> {
    let mut fds = [PollFd::new(&ready, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(&mut fds, limit.as_ref()) {
        Ok(_) if !fds[1].revents().is_empty() => Ok(Wait::Stopped),
        Ok(0) => Ok(Wait::TimedOut),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(Wait::Ready),
        Err(error) => Err(error.into()),
    }
}

/// Accepts until told to stop; ends after the last client's thread.
fn accept(listener: &UnixListener, stopped: &UnixStream, handler: &dyn Handler) {
    let clients = AtomicUsize::new(0);
    thread::scope(|scope| {
        loop {
            match wait(listener, stopped, None) {
                Ok(Wait::Stopped) => return,
                Ok(Wait::Ready | Wait::TimedOut) => {}
                Err(error) => return tracing::error!(%error, "the control socket cannot wait for clients and closes"),
            }
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    tracing::warn!(%error, "a client of the control socket could not be accepted");
                    // Out of file descriptors, most likely: the client stays in the queue, so do not spin on it.
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            // Relaxed: a count of threads, it guards no other memory.
            if clients.fetch_add(1, Ordering::Relaxed) >= MAX_CLIENTS {
                let refusal =
                    Refusal::new(ErrorCode::Busy, format!("{MAX_CLIENTS} clients are being served; try again"));
                answer(&stream, &answer_line::<()>(Err(refusal)));
                clients.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            scope.spawn(|| {
                let stream = stream;
                serve(&stream, stopped, handler);
                clients.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
}

/// One client: a line in, a line out.
fn serve(stream: &UnixStream, stopped: &UnixStream, handler: &dyn Handler) {
    let line = match receive(stream, stopped).and_then(|line| Request::parse(&line)) {
        Ok(Request::Stats {}) => answer_line(handler.stats()),
        Ok(Request::History {}) => answer_line(handler.history()),
        Ok(Request::Flows(request)) => answer_line(handler.flows(&request)),
        Ok(Request::Reload(request)) => answer_line(handler.reload(&request)),
        Ok(Request::Drain(request)) => answer_line(handler.drain(&request)),
        Ok(Request::Why(request)) => answer_line(handler.why(&request)),
        Ok(Request::Profile(request)) => answer_line(handler.profile(&request, &|| has_left(stream))),
        Err(refusal) => answer_line::<()>(Err(refusal)),
    };
    answer(stream, &line);
}

/// True if the client has closed its end. One that merely sends nothing more still waits for its answer.
fn has_left(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    let looked = poll(&mut fds, Some(&Timespec::default()));
    looked.is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// The request line, within its limits of size and time.
fn receive(mut stream: &UnixStream, stopped: &UnixStream) -> Result<Vec<u8>, Refusal> {
    let failed = |error: io::Error| Refusal::new(ErrorCode::Malformed, format!("cannot be received: {error}"));
    stream.set_nonblocking(true).map_err(failed)?;
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match wait(stream, stopped, Some(deadline.saturating_duration_since(Instant::now()))).map_err(failed)? {
            Wait::Ready => {}
            Wait::TimedOut => {
                let message = format!("no whole line within {} s", REQUEST_TIMEOUT.as_secs());
                return Err(Refusal::new(ErrorCode::TimedOut, message));
            }
            Wait::Stopped => return Err(Refusal::new(ErrorCode::Stopping, "the server is stopping")),
        }
        let count = match stream.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(error) => return Err(failed(error)),
        };
        let end = chunk[..count].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&chunk[..end.unwrap_or(count)]);
        if line.len() > MAX_REQUEST_BYTES {
            let message = format!("a request has at most {MAX_REQUEST_BYTES} bytes");
            return Err(Refusal::new(ErrorCode::TooLong, message));
        }
        if end.is_some() || count == 0 {
            return Ok(line);
        }
    }
}

/// Sends one line; a client that does not take it is not waited for.
fn answer(mut stream: &UnixStream, line: &str) {
    let sent = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_write_timeout(Some(ANSWER_TIMEOUT)))
        .and_then(|()| stream.write_all(line.as_bytes()))
        .and_then(|()| stream.write_all(b"\n"));
    if let Err(error) = sent {
        tracing::debug!(%error, "a client of the control socket did not take its answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client::{ClientError, call};
    use crate::observe::report::Moment;
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::fs::PermissionsExt as _;

    /// Answers with what was asked, and refuses to reload.
    struct Echo;

    impl Handler for Echo {
        fn stats(&self) -> Result<Stats, Refusal> {
            Ok(crate::observe::report::tests::example())
        }

        fn history(&self) -> Result<Past, Refusal> {
            Ok(Past { moments: vec![Moment { uptime_s: 1.5, ..Moment::default() }] })
        }

        fn flows(&self, request: &FlowsRequest) -> Result<Flows, Refusal> {
            Ok(Flows { matching: request.limit.into(), flows: Vec::new() })
        }

        fn reload(&self, request: &ReloadRequest) -> Result<Reloaded, Refusal> {
            Err(Refusal::new(ErrorCode::Refused, format!("{} listeners", request.listen.len())))
        }

        fn drain(&self, request: &DrainRequest) -> Result<Drained, Refusal> {
            thread::sleep(Duration::from_millis(request.timeout_ms));
            Ok(Drained { remaining: request.timeout_ms })
        }

        fn why(&self, request: &WhyRequest) -> Result<Diagnosis, Refusal> {
            Ok(Diagnosis { frames_seen: request.seconds, ..Diagnosis::default() })
        }

        fn profile(&self, request: &ProfileRequest, has_left: &dyn Fn() -> bool) -> Result<ProfileReport, Refusal> {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(request.duration_ms) {
                if has_left() {
                    LEFT.fetch_add(1, Ordering::Relaxed);
                    return Err(Refusal::new(ErrorCode::Stopping, "nobody waits"));
                }
                thread::sleep(Duration::from_millis(5));
            }
            Ok(ProfileReport { every: request.every, ..ProfileReport::default() })
        }
    }

    /// Clients that did not wait for their profile.
    static LEFT: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn a_handler_is_told_that_its_client_has_left_and_not_that_it_sends_nothing_more() {
        let place = Place::new("left");
        let server = place.start();
        let ask = |duration_ms| {
            let mut stream = UnixStream::connect(place.socket()).unwrap();
            let request = Request::Profile(ProfileRequest { duration_ms, every: 3 });
            stream.write_all(format!("{}\n", request.line()).as_bytes()).unwrap();
            stream
        };
        let waits = ask(300);
        waits.shutdown(std::net::Shutdown::Write).unwrap();
        let mut line = String::new();
        BufReader::new(waits).read_line(&mut line).unwrap();
        assert!(line.contains("\"every\":3"), "{line}");
        assert_eq!(LEFT.load(Ordering::Relaxed), 0);
        drop(ask(60_000));
        let left = Instant::now();
        while LEFT.load(Ordering::Relaxed) == 0 {
            assert!(left.elapsed() < Duration::from_secs(20), "the handler was not told");
            thread::sleep(Duration::from_millis(5));
        }
        server.stop();
    }

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("hfcf-{name}-{}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("s.sock")
        }

        fn start(&self) -> Server {
            Server::start(&self.socket(), Arc::new(Echo)).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// What the server answers to these bytes.
    fn say(path: &Path, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        let _ = stream.write_all(bytes);
        let mut line = String::new();
        let _ = BufReader::new(stream).read_line(&mut line);
        line
    }

    #[test]
    fn whether_a_socket_could_be_made_is_told_without_making_it() {
        let place = Place::new("check");
        let path = place.socket();
        check(&path).unwrap();
        assert!(!path.exists());
        let server = place.start();
        assert!(matches!(check(&path), Err(SocketError::Live { pid, .. }) if pid == std::process::id().to_string()));
        server.stop();
        drop(UnixListener::bind(&path).unwrap());
        check(&path).expect("the socket of a dead process is no obstacle");
        assert!(path.exists(), "looking removes nothing");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(matches!(check(&path), Err(SocketError::NotASocket { .. })));
        let missing = check(&place.0.join("none/s.sock"));
        assert!(matches!(missing, Err(SocketError::System { what: "write to its folder", .. })), "{missing:?}");
    }

    #[test]
    fn each_request_is_answered_by_its_handler() {
        let place = Place::new("requests");
        let server = place.start();
        let path = server.path().to_owned();
        assert_eq!(call::<Stats>(&path, &Request::Stats {}).unwrap(), Echo.stats().unwrap());
        assert_eq!(call::<Past>(&path, &Request::History {}).unwrap(), Echo.history().unwrap());
        let flows = Request::Flows(FlowsRequest { limit: 7, state: None });
        assert_eq!(call::<Flows>(&path, &flows).unwrap().matching, 7);
        let drain = Request::Drain(DrainRequest { timeout_ms: 9 });
        assert_eq!(call::<Drained>(&path, &drain).unwrap().remaining, 9);
        let reload = Request::Reload(ReloadRequest { listen: vec!["80=http".into()], ..ReloadRequest::default() });
        let error = call::<Reloaded>(&path, &reload).unwrap_err();
        assert!(matches!(&error, ClientError::Refused(refusal) if refusal.message == "1 listeners"), "{error}");
        server.stop();
        assert!(!path.exists(), "the socket is removed at the end");
        assert!(matches!(call::<Stats>(&path, &Request::Stats {}), Err(ClientError::NoServer { .. })));
    }

    #[test]
    fn only_the_owner_may_connect() {
        let place = Place::new("mode");
        let server = place.start();
        assert_eq!(fs::metadata(server.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn malformed_and_oversized_requests_are_answered_with_an_error() {
        let place = Place::new("malformed");
        let server = place.start();
        assert!(say(server.path(), b"hello\n").contains(r#""code":"malformed""#));
        assert!(say(server.path(), b"\xff\x00\n").contains(r#""code":"malformed""#));
        let long = vec![b' '; MAX_REQUEST_BYTES + 1];
        assert!(say(server.path(), &long).contains(r#""code":"too_long""#));
    }

    #[test]
    fn a_client_that_says_nothing_is_told_and_sent_away() {
        let place = Place::new("silent");
        let server = place.start();
        let begin = Instant::now();
        assert!(say(server.path(), b"{").contains(r#""code":"timed_out""#));
        assert!(begin.elapsed() >= REQUEST_TIMEOUT);
    }

    #[test]
    fn one_client_too_many_is_told_to_come_again() {
        let place = Place::new("busy");
        let server = place.start();
        let silent: Vec<_> = (0..MAX_CLIENTS).map(|_| UnixStream::connect(server.path()).unwrap()).collect();
        assert!(say(server.path(), b"{\"v\":1,\"cmd\":\"stats\"}\n").contains(r#""code":"busy""#));
        drop(silent);
    }

    #[test]
    fn a_silent_client_does_not_delay_the_end() {
        let place = Place::new("end");
        let server = place.start();
        let silent = UnixStream::connect(server.path()).unwrap();
        thread::sleep(Duration::from_millis(50));
        let begin = Instant::now();
        server.stop();
        assert!(begin.elapsed() < REQUEST_TIMEOUT / 2, "took {:?}", begin.elapsed());
        let mut line = String::new();
        BufReader::new(silent).read_line(&mut line).unwrap();
        assert!(line.contains(r#""code":"stopping""#), "{line}");
    }

    #[test]
    fn the_end_waits_for_a_request_in_hand() {
        let place = Place::new("inhand");
        let server = place.start();
        let path = server.path().to_owned();
        let client = thread::spawn(move || call::<Drained>(&path, &Request::Drain(DrainRequest { timeout_ms: 300 })));
        thread::sleep(Duration::from_millis(100));
        server.stop();
        assert_eq!(client.join().unwrap().unwrap().remaining, 300);
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let place = Place::new("stale");
        drop(UnixListener::bind(place.socket()).unwrap());
        assert!(place.socket().exists());
        let server = place.start();
        let error = Server::start(&place.socket(), Arc::new(Echo)).unwrap_err();
        assert!(matches!(&error, SocketError::Live { pid, .. } if *pid == std::process::id().to_string()), "{error}");
        assert!(error.to_string().contains("another network namespace"));
        assert!(call::<Stats>(server.path(), &Request::Stats {}).is_ok(), "the live one goes on");
    }

    #[test]
    fn of_many_starts_at_once_over_a_dead_socket_one_wins() {
        let place = Place::new("race");
        for _ in 0..100 {
            let line_up = Arc::new(std::sync::Barrier::new(4));
            drop(UnixListener::bind(place.socket()).unwrap());
            let starts: Vec<_> = (0..4)
                .map(|_| {
                    let (path, line_up) = (place.socket(), Arc::clone(&line_up));
                    thread::spawn(move || {
                        line_up.wait();
                        Server::start(&path, Arc::new(Echo))
                    })
                })
                .collect();
            let outcomes: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
            assert!(call::<Stats>(&place.socket(), &Request::Stats {}).is_ok(), "the winner is reachable");
        }
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let place = Place::new("file");
        fs::write(place.socket(), b"precious").unwrap();
        let error = Server::start(&place.socket(), Arc::new(Echo)).unwrap_err();
        assert!(matches!(error, SocketError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read(place.socket()).unwrap(), b"precious");
        let error = Server::start(Path::new("/nonexistent/s.sock"), Arc::new(Echo)).unwrap_err();
        assert!(error.to_string().contains("cannot lock its folder: No such file"), "{error}");
    }

    #[test]
    fn a_socket_that_took_the_place_of_ours_is_not_removed() {
        let place = Place::new("moved");
        let server = place.start();
        fs::remove_file(server.path()).unwrap();
        let _other = UnixListener::bind(place.socket()).unwrap();
        server.stop();
        assert!(place.socket().exists());
    }
}
