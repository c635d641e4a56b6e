//! Values as they were given: text with an origin, by the name of their key. What they mean, and whether they may be, is the keys'.

use super::Key;
use crate::control::problem::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In a configuration file.
    File {
        /// The file as it was named.
        name: Arc<str>,
        /// The line, from 1.
        line: usize,
    },
}

/// A value as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
}

impl Given {
    /// The problem that this value has.
    pub fn problem(&self, key: &Key, cause: impl Into<String>) -> Problem {
        let blank = self.text.is_empty() || self.text.contains(char::is_whitespace);
        let text = if blank { format!("{:?}", self.text) } else { self.text.clone() };
        let what = match &self.origin {
            Origin::Flag => format!("--{} {text}", key.name),
            Origin::File { name, line } => format!("{name}:{line}: {} = {text}", key.name),
        };
        Problem::new(what, cause)
    }
}

/// Values by the name of their key; several only for a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, Vec<Given>>,
}

impl Settings {
    /// Adds a value.
    pub fn give(&mut self, key: &'static Key, text: impl Into<String>, origin: Origin) {
        self.values.entry(key.name).or_default().push(Given { text: text.into(), origin });
    }

    /// Has `key` count as given, also if no usable value was.
    pub fn mention(&mut self, key: &'static Key) {
        self.values.entry(key.name).or_default();
    }

    /// True if `key` was given, even if no usable value was.
    pub fn mentions(&self, key: &Key) -> bool {
        self.values.contains_key(key.name)
    }

    /// Forgets what was given for `key`, as if it had never been given.
    pub fn forget(&mut self, key: &'static Key) {
        self.values.remove(key.name);
    }

    /// What was given for `key`.
    pub fn get(&self, key: &Key) -> &[Given] {
        self.values.get(key.name).map_or(&[], Vec::as_slice)
    }

    /// These settings, and for keys without a value those of `under`. A list is replaced as a whole.
    #[must_use]
    pub fn over(&self, under: &Settings) -> Settings {
        let mut values = under.values.clone();
        values.extend(self.values.clone());
        Settings { values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_flags_replaces_the_list_of_the_file() {
        let listen = Key::find("listen").unwrap();
        let flows = Key::find("flows").unwrap();
        let (mut flags, mut file) = (Settings::default(), Settings::default());
        file.give(listen, "80=http", Origin::Flag);
        file.give(flows, "1k", Origin::Flag);
        flags.give(listen, "81=http", Origin::Flag);
        flags.give(listen, "82=http", Origin::Flag);
        let merged = flags.over(&file);
        let texts: Vec<_> = merged.get(listen).iter().map(|given| given.text.as_str()).collect();
        assert_eq!(texts, ["81=http", "82=http"]);
        assert_eq!(merged.get(flows).len(), 1);
    }
}
