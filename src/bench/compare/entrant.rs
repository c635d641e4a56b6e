//! Who takes part: each contender as it is, and once more with what a user wants compared with it: other flags (`--with`),
//! another build of handfast as the server (`--against`), or one queue of a wire that has several.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::contender::Contender;

/// A name has so many characters at most: the table's first column.
const NAME_MOST: usize = 17;

/// Flags to try: `NAME=FLAGS`, or `NAME=FLAGS / FLAGS` with those of server and generator apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// What it is called in the result.
    pub name: String,
    /// Flags of the server.
    pub server: String,
    /// Flags of the generator.
    pub generator: String,
}

impl FromStr for Trial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, flags) = text.split_once('=').map(|(name, flags)| (name.trim(), flags.trim())).ok_or_else(|| {
            "must be NAME=FLAGS, as in 'small=--frames 1024', or NAME=FLAGS / FLAGS for server and generator".to_owned()
        })?;
        let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -_.".contains(&byte));
        if name.is_empty() || name.len() > NAME_MOST || !is_word {
            return Err(format!("must have a name of 1 to {NAME_MOST} letters, digits, blanks, - _ or ."));
        }
        if name == ONE_QUEUE || Contender::ALL.iter().any(|contender| contender.name() == name) {
            return Err(format!("must not be called {name}: a contender is"));
        }
        let (server, generator) = flags.split_once(" / ").unwrap_or((flags, flags));
        if !format!("{server} {generator}").split_whitespace().any(|word| word.starts_with("--")) {
            return Err("must have flags behind the name, as in 'small=--frames 1024'".to_owned());
        }
        let (server, generator) = (server.trim().to_owned(), generator.trim().to_owned());
        Ok(Self { name: name.to_owned(), server, generator })
    }
}

/// The contender that has one queue of several.
const ONE_QUEUE: &str = "one queue";

/// Someone who takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entrant {
    /// Whose server and generator it has.
    pub contender: Contender,
    /// Its name in results.
    pub name: String,
    /// What it is, in words.
    pub about: String,
    /// The program of its server, if that is not this one.
    pub program: Option<PathBuf>,
    /// More flags of its server.
    pub server: String,
    /// More flags of its generator.
    pub generator: String,
    /// Queues that it uses.
    pub queues: u32,
    /// With whom it is compared: its name, and true if it is above the line itself.
    pub versus: Option<(String, bool)>,
}

impl Entrant {
    /// `contender` as it is.
    fn plain(contender: Contender, queues: u32) -> Self {
        Self {
            contender,
            name: contender.name().to_owned(),
            about: contender.about().to_owned(),
            program: None,
            server: String::new(),
            generator: String::new(),
            queues,
            versus: None,
        }
    }

    /// Its name and that of whom it is compared with, the one above the line first.
    pub fn pair(&self) -> Option<(String, String)> {
        let (other, above) = self.versus.clone()?;
        Some(if above { (self.name.clone(), other) } else { (other, self.name.clone()) })
    }

    /// `contender`, under another name.
    fn special(contender: Contender, name: String, about: String, queues: u32, above: bool) -> Self {
        let versus = Some((contender.name().to_owned(), above));
        Self { name, about, versus, ..Self::plain(contender, queues) }
    }
}

/// All who take part, in the order of a round: `asked`, and what is to be compared with handfast's own among them.
pub(super) fn entrants(asked: &[Contender], with: &[Trial], against: Option<&Path>, queues: u32) -> Vec<Entrant> {
    // Each once, in the order of a round.
    let plain: Vec<Contender> = Contender::ALL.into_iter().filter(|contender| asked.contains(contender)).collect();
    let mut entrants: Vec<Entrant> = plain.iter().map(|contender| Entrant::plain(*contender, queues)).collect();
    let ours: Vec<Contender> = plain.into_iter().filter(|contender| contender.is_ours()).collect();
    for contender in against.iter().flat_map(|_| &ours) {
        let program = against.expect("it is there").to_owned();
        let service = contender.name().trim_start_matches("handfast ");
        let about = format!("{}, served by {}", contender.name(), program.display());
        let other = Entrant::special(*contender, format!("before, {service}"), about, queues, false);
        entrants.push(Entrant { program: Some(program), ..other });
    }
    let Some(first) = ours.first() else { return entrants };
    if queues > 1 {
        let about = format!("{} on one queue, with a core for each end", first.name());
        entrants.push(Entrant::special(*first, ONE_QUEUE.to_owned(), about, 1, false));
    }
    for Trial { name, server, generator } in with {
        let about = match server == generator {
            true => format!("{} with {server} at both ends", first.name()),
            false => format!("{}; flags of the server: {server}; of the generator: {generator}", first.name()),
        };
        let special = Entrant::special(*first, name.clone(), about, queues, true);
        entrants.push(Entrant { server: server.clone(), generator: generator.clone(), ..special });
    }
    entrants
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(entrants: &[Entrant]) -> Vec<&str> {
        entrants.iter().map(|entrant| entrant.name.as_str()).collect()
    }

    #[test]
    fn a_trial_is_a_name_and_flags_for_both_ends_or_for_each() {
        let both: Trial = "small=--frames 1024".parse().unwrap();
        assert_eq!(
            (both.name.as_str(), both.server.as_str(), both.generator.as_str()),
            ("small", "--frames 1024", "--frames 1024")
        );
        let each: Trial = "poll=--busy-poll 20 / --busy".parse().unwrap();
        assert_eq!((each.server.as_str(), each.generator.as_str()), ("--busy-poll 20", "--busy"));
        for wrong in [
            "--frames 1024",
            "=--busy",
            "a name that is too long=--busy",
            "kernel=--busy",
            "none=",
            "none=busy",
            "a;b=--busy",
        ] {
            assert!(wrong.parse::<Trial>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn contenders_have_their_turns_in_one_order_and_once() {
        let asked = [Contender::Ceiling, Contender::Kernel, Contender::Ceiling];
        assert_eq!(names(&entrants(&asked, &[], None, 1)), ["kernel", "ceiling"]);
    }

    #[test]
    fn what_is_compared_with_a_contender_comes_behind_all_of_them() {
        let with = ["small=--frames 1024".parse().unwrap()];
        let all = entrants(&Contender::ALL, &with, Some(Path::new("/old/handfast")), 1);
        assert_eq!(names(&all)[4..], ["before, discard", "before, close", "small"]);
        assert_eq!(all[4].versus, Some(("handfast discard".to_owned(), false)));
        assert_eq!(all[5].program.as_deref(), Some(Path::new("/old/handfast")));
        assert_eq!(all[6].versus, Some(("handfast discard".to_owned(), true)));
        assert!(
            entrants(&[Contender::Kernel], &with, Some(Path::new("/old/handfast")), 1).len() == 1,
            "nothing of ours"
        );
    }

    #[test]
    fn several_queues_are_compared_with_one() {
        let all = entrants(&[Contender::Close], &[], None, 2);
        assert_eq!(names(&all), ["handfast close", ONE_QUEUE]);
        assert_eq!((all[0].queues, all[1].queues), (2, 1));
    }
}
