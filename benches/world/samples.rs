//! Single frames and tables for the benchmarks of single steps.

use super::{FIRST_LISTENER, FIRST_PORT, Family, PEER_MAC, Random, WORKER_MAC};
use handfast::flow::{FlowTable, Keyed, Slot};
use handfast::wire::ether::VlanTags;
use handfast::wire::options::Options;
use handfast::wire::reply::{Addressing, Reply, write};
use handfast::wire::segment::Control;
use handfast::wire::seq::SeqNum;
use handfast::wire::tuple::FourTuple;

/// The options of a Linux host's SYN.
pub const SYN_OPTIONS: Options =
    Options { mss: Some(1_460), window_scale: Some(7), sack_permitted: true, timestamps: Some((1, 2)) };
/// The options of any other segment of such a host.
pub const TIMESTAMPS: Options =
    Options { mss: None, window_scale: None, sack_permitted: false, timestamps: Some((1, 2)) };
/// No options.
pub const NONE: Options = Options { mss: None, window_scale: None, sack_permitted: false, timestamps: None };

/// The four-tuple of connection `number`, the worker's end as local.
pub fn tuple(family: Family, number: u32) -> FourTuple {
    FourTuple {
        local_addr: family.worker(),
        remote_addr: family.peer(number / 50_000),
        local_port: FIRST_LISTENER,
        remote_port: FIRST_PORT + u16::try_from(number % 50_000).expect("less than 2^16"),
    }
}

/// An ACK or SYN that goes from the peer to the worker, at least as long as Ethernet wants it.
pub fn frame(family: Family, number: u32, options: Options) -> Vec<u8> {
    let mut frame = vec![0; 160];
    let to = Addressing {
        dst_mac: WORKER_MAC,
        src_mac: PEER_MAC,
        tags: VlanTags::default(),
        tuple: tuple(family, number).reversed(),
    };
    let len = write(&mut frame, &to, &reply(options), |_| {});
    frame.truncate(len.max(60));
    frame
}

/// A segment to send: a SYN-ACK if it has an MSS, else an ACK.
pub fn reply(options: Options) -> Reply {
    let control = if options.mss.is_some() { Control::SYN | Control::ACK } else { Control::ACK };
    Reply { seq: SeqNum(1), ack: SeqNum(2), control, window: 500, options, ..Reply::default() }
}

/// What a table holds here: no more than its key, in the size of a TCB.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Flow {
    tuple: FourTuple,
    rest: [u32; 23],
}

const _: () = assert!(size_of::<Flow>() == 128);

impl Keyed for Flow {
    fn key(&self) -> &FourTuple {
        &self.tuple
    }

    fn key_mut(&mut self) -> &mut FourTuple {
        &mut self.tuple
    }
}

/// A table with a share of its slots taken, by the connections from 0 on.
pub struct Table {
    /// The table.
    pub flows: FlowTable<Flow>,
    /// How many connections are in it.
    pub taken: u32,
    family: Family,
    random: Random,
}

impl Table {
    /// A table of `capacity` slots of which the share `load` is taken.
    pub fn new(capacity: u32, load: f64, family: Family) -> Self {
        let mut flows = FlowTable::new(capacity, [1, 2]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a u32")]
        let taken = (f64::from(capacity) * load) as u32;
        for number in 0..taken {
            let tuple = tuple(family, number);
            let flow = Flow { tuple, ..Flow::default() };
            flows.insert(flows.hash(&tuple), flow).expect("there is room");
        }
        Self { flows, taken, family, random: Random::new(3) }
    }

    /// The four-tuples of a burst: of connections that are there, or of others.
    pub fn burst(&mut self, there: bool) -> Vec<FourTuple> {
        let first = if there { 0 } else { self.taken };
        (0..64).map(|_| tuple(self.family, first + self.random.below(self.taken))).collect()
    }

    /// Looks for a burst as the engine does: first all hashes, then the flows, then what is there. Returns how many were found.
    pub fn find(&self, burst: &[FourTuple]) -> usize {
        let mut hashes = [None; 64];
        for (hash, tuple) in hashes.iter_mut().zip(burst) {
            let found = self.flows.hash(tuple);
            self.flows.prefetch_index(found);
            *hash = Some(found);
        }
        for hash in hashes.iter().flatten() {
            let _ = self.flows.prefetch_flow(*hash);
        }
        let find = |(hash, tuple): (&Option<_>, &FourTuple)| -> Option<Slot> { self.flows.find((*hash)?, tuple) };
        hashes.iter().zip(burst).filter_map(find).count()
    }
}
