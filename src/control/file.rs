//! The configuration file: TOML into settings with the line of each, and every mistake of the file at once.
//!
//! Not deserialised into a struct: that ends at the first mistake. The document is walked instead, against the one list of
//! settings. What the values mean is not looked at here.

use super::problem::Problem;
use super::settings::{Given, KEYS, Key, Kind, Origin, Settings, Table};
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The largest configuration file that is read: 1 MiB.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The settings in the file at `path`, and what is wrong with it. Both may have something.
pub fn read(path: &Path) -> (Settings, Vec<Problem>) {
    let mut text = String::new();
    let outcome = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    let what = || format!("configuration file {}", path.display());
    match outcome {
        Err(error) => (Settings::default(), vec![Problem::new(what(), format!("cannot be read: {error}"))]),
        Ok(_) if text.len() as u64 > MAX_FILE_BYTES => {
            (Settings::default(), vec![Problem::new(what(), format!("is larger than {MAX_FILE_BYTES} bytes"))])
        }
        Ok(_) => parse(&path.display().to_string(), &text),
    }
}

/// The settings in `text`, and what is wrong with it; `name` stands for the file in messages.
pub fn parse(name: &str, text: &str) -> (Settings, Vec<Problem>) {
    let mut reader = Reader { name: name.into(), text, settings: Settings::default(), problems: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reader.complain(error.span(), "not TOML", error.message());
    }
    // After a syntax error the recovered values are guesses: complaints about them would mislead.
    if errors.is_empty() {
        reader.table(document.get_ref(), Table::Top);
    }
    (reader.settings, reader.problems)
}

struct Reader<'a> {
    name: Arc<str>,
    text: &'a str,
    settings: Settings,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// The line, from 1, on which `span` begins.
    fn line(&self, span: Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn complain(&mut self, span: Option<Range<usize>>, what: &str, cause: impl Into<String>) {
        let line = self.line(span.unwrap_or_default());
        self.problems.push(Problem::new(format!("{}:{line}: {what}", self.name), cause));
    }

    fn table(&mut self, table: &DeTable<'_>, place: Table) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let inner = Table::ALL.into_iter().find(|table| table.name() == Some(name.get_ref().as_ref()));
            if let (Some(inner), Table::Top, DeValue::Table(table)) = (inner, place, value.get_ref()) {
                self.table(table, inner);
                continue;
            }
            let key = KEYS.iter().find(|key| key.name == name.get_ref().as_ref());
            match (key, value.get_ref()) {
                (Some(key), _) if key.table == place => self.value(key, value),
                (Some(key), _) => {
                    let right = match key.table.name() {
                        None => "belongs to the top of the file, before [tcp]".to_owned(),
                        Some(table) => format!("belongs under [{table}]"),
                    };
                    self.complain(Some(name.span()), key.name, right);
                }
                (None, _) => {
                    let cause = format!("no such key here; there are: {}", names(place));
                    self.complain(Some(name.span()), name.get_ref(), cause);
                }
            }
        }
    }

    fn value(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        match (key.kind, value.get_ref()) {
            (Kind::List, DeValue::Array(items)) => {
                for item in items.iter() {
                    match item.get_ref() {
                        DeValue::String(text) => self.give(key, item, text.as_ref()),
                        _ => self.wrong_kind(key, item),
                    }
                }
            }
            (Kind::Numbers, DeValue::Array(items)) => {
                let numbers: Option<Vec<&str>> = items.iter().map(|item| decimal(item.get_ref())).collect();
                match numbers {
                    Some(numbers) => self.give(key, value, &numbers.join(",")),
                    None => self.wrong_kind(key, value),
                }
            }
            (Kind::Text | Kind::Number | Kind::Time | Kind::Numbers, DeValue::String(text)) => {
                self.give(key, value, text)
            }
            (Kind::Number | Kind::Time | Kind::Numbers, number @ DeValue::Integer(_)) => match decimal(number) {
                Some(digits) => self.give(key, value, digits),
                None => self.wrong_kind(key, value),
            },
            (Kind::Switch, DeValue::Boolean(on)) => self.give(key, value, if *on { "true" } else { "false" }),
            _ => self.wrong_kind(key, value),
        }
    }

    fn give(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>, text: &str) {
        let line = self.line(value.span());
        self.settings.give(key, text, Origin::File { name: self.name.clone(), line });
    }

    /// Complains about a value of the wrong kind, and keeps the key from counting as not given.
    fn wrong_kind(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        let must = match key.kind {
            Kind::Text => "must be a string",
            Kind::Number => "must be a whole number, or a string like \"64k\"",
            Kind::Time => "must be a string like \"10s\"",
            Kind::Numbers => "must be a string like \"0-3\", or an array of whole numbers",
            Kind::Switch => "must be true or false",
            Kind::List => "must be an array of strings",
        };
        let text = self.text.get(value.span()).unwrap_or_default().to_owned();
        let origin = Origin::File { name: self.name.clone(), line: self.line(value.span()) };
        self.problems.push(Given { text, origin }.problem(key, must));
        self.settings.mention(key);
    }
}

/// The digits of a decimal integer.
fn decimal<'a>(value: &'a DeValue<'_>) -> Option<&'a str> {
    value.as_integer().filter(|integer| integer.radix() == 10).map(|integer| integer.as_str())
}

/// The names of the keys of a table.
fn names(place: Table) -> String {
    let names: Vec<_> = KEYS.iter().filter(|key| key.table == place).map(|key| key.name).collect();
    match place {
        Table::Top => {
            let tables = Table::ALL.into_iter().filter_map(Table::name).map(|table| format!("[{table}]"));
            format!("{}, {}", names.join(", "), tables.collect::<Vec<_>>().join(", "))
        }
        Table::Tcp | Table::Steering => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::{Config, validate};
    use proptest::prelude::*;

    const EXAMPLE: &str = include_str!("../../docs/handfast.toml");

    fn lines(text: &str) -> Vec<String> {
        parse("f", text).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn numbers_times_lists_and_switches_are_taken_in_their_kinds() {
        let text = "interface = 'eth0'\nlisten = ['80=http',\n '81=close']\nqueues = [0, 2]\ncores = '1-2'\nflows = 1_000\n\
                    frames = '1024'\nbusy = true\n[tcp]\nkeepalive = 0\ntime-wait = '1s'\nsack-permitted = false\n";
        let (settings, problems) = parse("f", text);
        assert_eq!(problems, []);
        let (config, problems) = validate(&settings, &|_| unreachable!("no listener has a file"));
        assert_eq!(problems, []);
        assert_eq!((config.queues, config.cores), (Some(vec![0, 2]), Some(vec![1, 2])));
        assert_eq!((config.flows, config.frames, config.busy), (1_000, 1_024, true));
        assert_eq!((config.tcp.time_wait_ms, config.tcp.sack_permitted), (1_000, false));
        assert_eq!(config.listens.len(), 2);
    }

    #[test]
    fn every_mistake_has_its_line() {
        let text = "interface = 5\n\nflwos = 3\ntime-wait = '1s'\nlisten = ['80=http',\n  7]\nflows = -1.5\n[tcp]\nbind = 'auto'\n\
                    timestamps = 'no'\n[udp]\n";
        let found = lines(text);
        let starts = [
            "f:1: interface = 5: must be a string",
            "f:3: flwos: no such key here; there are: interface, listen,",
            "f:4: time-wait: belongs under [tcp]",
            "f:6: listen = 7: must be an array of strings",
            "f:7: flows = -1.5: must be a whole number",
            "f:9: bind: belongs to the top of the file",
            "f:10: timestamps = 'no': must be true or false",
            "f:11: udp: no such key here",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (problem, start) in found.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn a_bad_value_is_reported_with_the_line_it_stands_on() {
        let (settings, _) =
            parse("f", "interface = 'e'\nlisten = ['80=http',\n '81=ftp']\nflows = -3\n[tcp]\ntime-wait = '9'\n");
        let (_, problems) = validate(&settings, &|_| unreachable!("no listener has a file"));
        let found: Vec<_> = problems.iter().map(|problem| problem.what.as_str()).collect();
        assert_eq!(found, ["f:3: listen = 81=ftp", "f:4: flows = -3", "f:6: time-wait = 9"]);
    }

    #[test]
    fn every_syntax_error_has_its_line() {
        let found = lines("interface = eth0\nflows = 1\nflows = 2\n");
        assert!(found.iter().any(|problem| problem.starts_with("f:1: not TOML: ")), "{found:?}");
        assert!(found.iter().any(|problem| problem.starts_with("f:3: not TOML: ")), "{found:?}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let (_, problems) = read(Path::new("/nonexistent/hf.toml"));
        assert!(
            problems[0].to_string().starts_with("configuration file /nonexistent/hf.toml: cannot be read: No such")
        );
    }

    #[test]
    fn the_example_file_says_what_the_defaults_are() {
        let (settings, problems) = parse("docs/handfast.toml", EXAMPLE);
        assert_eq!(problems, []);
        let (config, problems) = validate(&settings, &|_| unreachable!("the example needs no file"));
        assert_eq!(problems, []);
        let Config { interface, listens, control, .. } = config.clone();
        assert_eq!(config, Config { interface, listens, control, ..Config::default() });
    }

    #[test]
    fn the_example_file_shows_every_setting_in_its_place_and_its_commented_values_are_valid() {
        let uncommented: String = EXAMPLE
            .lines()
            .map(|line| match line.strip_prefix("#") {
                Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{setting}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let (settings, problems) = parse("docs/handfast.toml", &uncommented);
        assert_eq!(problems, []);
        for key in KEYS {
            assert!(!settings.get(key).is_empty(), "{} is not in docs/handfast.toml", key.name);
        }
        let (_, problems) = validate(&settings, &|_| unreachable!("the example needs no file"));
        assert_eq!(problems, []);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}", near in "(listen|tcp|flows|queues|[\\[\\]=\"',.0-9\n ]){0,40}") {
            parse("f", &text);
            parse("f", &near);
        }
    }
}
