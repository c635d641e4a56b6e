//! A real browser without a window, for tests of pages.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Longest that a page may take. A browser that hangs is to fail one test and not to hold up all of them.
const LONGEST: Duration = Duration::from_secs(15);

/// The browser, if there is one. Otherwise the reason is printed and the test is to return; with the environment variable
/// HANDFAST_REQUIRE_ROOT_TESTS set it fails instead, so that nobody takes a skipped test for a passed one.
pub fn browser_or_skip(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    let browser = found.into_iter().find(|file| file.is_file());
    let required = std::env::var_os("HANDFAST_REQUIRE_ROOT_TESTS").is_some();
    assert!(browser.is_some() || !required, "{test} needs Chromium, and HANDFAST_REQUIRE_ROOT_TESTS is set");
    if browser.is_none() {
        // Not eprintln!: the test harness would swallow it, since the test passes.
        let _ = writeln!(std::io::stderr(), "skipped: {test} needs Chromium (scripts/setup --test installs it)");
    }
    browser
}

/// What a browser made of a page.
pub struct Seen {
    /// The document when it had been loaded and its scripts had run.
    pub dom: String,
    /// Lines that the browser's console got: errors, and what the security policy kept away.
    pub console: Vec<String>,
}

/// Loads a file, with all that the browser writes kept in `folder`.
pub fn load(browser: &Path, file: &Path, folder: &Path) -> Seen {
    let profile = folder.join("profile");
    let _ = fs::remove_dir_all(&profile);
    fs::create_dir_all(&profile).unwrap();
    let (dom, log) = (folder.join("dom.html"), folder.join("log"));
    let mut child = Command::new(browser)
        // Without these, it looks for its makers' servers.
        .args(["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args([
            "--enable-logging=stderr",
            "--v=0",
            "--window-size=1400,1000",
            "--virtual-time-budget=3000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", file.display()))
        .stdout(File::create(&dom).unwrap())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .expect("the browser can be started");
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > LONGEST {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the browser did not finish; it wrote {}", log.display());
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "the browser ended with {status}; it wrote {}", log.display());
    let log = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    let console = log.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    Seen { dom: fs::read_to_string(&dom).unwrap(), console }
}
