//! The settings of the steering program's defences, under `[steering]` in the file. A reload takes all of them over.

use super::{Access, Key, Kind, Table, number, parsed};
use crate::control::config::Config;
use crate::control::values::{Count, SynXdp};
use crate::steer::Prefix;
use crate::steer::syn_rate::MAX_SYN_RATE;

/// A setting of the steering program with a flag.
const fn steering(name: &'static str, kind: Kind, value: &'static str, help: &'static str, access: Access) -> Key {
    Key { name, table: Table::Steering, flag: true, kind, value, help, access }
}

/// Prefixes as one text.
fn shown(prefixes: &[Prefix]) -> String {
    prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

pub(super) const DENY: Key = steering(
    "deny",
    Kind::List,
    "CIDR",
    "Drop what comes from this source prefix to a listener; may be repeated. The longest prefix of --deny and --allow that \
     covers a source decides. IPv4 and IPv6 are apart: ::/0 says nothing of IPv4",
    Access {
        set: |config, text| {
            config.deny.push(parsed(text)?);
            Ok(())
        },
        show: |config: &Config| shown(&config.deny),
    },
);

pub(super) const ALLOW: Key = steering(
    "allow",
    Kind::List,
    "CIDR",
    "Take what comes from this source prefix, although a shorter one is denied; may be repeated. What neither list covers \
     is allowed",
    Access {
        set: |config, text| {
            config.allow.push(parsed(text)?);
            Ok(())
        },
        show: |config: &Config| shown(&config.allow),
    },
);

pub(super) const SYN_RATE: Key = steering(
    "syn-rate",
    Kind::Number,
    "N",
    "SYNs a second from one source prefix at most, and as many at once; more are dropped and counted. 0 sets no limit",
    Access {
        set: |config, text| {
            config.syn_rate.per_second = number(text, 0..=MAX_SYN_RATE as u64)?;
            Ok(())
        },
        show: |config: &Config| Count(config.syn_rate.per_second.into()).to_string(),
    },
);

pub(super) const SYN_RATE_PREFIX_V4: Key = steering(
    "syn-rate-prefix-v4",
    Kind::Number,
    "BITS",
    "Length of the prefixes that --syn-rate counts by, IPv4",
    Access {
        set: |config, text| {
            config.syn_rate.prefix_v4 = number(text, 0..=32)?;
            Ok(())
        },
        show: |config: &Config| config.syn_rate.prefix_v4.to_string(),
    },
);

pub(super) const SYN_RATE_PREFIX_V6: Key = steering(
    "syn-rate-prefix-v6",
    Kind::Number,
    "BITS",
    "Length of the prefixes that --syn-rate counts by, IPv6",
    Access {
        set: |config, text| {
            config.syn_rate.prefix_v6 = number(text, 0..=128)?;
            Ok(())
        },
        show: |config: &Config| config.syn_rate.prefix_v6.to_string(),
    },
);

pub(super) const SYN_XDP: Key = steering(
    "syn-xdp",
    Kind::Text,
    "WHEN",
    "Answer SYNs with cookies in the steering program, before they take a worker's time: auto (during a flood, see \
     --syn-xdp-at), always, or never",
    Access {
        set: |config, text| {
            config.syn_xdp = parsed::<SynXdp>(text)?;
            Ok(())
        },
        show: |config: &Config| config.syn_xdp.to_string(),
    },
);

pub(super) const SYN_XDP_AT: Key = steering(
    "syn-xdp-at",
    Kind::Number,
    "N",
    "SYNs answered with a cookie in a second, over all queues, from which on the steering program answers them; below half of \
     that for 5 s, the workers do again. 0 is never",
    Access {
        set: |config, text| {
            config.syn_xdp_at = number(text, 0..=u32::MAX as u64)?;
            Ok(())
        },
        show: |config: &Config| Count(config.syn_xdp_at.into()).to_string(),
    },
);
