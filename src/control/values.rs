//! The small languages of option values: counts, durations, lists of numbers, and the closed choices.
//!
//! Each is a type with `FromStr` and `Display`, and `Display` writes what `FromStr` reads. Ranges are not here: what a
//! value may be depends on the option (settings).

use crate::observe::text::ranges;
use std::fmt;
use std::str::FromStr;

/// Why a text is not such a value. Says what it should look like; the text itself is named by whoever reports it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a count.
    #[error("must be a count: digits, optionally followed by k, M or G (1k is 1,000), as in 262144, 64k or 2M")]
    Count,
    /// A count or duration that does not fit 64 bits.
    #[error("is too large")]
    TooLarge,
    /// Not a duration.
    #[error("must be a duration: a whole number and a unit of ms, s, m, h or d, as in 500ms, 10s, 2m or 1h")]
    Duration,
    /// Not a list of numbers.
    #[error("must be a list of numbers and ranges, as in 0-3 or 0,2,4-5")]
    Indexes,
    /// A range that runs backwards.
    #[error("has a range that runs backwards: {0}-{1}")]
    Backwards(u32, u32),
    /// One number named twice.
    #[error("names {0} twice")]
    Repeated(u32),
    /// A list with more than [`MAX_INDEXES`] numbers.
    #[error("lists more than {MAX_INDEXES} numbers")]
    TooManyIndexes,
    /// Not one of the words of a closed choice.
    #[error("must be one of {0}")]
    Choice(&'static str),
}

/// How many numbers a list like `0-3` may stand for; no interface has as many queues.
pub const MAX_INDEXES: usize = 4096;

/// A count; `k`, `M` and `G` stand for thousands, millions and thousand millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

/// The suffixes of a count, largest first.
const COUNT_UNITS: [(&str, u64); 3] = [("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];

impl FromStr for Count {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (digits, unit) = COUNT_UNITS
            .iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits, *unit)))
            .unwrap_or((text, 1));
        scaled(digits, unit, ValueError::Count).map(Self)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match COUNT_UNITS.iter().find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit)) {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A duration in whole milliseconds. `0` needs no unit; where it is allowed it switches the thing off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// The units of a duration in milliseconds, largest first.
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Millis {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "0" {
            return Ok(Self(0));
        }
        let end = text.find(|c: char| !c.is_ascii_digit()).ok_or(ValueError::Duration)?;
        let (digits, suffix) = text.split_at(end);
        let (_, unit) = TIME_UNITS.iter().find(|(name, _)| *name == suffix).ok_or(ValueError::Duration)?;
        scaled(digits, *unit, ValueError::Duration).map(Self)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TIME_UNITS.iter().find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit)) {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "0"),
        }
    }
}

/// The number written in `digits` times `unit`.
fn scaled(digits: &str, unit: u64, malformed: ValueError) -> Result<u64, ValueError> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed);
    }
    let number: u64 = digits.parse().map_err(|_| ValueError::TooLarge)?;
    number.checked_mul(unit).ok_or(ValueError::TooLarge)
}

/// Numbers of queues or cores in the order in which they were named, none of them twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexes(pub Vec<u32>);

impl FromStr for Indexes {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut indexes = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (index(first)?, index(last)?);
            if last < first {
                return Err(ValueError::Backwards(first, last));
            }
            if u64::from(last - first) >= (MAX_INDEXES - indexes.len()) as u64 {
                return Err(ValueError::TooManyIndexes);
            }
            indexes.extend(first..=last);
        }
        let mut seen = std::collections::HashSet::new();
        match indexes.iter().find(|index| !seen.insert(**index)) {
            Some(repeated) => Err(ValueError::Repeated(*repeated)),
            None => Ok(Self(indexes)),
        }
    }
}

/// One number of a list.
fn index(text: &str) -> Result<u32, ValueError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ValueError::Indexes);
    }
    text.parse().map_err(|_| ValueError::TooLarge)
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ranges(&self.0))
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident: $words:literal { $( $(#[$variant_doc:meta])* $variant:ident => $word:literal ),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[$variant_doc])* $variant ),+ }

        impl $name {
            /// Every choice.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];
        }

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                match text {
                    $( $word => Ok(Self::$variant), )+
                    _ => Err(ValueError::Choice($words)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $( Self::$variant => $word ),+ })
            }
        }
    };
}

choice! {
    /// When the steering program answers SYNs itself.
    SynXdp: "auto, always, never" {
        /// While more cookies are sent than the workers should have to.
        Auto => "auto",
        /// From the start on.
        Always => "always",
        /// Never.
        Never => "never",
    }
}

choice! {
    /// Where the steering program runs.
    XdpMode: "auto, native, generic" {
        /// In the driver if it can, else behind it.
        Auto => "auto",
        /// In the driver.
        Native => "native",
        /// Behind the driver, on sk_buffs; works everywhere.
        Generic => "generic",
    }
}

choice! {
    /// How the AF_XDP sockets share frames with the driver.
    BindMode: "auto, copy, zerocopy" {
        /// Zero-copy if the driver can, else copy.
        Auto => "auto",
        /// The kernel copies each frame.
        Copy => "copy",
        /// The NIC reads and writes the UMEM itself.
        ZeroCopy => "zerocopy",
    }
}

choice! {
    /// What becomes of frames whose TCP checksum covers the pseudo-header only.
    PartialChecksums: "auto, accept, refuse" {
        /// Accepted on a veth, refused elsewhere.
        Auto => "auto",
        /// Accepted and counted.
        Accept => "accept",
        /// Dropped as a bad checksum.
        Refuse => "refuse",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_take_decimal_suffixes() {
        for (text, value) in
            [("0", 0), ("7", 7), ("1k", 1_000), ("64k", 64_000), ("2M", 2_000_000), ("3G", 3_000_000_000)]
        {
            assert_eq!(text.parse(), Ok(Count(value)), "{text}");
        }
        for text in ["", "k", "1K", "1.5k", "-1", "+1", "1 k", "0x10", "1m", "1kk"] {
            assert_eq!(text.parse::<Count>(), Err(ValueError::Count), "{text}");
        }
        assert_eq!("18446744073709551615k".parse::<Count>(), Err(ValueError::TooLarge));
        assert_eq!("99999999999999999999".parse::<Count>(), Err(ValueError::TooLarge));
    }

    #[test]
    fn durations_need_a_unit_unless_zero() {
        for (text, value) in
            [("0", 0), ("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000), ("1d", 86_400_000)]
        {
            assert_eq!(text.parse(), Ok(Millis(value)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "1 s", "1S", "1M", "1s1s", "1us", "ß"] {
            assert_eq!(text.parse::<Millis>(), Err(ValueError::Duration), "{text}");
        }
    }

    #[test]
    fn lists_keep_their_order_and_refuse_repetition() {
        assert_eq!("0,2,4-5".parse(), Ok(Indexes(vec![0, 2, 4, 5])));
        assert_eq!("3,1".parse(), Ok(Indexes(vec![3, 1])));
        assert_eq!("3-1".parse::<Indexes>(), Err(ValueError::Backwards(3, 1)));
        assert_eq!("0-2,1".parse::<Indexes>(), Err(ValueError::Repeated(1)));
        assert_eq!("0-4294967295".parse::<Indexes>(), Err(ValueError::TooManyIndexes));
        assert_eq!("0-4095".parse::<Indexes>().map(|list| list.0.len()), Ok(MAX_INDEXES));
        for text in ["", ",", "1,", "-", "1-", "-1", "a", "1-2-3", " 1"] {
            assert_eq!(text.parse::<Indexes>(), Err(ValueError::Indexes), "{text}");
        }
        assert_eq!(Indexes(vec![0, 1, 2, 5, 7, 8]).to_string(), "0-2,5,7-8");
    }

    #[test]
    fn choices_read_what_they_write() {
        for mode in XdpMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(*mode));
        }
        for bind in BindMode::ALL {
            assert_eq!(bind.to_string().parse(), Ok(*bind));
        }
        for policy in PartialChecksums::ALL {
            assert_eq!(policy.to_string().parse(), Ok(*policy));
        }
        let error = "zero-copy".parse::<BindMode>().unwrap_err();
        assert_eq!(error.to_string(), "must be one of auto, copy, zerocopy");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,24}") {
            let _ = text.parse::<Count>();
            let _ = text.parse::<Millis>();
            let _ = text.parse::<Indexes>();
            let _ = text.parse::<XdpMode>();
        }

        #[test]
        fn near_misses_do_not_make_a_parser_panic(text in "[0-9kMGmshd,-]{0,24}") {
            let _ = text.parse::<Count>();
            let _ = text.parse::<Millis>();
            let _ = text.parse::<Indexes>();
        }

        #[test]
        fn counts_read_what_they_write(value in any::<u64>(), unit in prop::sample::select(vec![1, 1_000, 1_000_000])) {
            let count = Count(value / unit * unit);
            prop_assert_eq!(count.to_string().parse(), Ok(count));
        }

        #[test]
        fn durations_read_what_they_write(value in any::<u64>(), unit in prop::sample::select(vec![1, 1_000, 60_000])) {
            let millis = Millis(value / unit * unit);
            prop_assert_eq!(millis.to_string().parse(), Ok(millis));
        }

        #[test]
        fn lists_read_what_they_write(set in prop::collection::hash_set(any::<u32>(), 1..40), start in 0_u32..9) {
            let mut list: Vec<u32> = (start..start + 4).collect();
            list.extend(set.into_iter().filter(|i| *i > 12));
            let indexes = Indexes(list);
            prop_assert_eq!(indexes.to_string().parse(), Ok(indexes));
        }
    }
}
