//! The HTML pages of a load test, of a comparison under a flood and of a profile in a real browser: all sections there, the figures those of the JSON, charts that are shown
//! and can be read, on a wide screen and on a phone.
//!
//! The page itself runs no script. What is measured, a second document measures that has the page in two frames.
#![cfg(feature = "xdp")]

#[path = "common/browser.rs"]
mod browser;

use browser::{browser_or_skip, load};
use handfast::bench::defence::page::page;
use handfast::bench::defence::report::{After, DefenceReport, DefenderReport, Honest, Peak, StepReport};
use handfast::blast::html;
use handfast::blast::report::{
    BlastReport, Connections, GeneratorReport, Latencies, Packets, PlanReport, Sample, SearchReport, SearchStep, float,
};
use handfast::blast::tally::{Phase, Reason, Tally};
use handfast::observe::json::line;
use handfast::observe::page::escape;
use handfast::observe::profile::{self, Batch, Budget, LINKS, Part, ProfileReport, Profiled, WorkerProfile};
use handfast::profile::Stage;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A latency in nanoseconds from `base` to twice as much, and with each halving of the chance 1.4 times longer.
    fn latency(&mut self, base: u64) -> u64 {
        let (halvings, offset) = (self.next().trailing_zeros(), self.next() % base);
        (base + offset) << (halvings / 2)
    }
}

/// A run of half a minute: a ramp of five seconds to 60,000 connections a second, and a stall in the eighteenth.
fn example() -> BlastReport {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut tally = Tally::default();
    for _ in 0..40_000 {
        let (handshake, first_byte, teardown) =
            (random.latency(42_000), random.latency(90_000), random.latency(30_000));
        tally.measured(Phase::Handshake, handshake);
        tally.measured(Phase::FirstByte, first_byte);
        tally.measured(Phase::Teardown, teardown);
        tally.measured(Phase::Total, handshake + first_byte + teardown);
    }
    let mut series = Vec::new();
    let mut now = Sample::default();
    for second in 1..=30_u64 {
        let offered = 60_000 * second.min(5) / 5 - if second < 5 { 6_000 } else { 0 };
        let stalled = second == 18;
        let lost = if stalled { 1_400 } else { random.next() % 3 * u64::from(second > 4) };
        now.t_s = float(second);
        now.attempted += offered;
        now.open = if stalled { 1_900 } else { offered / 1_500 + random.next() % 9 };
        now.failed += lost;
        now.completed = now.attempted - now.failed - now.open;
        now.established = now.completed + now.open / 2;
        series.push(now);
    }
    now = Sample {
        t_s: 30.02,
        completed: now.attempted - now.failed,
        established: now.attempted - now.failed,
        open: 0,
        ..now
    };
    series.push(now);
    (tally.attempted, tally.established, tally.completed) = (now.attempted, now.established, now.completed);
    tally.failed[Reason::HandshakeTimeout.index()] = now.failed - 130;
    tally.failed[Reason::Reset.index()] = 118;
    tally.failed[Reason::WrongAnswer.index()] = 12;
    BlastReport {
        version: "0.1.0".into(),
        target: "198.18.0.1:80".parse().unwrap(),
        interface: "hf-client".into(),
        engine: "afxdp".into(),
        plan: PlanReport {
            rate: Some(60_000),
            duration_s: 30.0,
            ramp_s: 5.0,
            hold_s: Some(0.0),
            close: "client".into(),
            request_bytes: 48,
            source: "198.18.1.0/24".into(),
            ports: [1_024, 65_535],
            ..PlanReport::default()
        },
        connections: Connections::of(&tally),
        connections_per_second: float(now.completed) / 30.0,
        packets_per_second: Packets { rx: 164_321.4, tx: 219_876.6 },
        latency_us: Latencies::of(&tally),
        duration_s: 30.0,
        generator: GeneratorReport {
            workers: 1,
            mode: "native, copy".into(),
            busy_percent: 71.3,
            late: 212,
            most_late_us: 5_213.7,
            most_in_progress: 3_377,
            limits: [("no_frame".to_owned(), 41)].into(),
            bottleneck: None,
        },
        series,
        search: None,
    }
}

/// A search whose loss begins somewhat above 200,000 connections a second.
fn searched() -> BlastReport {
    let step =
        |rate: f64, completed: f64, failed| SearchStep { rate, offered: rate, completed, failed, passed: failed == 0 };
    let steps = vec![
        step(50_000.0, 50_000.0, 0),
        step(100_000.0, 100_000.0, 0),
        step(200_000.0, 200_000.0, 0),
        step(400_000.0, 221_000.0, 358_000),
        step(300_000.0, 230_500.0, 139_000),
        step(250_000.0, 238_000.0, 24_000),
        step(225_000.0, 225_000.0, 0),
        step(237_500.0, 237_100.0, 800),
    ];
    let mut report = example();
    report.search = Some(SearchReport { rate: 225_000.0, steps });
    report.generator.bottleneck = Some("the busiest worker had no time left (99 % busy)".into());
    report
}

/// Describes what two frames, 1,280 and 390 pixels wide, show of a page.
const MEASURE: &str = r#"
const inFrame = frame => {
  const page = frame.contentDocument, svgs = [];
  for (const svg of page.querySelectorAll('svg')) {
    const box = svg.getBoundingClientRect();
    if (getComputedStyle(svg).display === 'none') continue;
    const texts = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
    const touching = [], outside = [];
    texts.forEach(([name, a], i) => {
      if (a.left < box.left - 1 || a.right > box.right + 1 || a.top < box.top - 1 || a.bottom > box.bottom + 1) outside.push(name);
      for (const [other, b] of texts.slice(i + 1)) {
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 0 && high > 3) touching.push(name + ' and ' + other);
      }
    });
    const text = Math.min(...texts.map(([, a]) => a.height));
    svgs.push({ title: svg.querySelector('title').textContent, width: box.width, height: box.height, text, touching, outside });
  }
  const figures = [...page.querySelectorAll('#summary data, #steps data, #stages data')].map(data => [data.dataset.json, data.textContent]);
  return {
    sections: [...page.querySelectorAll('section')].map(section => section.id), svgs, figures,
    json: page.getElementById('report').textContent,
    foreign: [...page.querySelectorAll('[src],[href]')].map(element => element.outerHTML),
    fetched: frame.contentWindow.performance.getEntriesByType('resource').map(entry => entry.name),
    scrolls: page.documentElement.scrollWidth - page.documentElement.clientWidth,
  };
};
addEventListener('load', () => {
  const seen = [...document.querySelectorAll('iframe')].map(inFrame);
  const script = document.createElement('script');
  script.type = 'application/json';
  script.id = 'seen';
  script.textContent = JSON.stringify(seen).replaceAll('<', '\\u003c');
  document.body.append(script);
});
"#;

/// What the two frames show of a page, which has to have a landmark in it.
fn seen(test: &str, page: &str, landmark: &str) -> Option<[Value; 2]> {
    let browser = browser_or_skip(test)?;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    fs::create_dir_all(&folder).unwrap();
    let (file, frames) = (folder.join("page.html"), folder.join("frames.html"));
    fs::write(&file, page).unwrap();
    let frame = |width| {
        format!("<iframe style=\"width:{width}px;height:4000px;border:0\" srcdoc=\"{}\"></iframe>", escape(page))
    };
    fs::write(&frames, format!("<!DOCTYPE html><script>{MEASURE}</script>{}{}", frame(1_280), frame(390))).unwrap();

    let alone = load(&browser, &file, &folder);
    assert!(alone.console.is_empty(), "{:#?}", alone.console);
    assert!(alone.dom.contains(landmark) && alone.dom.contains("</footer>"), "{}", alone.dom);

    let framed = load(&browser, &frames, &folder);
    assert!(framed.console.is_empty(), "{:#?}", framed.console);
    let (_, json) = framed.dom.split_once("id=\"seen\">").expect("the frames were measured");
    let seen: Value = serde_json::from_str(json.split_once("</script>").unwrap().0).unwrap();
    Some([seen[0].clone(), seen[1].clone()])
}

/// What holds for every page, on every screen.
fn check(screen: &Value, report: &str, sections: &[&str], charts: usize) {
    assert_eq!(screen["sections"], serde_json::json!(sections));
    assert!(screen["json"] == report, "the page carries the report");
    for empty in ["foreign", "fetched"] {
        assert_eq!(screen[empty], serde_json::json!([]), "{empty}: a page asks nobody for anything");
    }
    assert_eq!(screen["scrolls"], 0, "the page is as wide as the screen");
    let svgs = screen["svgs"].as_array().unwrap();
    assert_eq!(svgs.len(), charts, "each chart is shown in one of its two sizes: {svgs:#?}");
    for svg in svgs {
        let at_least = |field: &str, least: f64| {
            assert!(svg[field].as_f64().unwrap() >= least, "{field} below {least}: {svg:#}");
        };
        at_least("width", 300.0);
        at_least("height", 100.0);
        at_least("text", 12.0);
        for empty in ["touching", "outside"] {
            assert_eq!(svg[empty], serde_json::json!([]), "{empty} in {}", svg["title"]);
        }
    }
}

/// The figures of a table are the JSON's.
fn check_figures(screen: &Value, count: usize) {
    let json: Value = serde_json::from_str(screen["json"].as_str().unwrap()).unwrap();
    let figures = screen["figures"].as_array().unwrap();
    assert_eq!(figures.len(), count, "{figures:?}");
    for figure in figures {
        let (pointer, shown) = (figure[0].as_str().unwrap(), figure[1].as_str().unwrap());
        let value = json.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in the JSON"));
        // Failures stand in the JSON by reason; the table has their sum.
        let sum = |reasons: &serde_json::Map<String, Value>| reasons.values().filter_map(Value::as_f64).sum();
        let value = value.as_f64().or_else(|| value.as_object().map(sum)).unwrap();
        let shown: f64 = shown.replace(',', "").parse().unwrap();
        assert!((shown - value).abs() <= 0.5, "{pointer}: {shown} is not {value}");
    }
}

#[test]
fn the_page_of_a_run_can_be_read_on_a_screen_and_on_a_phone() {
    let report = example();
    let Some(screens) = seen("page_of_a_run", &html::page(&report), "id=\"verdict\"") else { return };
    for screen in screens {
        let sections = ["summary", "plan", "rate", "latency", "failures", "generator"];
        check(&screen, &line(&report), &sections, 5);
        // Attempted, established, completed, failed, three rates, duration.
        check_figures(&screen, 8);
    }
}

#[test]
fn the_page_of_a_search_can_be_read_on_a_screen_and_on_a_phone() {
    let report = searched();
    let Some(screens) = seen("page_of_a_search", &html::page(&report), "id=\"verdict\"") else { return };
    for screen in screens {
        let sections = ["summary", "plan", "search", "rate", "latency", "failures", "generator"];
        check(&screen, &line(&report), &sections, 6);
        check_figures(&screen, 8);
    }
}

/// Five contenders at seven steps, those further down the worse.
fn under_a_flood() -> DefenceReport {
    let step = |worse: u64, (flood, rate): (&str, u64)| {
        let failed = (rate / 2_000 * worse).min(5_000);
        let honest = Honest {
            started: 5_000,
            completed: 5_000 - failed,
            failed,
            completed_percent: float(5_000 - failed) / 50.0,
            handshake_us: if failed == 5_000 { [0.0, 0.0] } else { [90.5, 260.0 + float(failed) * 600.0] },
            ..Honest::default()
        };
        StepReport {
            flood: flood.into(),
            flood_sent: rate * 6,
            flood_answered: rate * 5,
            flood_per_second: float(rate),
            answered_per_second: float(rate) / float(worse + 1),
            answered_spread: [float(rate) / float(worse + 2), float(rate)],
            completed_percent_spread: [honest.completed_percent, 100.0],
            honest,
            server_core_percent: 71.3,
            generator_core_percent: 99.9,
        }
    };
    let steps = [
        ("0", 0),
        ("10k", 10_000),
        ("50k", 50_000),
        ("100k", 100_000),
        ("200k", 200_000),
        ("400k", 400_000),
        ("max", 910_400),
    ];
    let names = ["kernel", "kernel cookies", "handfast tables", "handfast cookies", "handfast XDP"];
    let contender = |(worse, name): (u64, &str)| DefenderReport {
        name: name.into(),
        about: "what it is".into(),
        settings: vec!["net.ipv4.tcp_syncookies=1".into()],
        server_command: "ip netns exec lab-server handfast serve -i hf-server --listen 7000=discard --cores 0".into(),
        steps: steps.into_iter().map(|one| step(worse * worse, one)).collect(),
        after: After { ordinary_after_s: Some(0.4), half_open_at_end: Some(65_536), ..After::default() },
        ..DefenderReport::default()
    };
    let peak = |name: &&str| Peak { name: (*name).into(), answered_per_second: 250_000.0, ..Peak::default() };
    DefenceReport {
        honest_rate: 1_000,
        contenders: (0..).zip(names).map(contender).collect(),
        peaks: names.iter().map(peak).collect(),
        notes: vec!["who pays for what".into()],
        ..DefenceReport::default()
    }
}

#[test]
fn the_page_of_a_flood_can_be_read_on_a_screen_and_on_a_phone() {
    let report = under_a_flood();
    let Some(screens) = seen("page_of_a_flood", &page(&report), "handfast bench flood") else { return };
    for screen in screens {
        check(&screen, &line(&report), &["honest", "steps", "after", "peaks", "commands"], 3);
        // Twelve figures for each step of each contender.
        check_figures(&screen, 420);
    }
}

/// A profile of two queues with one long stage, as a veth pair has.
fn profiled() -> ProfileReport {
    let part = |name: &str, ns: f64, whole: f64| Part {
        name: name.into(),
        ns: ns * 1e5,
        ns_per_frame: Some(ns),
        cycles_per_frame: Some(ns * 2.6),
        percent: ns / whole * 100.0,
    };
    let length = |name: &str| if name == "kick" { 741.6 } else { 1.4 * float(name.len() as u64) };
    let names = Stage::ALL.map(Stage::name).into_iter().chain(["profiling", "unattributed"]);
    let whole: f64 = names.clone().map(length).sum();
    let between = [("turns", 58.9), ("loop", 0.3), ("publication", 0.2), ("idle_poll", 16.6), ("idle_sleep", 24.0)];
    let one = Profiled {
        period_s: 3.0,
        clock_ghz: 2.596,
        clock_read_ns: 8.8,
        sampled_percent: 11.5,
        stages: names.map(|name| part(name, length(name), whole)).collect(),
        turn: part("turn", whole, whole),
        attributed_percent: 99.8,
        ns_per_frame: Some(whole),
        period: between.into_iter().map(|(name, percent)| part(name, percent, 100.0)).collect(),
        batches: (0..8).map(|i| Batch { least: 1 << i, most: (2 << i) - 1, turns: 62_151 >> i }).collect(),
        ..Profiled::default()
    };
    let worker = |queue| WorkerProfile { queue, core: queue, profiled: one.clone() };
    let budget = |(link, ns): (&str, f64)| Budget { link: link.into(), ns_per_frame: ns, times: Some(whole / ns) };
    ProfileReport {
        interface: "hf-server".into(),
        every: 8,
        workers: vec![worker(0), worker(1)],
        total: one.clone(),
        budgets: LINKS.into_iter().map(budget).collect(),
        ..ProfileReport::default()
    }
}

#[test]
fn the_page_of_a_profile_can_be_read_on_a_screen_and_on_a_phone() {
    let report = profiled();
    let Some(screens) = seen("page_of_a_profile", &profile::page::page(&report), "id=\"budgets\"") else { return };
    for screen in screens {
        let sections = ["stages", "budgets", "period", "batches", "times", "queue-0", "queue-1"];
        check(&screen, &line(&report), &sections, 3);
        // Ten stages, two lines more and the turn, three figures each.
        check_figures(&screen, 39);
    }
}
