//! House rules that the compiler does not check, read from the sources: imports go down the floors, unsafe code has two
//! rooms, files stay short and say what they are, nothing is left unfinished, documents name only what exists, and
//! explain what there is.
//!
//! Every rule is a function from one file's path and text to its findings. It has two tests: one that the tree keeps the
//! rule, and one that a bad sample is noticed, so that a rule that finds nothing is known to look.
//!
//! This is a reader of tokens and not a compiler: what a macro makes, it does not see.

use handfast::port::{FrameLedger, KernelStatistics, PortCounters};
use handfast::stats::counters::Counters;
use handfast::tcp::state::State;
use handfast::verdict::DropReason;
use handfast::worker::capture::CaptureCounters;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors of src/, lowest first. A room may name its own floor and those below.
const FLOORS: &[&[&str]] = &[
    &["wire", "verdict", "time", "arch"],
    &["tcp", "flow", "timer", "service", "stats", "profile"],
    &["engine", "port"],
    &["worker", "steer", "observe"],
    &["control", "blast", "flood", "bench", "sim"],
    &["main", "cli"],
];

/// Two towers on one floor: neither may name the other.
const TOWERS: [&str; 2] = ["engine", "port"];

/// Where unsafe code is allowed.
const UNSAFE_ROOMS: [&str; 2] = ["src/arch", "src/port/xsk"];

/// The data path: what runs for a frame, a due timer or a command, from port to worker.
const DATA_PATH: [&str; 15] = [
    "src/engine/",
    "src/flow/",
    "src/port/chunks.rs",
    "src/port/memory.rs",
    "src/port/mod.rs",
    "src/port/rings.rs",
    "src/port/xsk/rings.rs",
    "src/port/xsk/umem.rs",
    "src/profile/",
    "src/service/",
    "src/stats/publish.rs",
    "src/tcp/",
    "src/timer/",
    "src/wire/",
    "src/worker/",
];

/// What it does without: locks, waiting, shared ownership, atomic read-modify-write, the heap, output, clocks. What grows
/// a vector that has room cannot be told from one that has not: tests/no_alloc.rs counts instead.
const NOT_ON_DATA_PATH: [&str; 45] = [
    "Mutex",
    "RwLock",
    "Condvar",
    "Barrier",
    "OnceLock",
    "OnceCell",
    "LazyLock",
    "mpsc",
    "thread",
    "Arc::new",
    "Arc::clone",
    "Rc",
    "RefCell",
    "fetch_add",
    "fetch_sub",
    "fetch_or",
    "fetch_and",
    "fetch_update",
    "compare_exchange",
    "compare_exchange_weak",
    "force_push",
    "Box::new",
    "Vec::new",
    "with_capacity",
    "reserve",
    "vec!",
    "String",
    "format!",
    "to_string",
    "to_owned",
    "to_vec",
    "into_boxed_slice",
    "collect",
    "concat",
    "clone",
    "print!",
    "println!",
    "eprint!",
    "eprintln!",
    "write!",
    "log",
    "tracing",
    "Instant::now",
    "SystemTime",
    "dyn",
];

/// Functions in those files that run before the first frame, on the control path, or for a test's message.
const NOT_DATA_PATH_FUNCTIONS: [(&str, &[&str]); 22] = [
    ("src/engine/events.rs", &["new"]),
    ("src/engine/failures.rs", &["with_room"]),
    ("src/engine/half_open.rs", &["new"]),
    ("src/engine/listeners.rs", &["default", "new"]),
    ("src/engine/mod.rs", &["new"]),
    ("src/engine/ready.rs", &["new"]),
    ("src/flow/index.rs", &["new"]),
    ("src/flow/slab.rs", &["new"]),
    ("src/port/chunks.rs", &["new"]),
    ("src/port/memory.rs", &["new", "pair"]),
    ("src/port/mod.rs", &["new"]),
    ("src/port/rings.rs", &["over"]),
    ("src/port/xsk/rings.rs", &["new"]),
    ("src/port/xsk/umem.rs", &["new"]),
    ("src/service/http.rs", &["new"]),
    ("src/timer/wheel.rs", &["new"]),
    ("src/wire/segment.rs", &["fmt"]),
    ("src/worker/capture/filter.rs", &["new"]),
    ("src/worker/capture/queue.rs", &["pair"]),
    ("src/worker/capture/recall.rs", &["new"]),
    ("src/worker/clock.rs", &["start"]),
    ("src/worker/mailbox.rs", &["new"]),
];

/// Longest file in src/, in lines.
const LONGEST_FILE: usize = 700;

/// Marks of unfinished work, written so that this file does not have them.
const UNFINISHED: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("db", "g!"), concat!("to", "do!")];

// ---- the rules ----

/// Imports of a higher floor, of the other tower, or of a room that has no floor.
fn upward_imports(path: &str, text: &str) -> Vec<String> {
    let Some(room) = room_of(path) else { return Vec::new() };
    let Some(floor) = floor_of(room) else {
        return vec![format!("{path}: the room `{room}` has no floor in tests/tidy.rs")];
    };
    let mut findings = Vec::new();
    for (line, named) in named_rooms(path, text) {
        let wrong = match floor_of(&named) {
            None => Some("which has no floor in tests/tidy.rs"),
            Some(other) if other > floor => Some("which is on a higher floor"),
            Some(_) if TOWERS.contains(&room) && TOWERS.contains(&named.as_str()) && room != named => {
                Some("the other tower on its floor")
            }
            Some(_) => None,
        };
        findings.extend(wrong.map(|why| format!("{path}:{line}: `{room}` names `{named}`, {why}")));
    }
    findings
}

/// Unsafe code outside its rooms.
fn stray_unsafe(path: &str, text: &str) -> Vec<String> {
    if UNSAFE_ROOMS.iter().any(|room| path.starts_with(&format!("{room}/")) || path == format!("{room}.rs")) {
        return Vec::new();
    }
    let code = code_of(text);
    let lines = code.lines().enumerate().filter(|(_, line)| words(line).any(|word| word == "unsafe"));
    lines.map(|(i, _)| format!("{path}:{}: unsafe code outside {UNSAFE_ROOMS:?}", i + 1)).collect()
}

/// What the data path does without, outside of the named functions, imports and tests.
fn costs_on_data_path(path: &str, text: &str) -> Vec<String> {
    if !DATA_PATH.iter().any(|part| path.starts_with(part)) || path.ends_with("tests.rs") {
        return Vec::new();
    }
    let elsewhere = NOT_DATA_PATH_FUNCTIONS.iter().find(|(file, _)| *file == path).map_or(&[][..], |(_, names)| names);
    let code = code_of(text);
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let code = without_functions(code, elsewhere);
    let mut findings = Vec::new();
    for (i, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("use ")) {
        let found = NOT_ON_DATA_PATH.iter().filter(|cost| has_word(line, cost));
        findings.extend(found.map(|cost| format!("{path}:{}: {cost} on the data path", i + 1)));
    }
    findings
}

/// A file too long to hold one idea.
fn too_long(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    if lines > LONGEST_FILE { vec![format!("{path}: {lines} lines, at most {LONGEST_FILE}")] } else { Vec::new() }
}

/// A source file that does not open by saying what it is.
fn missing_head(path: &str, text: &str) -> Vec<String> {
    if text.starts_with("//! ") { Vec::new() } else { vec![format!("{path}:1: does not open with a //! line")] }
}

/// Marks of unfinished work.
fn unfinished(path: &str, text: &str) -> Vec<String> {
    let marks = |line: &str| UNFINISHED.iter().find(|mark| line.contains(*mark)).copied();
    let lines = text.lines().enumerate().filter_map(|(i, line)| Some((i + 1, marks(line)?)));
    lines.map(|(line, mark)| format!("{path}:{line}: {mark}")).collect()
}

/// Paths below scripts/ and docs/ that a document names and that `exists` does not know.
fn missing_paths(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let mut findings = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for word in line.split(|c| !is_path(c)) {
            // What is left of a URL starts with slashes and is somebody else's folder.
            let word = word.strip_prefix("./").or_else(|| word.strip_prefix("../")).unwrap_or(word);
            let word = word.trim_end_matches(['.', '/', '-']);
            if (word.starts_with("scripts/") || word.starts_with("docs/")) && !exists(word) {
                findings.push(format!("{path}:{}: names {word}, which does not exist", i + 1));
            }
        }
    }
    findings
}

/// The names that docs/rfc.md may use.
struct Known {
    /// Functions, each with the file that has it, without `.rs`.
    functions: BTreeSet<(String, String)>,
    /// Test functions, and packet scripts without `.script`.
    tests: BTreeSet<String>,
}

impl Known {
    /// True if `path` (like `tcp::tcb::Tcb::ack`) names a function in the file or folder that its modules lead to.
    fn has_function(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split("::").collect();
        let Some((function, modules)) = names.split_last() else { return false };
        let is_type = |name: &&&str| !name.starts_with(char::is_uppercase);
        let room = modules.iter().take_while(is_type).fold("src".to_owned(), |room, name| room + "/" + name);
        let in_room =
            |file: &str| file.strip_prefix(&room).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.functions.iter().any(|(name, file)| name == function && in_room(file))
    }
}

/// What a row of a table of requirements has to name, by its state.
const STATES: [&str; 3] = ["done", "partly", "not done"];

/// Fewest letters that a reason has.
const SHORTEST_REASON: usize = 15;

/// Rows `| Requirement | State | Code | Test or reason |` of docs/rfc.md that do not hold: what is done names its code and
/// its test, what is partly done a reason besides, and what is not done a reason. Other tables are of another kind.
fn unproven_rows(path: &str, text: &str, known: &Known) -> Vec<String> {
    let mut findings = Vec::new();
    let mut in_table = false;
    for (i, line) in text.lines().enumerate() {
        let cells: Vec<&str> = match line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')) {
            Some(row) => row.split('|').map(str::trim).collect(),
            None => Vec::new(),
        };
        if cells.first() == Some(&"Requirement") {
            in_table = true;
            continue;
        }
        in_table &= !cells.is_empty();
        if !in_table || cells.iter().all(|cell| cell.chars().all(|c| c == '-' || c == ':')) {
            continue;
        }
        let mut find = |what: String| findings.push(format!("{path}:{}: {what}", i + 1));
        let [_, state, code, proof] = cells[..] else {
            find(format!("a row of {} columns", cells.len()));
            continue;
        };
        let (functions, tests) = (quoted(code), quoted(proof));
        functions
            .iter()
            .filter(|name| !known.has_function(name))
            .for_each(|name| find(format!("no function `{name}`")));
        tests.iter().filter(|name| !known.tests.contains(**name)).for_each(|name| find(format!("no test `{name}`")));
        let has_reason = unquoted(proof).filter(|c| c.is_alphabetic()).count() >= SHORTEST_REASON;
        match state {
            "done" | "partly" if functions.is_empty() => find(format!("{state} without code")),
            "done" if tests.is_empty() => find("done without a test".into()),
            "partly" if tests.is_empty() && !has_reason => find("partly done without a test or a reason".into()),
            "partly" | "not done" if !has_reason => find(format!("{state} without a reason")),
            state if STATES.contains(&state) => {}
            other => find(format!("the state {other:?} is none of {STATES:?}")),
        }
    }
    findings
}

/// The pieces of `text` between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The characters of `text` outside of backticks.
fn unquoted(text: &str) -> impl Iterator<Item = char> + '_ {
    text.split('`').step_by(2).flat_map(str::chars)
}

/// Names of `kind` that a page does not have between backticks.
fn unexplained(path: &str, text: &str, kind: &str, names: &[String]) -> Vec<String> {
    let explained: BTreeSet<&str> = text.lines().flat_map(quoted).collect();
    let missing = names.iter().filter(|name| !explained.contains(name.as_str()));
    missing.map(|name| format!("{path}: says nothing of the {kind} `{name}`")).collect()
}

// ---- reading sources ----

/// The room that a file of src/ belongs to; lib.rs is the map and belongs to none.
fn room_of(path: &str) -> Option<&str> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    let room = first.strip_suffix(".rs").unwrap_or(first);
    (room != "lib").then_some(room)
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms that a file names through `crate::`, through the library's name, or through as many `super::` as lead to
/// the crate's root; with the number of the line.
fn named_rooms(path: &str, text: &str) -> Vec<(usize, String)> {
    let code = code_of(text);
    let mut found = Vec::new();
    for root in ["crate::".to_owned(), "handfast::".to_owned(), "super::".repeat(depth_of(path))] {
        for (at, _) in code.match_indices(&root) {
            // Longer words that end like the root, and `super::` that others precede.
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            found.extend(first_segments(&code[at + root.len()..]).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// How many `super::` lead from the module that the file is to the crate's root.
fn depth_of(path: &str) -> usize {
    let path = path.strip_prefix("src/").unwrap_or(path);
    path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count()
}

/// What a path's text starts with: one name, or the first names of a braced group. Globs and macros are no rooms.
fn first_segments(rest: &str) -> Vec<String> {
    let name =
        |text: &str| -> String { text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(group) = rest.strip_prefix('{') else {
        let first = name(rest);
        let is_macro = rest[first.len()..].starts_with('!');
        return if first.is_empty() || is_macro { Vec::new() } else { vec![first] };
    };
    let (mut depth, mut item, mut names) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&std::mem::take(&mut item))),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    names.push(name(&item));
    names.retain(|name| !name.is_empty() && name != "self");
    names
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// True if `line` has `word` and not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let behind = &line[at + word.len()..];
        !line[..at].ends_with(is_part) && (word.ends_with('!') || !behind.starts_with(is_part))
    })
}

/// Code without the bodies of the functions called `names`; the line numbers stay.
fn without_functions(code: &str, names: &[&str]) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("fn ") {
        let (before, function) = rest.split_at(at + 3);
        kept.push_str(before);
        rest = function;
        let name = words(function).next().unwrap_or_default();
        let body = function.find('{').filter(|open| !function[..*open].contains(';'));
        if let (true, Some(open)) = (names.contains(&name), body) {
            let mut depth = 0;
            let close = function.char_indices().skip_while(|(at, _)| *at < open).find(|(_, c)| {
                depth += match c {
                    '{' => 1,
                    '}' => -1,
                    _ => 0,
                };
                depth == 0
            });
            let end = close.map_or(function.len(), |(at, _)| at);
            kept.extend(function[..end].matches('\n'));
            rest = &function[end..];
        }
    }
    kept.push_str(rest);
    kept
}

/// A Rust file without its comments, strings and character literals; the line numbers stay.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = skipped_length(rest);
        if skipped > 0 {
            code.push(' ');
            code.extend(rest[..skipped].matches('\n'));
            rest = &rest[skipped..];
            continue;
        }
        code.push(c);
        rest = &rest[c.len_utf8()..];
        // An `r` or `b` inside a word opens no raw string.
        if c.is_alphanumeric() || c == '_' {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            code.push_str(&rest[..word]);
            rest = &rest[word..];
        }
    }
    code
}

/// How long the comment or literal is that `rest` starts with, in bytes; 0 if it starts with code.
fn skipped_length(rest: &str) -> usize {
    let until = |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until(2, "*/");
    }
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).unwrap_or("");
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    if raw[hashes..].starts_with('"') {
        return until(rest.len() - raw.len() + hashes + 1, &format!("\"{}", "#".repeat(hashes)));
    }
    let quoted = |quote: char| {
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == quote => return at + 1,
                _ => {}
            }
        }
        rest.len()
    };
    let mut chars = rest.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('"'), ..) => quoted('"'),
        // A lifetime has no closing quote behind its first letter.
        (Some('\''), Some('\\'), _) | (Some('\''), Some(_), Some('\'')) => quoted('\''),
        _ => 0,
    }
}

// ---- the tree ----

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` that `wanted` takes by their name, as (path from the root, text), in order.
fn files(folder: &str, wanted: fn(&str) -> bool) -> Vec<(String, String)> {
    let mut open: Vec<PathBuf> = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.file_name().and_then(|name| name.to_str()).is_some_and(wanted) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn is_rust(name: &str) -> bool {
    name.ends_with(".rs")
}

/// Applies a rule to files and fails with all its findings.
fn check(files: &[(String, String)], rule: impl Fn(&str, &str) -> Vec<String>) {
    let findings: Vec<String> = files.iter().flat_map(|(path, text)| rule(path, text)).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

fn sources() -> Vec<(String, String)> {
    let files = files("src", is_rust);
    assert!(files.iter().any(|(path, _)| path == "src/lib.rs"), "the sources were not found");
    files
}

fn documents() -> Vec<(String, String)> {
    let mut documents =
        if root().join("docs").exists() { files("docs", |name| name.ends_with(".md")) } else { Vec::new() };
    documents.extend(fs::read_to_string(root().join("README.md")).map(|text| ("README.md".to_owned(), text)));
    documents
}

/// The functions, tests and packet scripts that there are.
fn known() -> Known {
    let mut known = Known { functions: BTreeSet::new(), tests: BTreeSet::new() };
    for (path, text) in sources().into_iter().chain(files("tests", is_rust)) {
        let file = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let code = code_of(&text);
        known.functions.extend(names_behind_fn(&code).map(|name| (name.to_owned(), file.to_owned())));
        known
            .tests
            .extend(code.split("#[test]").skip(1).filter_map(|code| names_behind_fn(code).next()).map(str::to_owned));
    }
    let scripts = files("tests/scripts", |name| name.ends_with(".script"));
    let stem = |path: &str| path.rsplit('/').next().unwrap_or(path).trim_end_matches(".script").to_owned();
    known.tests.extend(scripts.iter().map(|(path, _)| stem(path)));
    known
}

fn names_behind_fn(code: &str) -> impl Iterator<Item = &str> {
    let mut words = words(code);
    std::iter::from_fn(move || words.find(|word| *word == "fn").and_then(|_| words.next()))
}

/// What the steering program counts, by the names that reports use.
fn steer_counters() -> Vec<String> {
    let contract = fs::read_to_string(root().join("bpf/contract.h")).unwrap();
    let (_, list) = contract.split_once("enum steer_counter {").expect("the contract lists the counters");
    let (list, _) = list.split_once("STEER_COUNTERS").expect("the list ends with how many there are");
    words(list).filter_map(|word| word.strip_prefix("STEER_")).map(str::to_lowercase).collect()
}

/// The keys of the example configuration, those that are commented out too.
fn settings() -> Vec<String> {
    let example = fs::read_to_string(root().join("docs/handfast.toml")).unwrap();
    let key = |line: &str| {
        let (name, _) = line.strip_prefix('#').unwrap_or(line).split_once(" = ")?;
        name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-').then(|| name.to_owned())
    };
    example.lines().filter_map(key).collect()
}

// ---- the tests ----

#[test]
fn imports_go_down_the_floors() {
    check(&sources(), upward_imports);
}

#[test]
fn an_upward_import_is_noticed() {
    let noticed = |path, text| !upward_imports(path, text).is_empty();
    assert!(noticed("src/tcp/input.rs", "use crate::engine::Engine;"));
    assert!(noticed("src/wire/mod.rs", "use crate::{time::Now, stats::{Counters, ledger}};"));
    assert!(noticed("src/tcp/input.rs", "fn f() { let x = crate::worker::turn(); }"));
    assert!(noticed("src/tcp/input.rs", "use super::super::engine::Engine;"));
    assert!(noticed("src/time.rs", "use super::stats::Counters;"));
    assert!(noticed("src/port/mod.rs", "pub use crate::engine::Engine;"));
    assert!(noticed("src/engine/mod.rs", "use crate::port::Port;"));
    assert!(noticed("src/cellar/mod.rs", ""), "a room without a floor");
    assert!(noticed("src/tcp/mod.rs", "use crate::cellar::Wine;"), "a room without a floor");
    assert!(noticed("src/control/mod.rs", "use handfast::main::run;"));

    assert!(!noticed("src/main.rs", "use handfast::control::{config, socket};"));
    assert!(!noticed("src/engine/mod.rs", "use crate::{tcp, verdict::{DropReason, Verdict}};"));
    assert!(!noticed("src/engine/burst/mod.rs", "use super::port;"), "that is engine::port");
    assert!(!noticed(
        "src/tcp/mod.rs",
        "//! see crate::engine\nconst S: &str = \"crate::engine\"; use crate::time::*;"
    ));
    assert!(!noticed("src/lib.rs", "pub use crate::engine::Engine;"));
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    check(&sources(), stray_unsafe);
}

#[test]
fn stray_unsafe_code_is_noticed() {
    assert_eq!(stray_unsafe("src/port/memory.rs", "fn f() {\n    unsafe { g() }\n}").len(), 1);
    assert_eq!(stray_unsafe("src/archive.rs", "unsafe fn f() {}").len(), 1);
    assert!(stray_unsafe("src/port/xsk/umem.rs", "unsafe { g() }").is_empty());
    assert!(stray_unsafe("src/arch/mod.rs", "unsafe { g() }").is_empty());
    assert!(
        stray_unsafe("src/tcp/mod.rs", "#![forbid(unsafe_code)] // unsafe\n/* unsafe */ \"unsafe\" r#\"unsafe\"#")
            .is_empty()
    );
}

#[test]
fn the_data_path_does_without_locks_the_heap_and_output() {
    let sources = sources();
    check(&sources, costs_on_data_path);
    for part in DATA_PATH.iter().chain(NOT_DATA_PATH_FUNCTIONS.iter().map(|(file, _)| file)) {
        assert!(sources.iter().any(|(path, _)| path.starts_with(part)), "{part} is no part of the tree any more");
    }
}

#[test]
fn a_cost_on_the_data_path_is_noticed() {
    let found = |path, text| costs_on_data_path(path, text).len();
    assert_eq!(found("src/tcp/input.rs", "fn f() {\n    let m = Mutex::new(0);\n}"), 1);
    assert_eq!(found("src/worker/mod.rs", "fn f(x: &T) { println!(\"{x}\"); let b = Box::new(x.clone()); }"), 3);
    assert_eq!(found("src/engine/mod.rs", "fn new() -> Self { vec![0; 3] }\nfn turn() { vec![0; 3]; }"), 1);
    assert_eq!(found("src/engine/mod.rs", "fn turn() { n.fetch_add(1) }"), 1);
    assert_eq!(
        costs_on_data_path("src/engine/mod.rs", "fn new() {\n{}\n}\nvec![]")[0],
        "src/engine/mod.rs:4: vec! on the data path"
    );
    assert_eq!(found("src/engine/mod.rs", "fn new() -> Self { vec![0; 3] }"), 0);
    assert_eq!(found("src/tcp/input.rs", "// Mutex\nuse std::sync::Mutex;\n#[derive(Clone)] struct Cloner(logic);"), 0);
    assert_eq!(found("src/tcp/input.rs", "fn f() {}\n#[cfg(test)]\nmod tests { fn g() { vec![1]; } }"), 0);
    assert_eq!(found("src/control/mod.rs", "fn f() { vec![1]; }"), 0);
}

#[test]
fn files_hold_one_idea_and_say_which() {
    check(&sources(), too_long);
    check(&sources(), missing_head);
    check(&files("tests", is_rust), missing_head);
    check(&files("fuzz/src", is_rust), missing_head);
    check(&files("fuzz/fuzz_targets", is_rust), missing_head);
}

#[test]
fn a_long_or_headless_file_is_noticed() {
    assert!(too_long("src/a.rs", &"x\n".repeat(LONGEST_FILE)).is_empty());
    assert_eq!(too_long("src/a.rs", &"x\n".repeat(LONGEST_FILE + 1)).len(), 1);
    assert!(missing_head("src/a.rs", "//! What is here.\n").is_empty());
    assert_eq!(missing_head("src/a.rs", "// What is here.\n").len(), 1);
    assert_eq!(missing_head("src/a.rs", "").len(), 1);
}

#[test]
fn nothing_is_left_unfinished() {
    for folder in ["src", "tests", "bpf", "benches", "scripts", "fuzz/src", "fuzz/fuzz_targets", "fuzz/steering"] {
        if root().join(folder).exists() {
            check(&files(folder, |name| !name.ends_with(".o")), unfinished);
        }
    }
}

#[test]
fn unfinished_work_is_noticed() {
    for mark in UNFINISHED {
        assert_eq!(unfinished("src/a.rs", &format!("fn f() {{\n    // {mark} later\n}}")).len(), 1, "{mark}");
    }
    assert!(unfinished("src/a.rs", "fn methods() {}").is_empty());
}

#[test]
fn documents_name_only_scripts_and_pages_that_exist() {
    check(&documents(), |path, text| missing_paths(path, text, &|named| root().join(named).exists()));
}

#[test]
fn a_page_that_does_not_exist_is_noticed() {
    let exists = |named: &str| named == "scripts/demo";
    let names = |text| missing_paths("README.md", text, &exists).len();
    assert_eq!(names("Run `./scripts/demo`, then scripts/demo."), 0);
    assert_eq!(names("Run `./scripts/dance`."), 1);
    assert_eq!(names("See [the map](docs/architecture.md) and [more](../docs/more.md)."), 2);
    assert_eq!(names("https://docs.example.org/docs/page.html and mydocs/page"), 0);
}

fn page(path: &str) -> Vec<(String, String)> {
    let page: Vec<_> = documents().into_iter().filter(|(found, _)| found == path).collect();
    assert_eq!(page.len(), 1, "{path} is missing");
    page
}

#[test]
fn every_requirement_has_its_code_and_its_test_or_a_reason() {
    let known = known();
    assert!(known.tests.contains("every_requirement_has_its_code_and_its_test_or_a_reason"));
    let page = page("docs/rfc.md");
    assert!(page[0].1.contains("| Requirement | State | Code | Test or reason |"), "the tables were not found");
    check(&page, |path, text| unproven_rows(path, text, &known));
}

#[test]
fn a_requirement_without_proof_is_noticed() {
    let pair = |(function, file): (&str, &str)| (function.to_owned(), file.to_owned());
    let known = Known {
        functions: [("open", "src/tcp/listen"), ("ack", "src/tcp/tcb")].map(pair).into(),
        tests: ["a_syn_opens"].map(str::to_owned).into(),
    };
    let rows = |row: &str| {
        let text = format!("| Requirement | State | Code | Test or reason |\n|---|---|---|---|\n{row}\n\n| a | b |\n");
        unproven_rows("docs/rfc.md", &text, &known).len()
    };
    assert_eq!(rows("| MUST-1 | done | `tcp::listen::open` | `a_syn_opens` |"), 0);
    assert_eq!(rows("| MUST-1 | done | `tcp::tcb::Tcb::ack`, `tcp::listen::open` | `a_syn_opens` |"), 0);
    assert_eq!(
        rows("| MUST-1 | partly | `tcp::listen::open` | `a_syn_opens`; the other half would need a buffer |"),
        0
    );
    assert_eq!(rows("| MUST-1 | not done | - | There is no buffer to hold it. |"), 0);
    assert_eq!(rows("| MUST-1 | done | `tcp::listen::open` | `a_syn_opens`, `gone` |"), 1);
    assert_eq!(rows("| MUST-1 | done | `tcp::listen::gone` | `a_syn_opens` |"), 1);
    assert_eq!(rows("| MUST-1 | done | `tcp::input::open` | `a_syn_opens` |"), 1, "it is in another file");
    assert_eq!(rows("| MUST-1 | done | `tcp::listen::open` | `open` |"), 1, "that is no test");
    assert_eq!(rows("| MUST-1 | done | `tcp::listen::open` | It is plain to see that it holds. |"), 1);
    assert_eq!(rows("| MUST-1 | partly | `tcp::listen::open` | `a_syn_opens` |"), 1);
    assert_eq!(rows("| MUST-1 | not done | - | later |"), 1);
    assert_eq!(rows("| MUST-1 | nearly | `tcp::listen::open` | `a_syn_opens` |"), 1);
    assert_eq!(rows("| MUST-1 | done |"), 1);
}

#[test]
fn operations_explain_every_counter_drop_reason_and_setting() {
    let page = page("docs/operations.md");
    let owned = |names: &[&str]| -> Vec<String> { names.iter().map(ToString::to_string).collect() };
    let drops: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    let engine: Vec<&str> = Counters::new().scalars().map(|(name, _)| name).collect();
    let states: Vec<&str> = State::ALL.iter().map(|state| state.name()).collect();
    let kinds = [
        ("drop reason", owned(&drops)),
        ("counter", owned(&engine)),
        ("counter of the port", owned(PortCounters::NAMES)),
        ("place of a frame", owned(FrameLedger::NAMES)),
        ("counter of the kernel", owned(KernelStatistics::NAMES)),
        ("counter of a capture", owned(CaptureCounters::NAMES)),
        ("counter of steering", steer_counters()),
        ("state", owned(&states)),
        ("setting", settings()),
    ];
    for (kind, names) in kinds {
        assert!(names.len() >= 5, "the names of each {kind} were not found: {names:?}");
        check(&page, |path, text| unexplained(path, text, kind, &names));
    }
}

#[test]
fn a_name_that_a_page_does_not_explain_is_noticed() {
    let names = ["received".to_owned(), "seen".to_owned()];
    assert_eq!(unexplained("docs/a.md", "| `received` | frames |\n| `seen` | frames |", "counter", &names).len(), 0);
    assert_eq!(unexplained("docs/a.md", "| `received` | seen |", "counter", &names).len(), 1);
}

#[test]
fn comments_and_literals_are_not_code() {
    assert_eq!(code_of("a // b\nc").split_whitespace().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(code_of("a /* b\n */ c").matches('\n').count(), 1);
    assert_eq!(code_of(r#"f("x \" y", 'z', '\'', 'w')"#), "f( ,  ,  ,  )");
    assert_eq!(code_of("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
    assert_eq!(code_of("x(r##\"a \"# b\"##) + bar\"c\""), "x( ) + bar ");
}
