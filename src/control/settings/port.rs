//! The settings of the AF_XDP sockets that go beyond which queues and how many frames.

use super::{Access, Key, Kind, number, switch, top};
use crate::control::config::Config;
use crate::control::values::Count;
use crate::port::xsk::{BUSY_POLL_MOST_US, TX_BUDGET_LEAST, TX_BUDGET_MOST};

pub(super) const TX_BUDGET: Key = top(
    "tx-budget",
    Kind::Number,
    "N",
    "Frames that the kernel sends in one call in copy mode at most; since Linux 6.17, before that it is 32",
    Access {
        set: |config, text| {
            config.tx_budget = number(text, TX_BUDGET_LEAST.into()..=TX_BUDGET_MOST.into())?;
            Ok(())
        },
        show: |config: &Config| Count(config.tx_budget.into()).to_string(),
    },
);

pub(super) const BUSY_POLL: Key = top(
    "busy-poll",
    Kind::Number,
    "USEC",
    "Have the workers call the driver's poll themselves instead of waiting for its interrupts (preferred busy polling), so \
     many microseconds at a time; 0 does not. For NICs, and with napi_defer_hard_irqs and gro_flush_timeout set",
    Access {
        set: |config, text| {
            config.busy_poll_us = number(text, 0..=BUSY_POLL_MOST_US.into())?;
            Ok(())
        },
        show: |config: &Config| config.busy_poll_us.to_string(),
    },
);

pub(super) const HUGE_PAGES: Key = top(
    "huge-pages",
    Kind::Switch,
    "",
    "Lay packet memory into huge pages, which have to be reserved (sysctl vm.nr_hugepages)",
    Access {
        set: |config, text| {
            config.huge_pages = switch(text)?;
            Ok(())
        },
        show: |config: &Config| config.huge_pages.to_string(),
    },
);
