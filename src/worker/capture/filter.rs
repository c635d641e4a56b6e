//! Which frames a capture takes: alternatives of terms, read from text elsewhere (control::capture).
//!
//! A term looks at what is known of a frame without reading it again: its ends, its control bits, its way and its verdict. A frame whose
//! ends cannot be read (no TCP over IP, or cut short) fits no term about them, and fits the term's opposite.

use super::{Glance, Way};
use crate::verdict::{DropReason, Verdict};
use crate::wire::segment::Control;
use crate::wire::tuple::Addr;

/// Addresses of one prefix and family. IPv4 is written as `::ffff:a.b.c.d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// The first of them, as a number.
    first: u128,
    /// The bits that count.
    mask: u128,
    v4: bool,
}

impl Net {
    /// The addresses that have their first `bits` of 128 in common with `addr`.
    pub fn new(addr: Addr, bits: u32) -> Self {
        let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
        Self { first: u128::from_be_bytes(addr.0) & mask, mask, v4: addr.is_v4() }
    }

    fn contains(&self, addr: &Addr) -> bool {
        addr.is_v4() == self.v4 && u128::from_be_bytes(addr.0) & self.mask == self.first
    }
}

/// What a term asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// One end's address is one of these.
    Net(Net),
    /// One end's port is this.
    Port(u16),
    /// All these control bits are set.
    Control(Control),
    /// It went this way.
    Way(Way),
    /// It was received and dropped, for this reason if there is one.
    Dropped(Option<DropReason>),
    /// It was received and answered in place.
    Answered,
    /// It was received, taken in and not answered.
    Accepted,
}

/// A question and the answer that it is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The question.
    pub what: What,
    /// True if the answer is to be no.
    pub not: bool,
}

/// The frames that fit all terms of at least one alternative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    alternatives: Vec<Vec<Term>>,
}

impl Filter {
    /// A filter of alternatives; of none at all it is fit by every frame.
    pub fn new(alternatives: impl IntoIterator<Item = Vec<Term>>) -> Self {
        Self { alternatives: alternatives.into_iter().collect() }
    }

    /// True if the frame is to be captured.
    pub fn fits(&self, glance: Option<&Glance>, way: Way, verdict: Option<Verdict>) -> bool {
        let fits = |term: &Term| term.what.is_so(glance, way, verdict) != term.not;
        self.alternatives.is_empty() || self.alternatives.iter().any(|terms| terms.iter().all(fits))
    }
}

impl What {
    fn is_so(&self, glance: Option<&Glance>, way: Way, verdict: Option<Verdict>) -> bool {
        match self {
            What::Net(net) => glance.is_some_and(|Glance { tuple, .. }| {
                net.contains(&tuple.local_addr) || net.contains(&tuple.remote_addr)
            }),
            What::Port(port) => {
                glance.is_some_and(|Glance { tuple, .. }| [tuple.local_port, tuple.remote_port].contains(port))
            }
            What::Control(bits) => glance.is_some_and(|glance| glance.control.has(*bits)),
            What::Way(wanted) => *wanted == way,
            What::Dropped(None) => matches!(verdict, Some(Verdict::Drop(_))),
            What::Dropped(Some(reason)) => verdict == Some(Verdict::Drop(*reason)),
            What::Answered => matches!(verdict, Some(Verdict::Transmit { .. })),
            What::Accepted => verdict == Some(Verdict::Accept),
        }
    }
}
