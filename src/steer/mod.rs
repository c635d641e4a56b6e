//! Steering: loads bpf/steer.bpf.c, attaches it to an interface, and keeps its maps.
//!
//! [`Steering`] owns the loaded program, its maps and the link to the interface. [`contract`] mirrors bpf/contract.h,
//! [`endpoints`], [`replies`], [`filter`], [`syn_rate`] and [`cookies`] decide what the maps hold, [`attach`] makes the link, `ticks` reads a
//! clock. What is not here: frames, per-flow TCP state, the AF_XDP sockets themselves (they arrive as descriptors), and threads; all of this is
//! the control path.

#![forbid(unsafe_code)]

pub mod attach;
pub mod contract;
pub mod cookies;
pub mod endpoints;
pub mod error;
pub mod filter;
#[cfg(test)]
pub(crate) mod header;
pub mod prefix;
pub mod replies;
pub mod syn_rate;
mod ticks;
pub(crate) mod values;

pub use attach::{AttachMode, Attached, DriverFeatures, Interface, Occupant, XdpMode, driver_features, occupant};
pub use contract::{SteerCounter, SteerCounters};
pub use cookies::{SynAnswers, TimestampClock};
pub use endpoints::Endpoint;
pub use error::SteerError;
pub use filter::{Rule, SourceFilter};
pub use prefix::Prefix;
pub use replies::ReplyFilter;
pub use syn_rate::SynRate;

use attach::XdpLink;
use contract::{
    ALLOW, ANSWER, ANY_ADDRESS, ANY_MAC, Config, DENY, FILTER, REDIRECT_ANSWERS, REPLIES, SECOND_COOKIES, SYN_RATE,
};
use endpoints::{Image, Step};
use filter::{FilterStep, MAX_PREFIXES};
use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, ProgramMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use ticks::Ticks;

/// The compiled program (see bpf/build.rs).
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));

/// The program's name in the object, and in `bpftool prog`.
const PROGRAM: &str = "handfast_steer";

/// The one that reads the kernel's clock of ticks.
const TICK_PROGRAM: &str = "handfast_tick";

/// How many endpoints there is room for if nobody asks for more.
pub const DEFAULT_MAX_ENDPOINTS: u32 = 10_240;

/// Rows that an endpoint takes in the endpoint map: its own and its address's, each twice while one set replaces
/// another.
const ROWS_PER_ENDPOINT: u32 = 4;

/// Rows of the prefix filter: a whole set while it replaces another.
const PREFIX_ROWS: u32 = 32_768;
const _: () = assert!(PREFIX_ROWS as usize == 2 * MAX_PREFIXES);

/// Which destination MAC addresses are taken. Frames for others stay with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacFilter {
    /// The interface's own address.
    Own([u8; 6]),
    /// Every address, for an interface in promiscuous mode.
    Any,
}

/// What the maps are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteerOptions {
    /// How many receive queues the interface has; at least 1.
    pub queues: u32,
    /// How many endpoints there may be at once; at least 1.
    pub max_endpoints: u32,
    /// Which frames are for us at all.
    pub mac: MacFilter,
}

/// The loaded steering program. Dropping it detaches the program.
#[derive(Debug)]
pub struct Steering {
    object: Object,
    maps: Maps,
    options: SteerOptions,
    /// What the endpoint maps hold now.
    image: Image,
    /// What the prefix filter holds now.
    filter: SourceFilter,
    /// The flags of the configuration word that follow from neither options nor endpoints.
    flags: u16,
    /// Holds the program on the interface.
    link: Option<XdpLink>,
}

/// Handles to the maps of the loaded object.
#[derive(Debug)]
struct Maps {
    config: MapHandle,
    replies: MapHandle,
    ports: MapHandle,
    endpoints: MapHandle,
    xsks: MapHandle,
    counters: MapHandle,
    prefixes: MapHandle,
    rates: MapHandle,
    cookies: MapHandle,
}

impl Steering {
    /// Loads the program and makes its maps. It is attached nowhere, steers no endpoint and knows no socket yet.
    ///
    /// # Errors
    ///
    /// [`SteerError::Load`] if the kernel refuses; the verifier's log is then on standard error.
    pub fn load(options: SteerOptions) -> Result<Self, SteerError> {
        let object = open(options).and_then(OpenObject::load).map_err(|cause| SteerError::Load { cause })?;
        let maps = Maps::of(&object).map_err(|cause| SteerError::Load { cause })?;
        let (image, filter) = (Image::empty(), SourceFilter::default());
        let steering = Self { object, maps, options, image, filter, flags: 0, link: None };
        steering.write_config(options.mac, false, 0)?;
        Ok(steering)
    }

    /// The program itself, for BPF_PROG_RUN.
    ///
    /// # Panics
    ///
    /// Never: the object is embedded and has it.
    pub fn program(&self) -> ProgramMut<'_> {
        self.named(PROGRAM)
    }

    fn named(&self, name: &str) -> ProgramMut<'_> {
        self.object.progs_mut().find(|program| program.name() == name).expect("steer.bpf.c defines the program")
    }

    /// Attaches the program to an interface of the calling thread's network namespace. From now on every frame that the
    /// interface receives runs through it. It goes away with [`Steering::detach`], with this value, and with the
    /// process.
    ///
    /// # Errors
    ///
    /// [`SteerError::Occupied`] if the interface has an XDP program, [`SteerError::AlreadyAttached`] if this one is
    /// attached somewhere, [`SteerError::Attach`] if the kernel or the driver refuses the mode.
    pub fn attach(&mut self, ifindex: u32, mode: AttachMode) -> Result<Attached, SteerError> {
        if self.link.is_some() {
            return Err(SteerError::AlreadyAttached { interface: Interface::from_index(ifindex) });
        }
        let (link, attached) = attach::attach(self.program().as_fd(), ifindex, mode)?;
        self.link = Some(link);
        Ok(attached)
    }

    /// Takes the program off the interface, if it is on one; maps and counters stay as they are.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// Changes which frames are for us, for instance because the interface got another MAC address.
    ///
    /// # Errors
    ///
    /// [`SteerError::Map`]; the old filter is then still in force.
    pub fn set_mac(&mut self, mac: MacFilter) -> Result<(), SteerError> {
        self.write_config(mac, self.image.any_address(), self.flags)?;
        self.options.mac = mac;
        Ok(())
    }

    /// Makes these the steered endpoints. Only differences are written, additions before removals, so that traffic to
    /// an endpoint of both the old and the new set is steered throughout.
    ///
    /// # Errors
    ///
    /// [`SteerError::EndpointPort`], [`SteerError::EndpointAddress`] and [`SteerError::TooManyEndpoints`] change
    /// nothing. After [`SteerError::Map`], what is steered lies between the old set and the new one; another call goes
    /// on from there.
    pub fn set_endpoints(&mut self, endpoints: &[Endpoint]) -> Result<(), SteerError> {
        let room = self.options.max_endpoints;
        if usize::try_from(room).is_ok_and(|room| endpoints.len() > room) {
            return Err(SteerError::TooManyEndpoints { wanted: endpoints.len(), room });
        }
        for step in self.image.steps_to(&Image::of(endpoints)?) {
            self.write(step)?;
            self.image.take(step);
        }
        Ok(())
    }

    /// Steers what a peer answers to connections that are opened from here, beside the endpoints. A later call replaces the
    /// peer of an earlier one.
    ///
    /// # Errors
    ///
    /// [`SteerError::Map`].
    pub fn set_replies(&mut self, filter: &ReplyFilter) -> Result<(), SteerError> {
        let written = self.maps.replies.update(&0_u32.to_ne_bytes(), &filter.to_row().to_bytes(), MapFlags::ANY);
        written
            .map_err(|cause| SteerError::Map { tried: format!("steering the replies of {}", filter.peer), cause })?;
        self.switch(REPLIES, true)
    }

    /// Makes this the prefix filter of frames for endpoints. Only differences are written, in an order in which whoever both
    /// filters allow is allowed throughout.
    ///
    /// # Errors
    ///
    /// [`SteerError::TooManyPrefixes`] changes nothing. After [`SteerError::Map`], the filter lies between the old one and
    /// the new one; another call goes on from there.
    pub fn set_filter(&mut self, wanted: &SourceFilter) -> Result<(), SteerError> {
        if wanted.len() > MAX_PREFIXES {
            return Err(SteerError::TooManyPrefixes { wanted: wanted.len() });
        }
        if wanted.is_empty() {
            self.switch(FILTER, false)?;
        }
        for step in self.filter.steps_to(wanted) {
            let written = match step {
                FilterStep::Set(prefix, rule) => {
                    let value = match rule {
                        Rule::Allow => ALLOW,
                        Rule::Deny => DENY,
                    };
                    self.maps.prefixes.update(&prefix.key().to_bytes(), &[value], MapFlags::ANY)
                }
                FilterStep::Remove(prefix) => self.maps.prefixes.delete(&prefix.key().to_bytes()),
            };
            written.map_err(|cause| SteerError::Map {
                tried: format!("changing the prefix filter, at {step:?}"),
                cause,
            })?;
            self.filter.take(step);
        }
        if wanted.is_empty() { Ok(()) } else { self.switch(FILTER, true) }
    }

    /// Limits the SYNs to endpoints by the prefix of their source. Buckets that there are keep what is in them.
    ///
    /// # Errors
    ///
    /// [`SteerError::Map`]; the old limit is then still in force, or the new one.
    pub fn set_syn_rate(&mut self, rate: SynRate) -> Result<(), SteerError> {
        let Some(row) = rate.to_row() else { return self.switch(SYN_RATE, false) };
        let written = self.maps.rates.update(&0_u32.to_ne_bytes(), &row.to_bytes(), MapFlags::ANY);
        written.map_err(|cause| SteerError::Map { tried: format!("limiting SYNs with {rate:?}"), cause })?;
        self.switch(SYN_RATE, true)
    }

    /// Has SYNs be answered this way from now on, if they are answered by the program at all. The element of the map that is
    /// not in force is written, and then put in force: each answer is made by the old way or by the new one.
    ///
    /// # Errors
    ///
    /// [`SteerError::Map`]; the old way is then still in force.
    pub fn set_answers(&mut self, answers: &SynAnswers) -> Result<(), SteerError> {
        let second = self.flags & SECOND_COOKIES == 0;
        let written = Ticks::read(&self.named(TICK_PROGRAM)).and_then(|ticks| {
            let row = answers.row(ticks).to_bytes();
            self.maps.cookies.update(&u32::from(second).to_ne_bytes(), &row, MapFlags::ANY)
        });
        written.map_err(|cause| SteerError::Map { tried: "changing how SYNs are answered".to_owned(), cause })?;
        self.switch(SECOND_COOKIES, second)
    }

    /// Has answers leave by a redirect to their interface, or by XDP_TX. Out of a veth only the former arrives, if its other
    /// end has no XDP program.
    ///
    /// # Errors
    ///
    /// [`SteerError::Map`]; nothing is changed then.
    pub fn redirect_answers(&mut self, redirect: bool) -> Result<(), SteerError> {
        self.switch(REDIRECT_ANSWERS, redirect)
    }

    /// Has plain SYNs to endpoints be answered by the program, as [`Steering::set_answers`] said, or be handed to the sockets.
    ///
    /// # Errors
    ///
    /// [`SteerError::Map`]; nothing is changed then.
    pub fn answer_syns(&mut self, on: bool) -> Result<(), SteerError> {
        self.switch(ANSWER, on)
    }

    /// Sets or clears a flag of the configuration word.
    fn switch(&mut self, flag: u16, on: bool) -> Result<(), SteerError> {
        let flags = if on { self.flags | flag } else { self.flags & !flag };
        if flags != self.flags {
            self.write_config(self.options.mac, self.image.any_address(), flags)?;
            self.flags = flags;
        }
        Ok(())
    }

    /// Gives the steered frames of a receive queue to an AF_XDP socket, which must have an RX ring and be bound to this
    /// queue of the interface. The kernel takes it out again when the socket is closed.
    ///
    /// # Errors
    ///
    /// [`SteerError::NoSuchQueue`], or [`SteerError::Map`] if `socket` is not an AF_XDP socket with an RX ring.
    pub fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), SteerError> {
        let key = self.queue_key(queue)?;
        let written = self.maps.xsks.update(&key, &socket.as_raw_fd().to_ne_bytes(), MapFlags::ANY);
        written.map_err(|cause| SteerError::Map {
            tried: format!("giving the steered frames of queue {queue} to an AF_XDP socket"),
            cause,
        })
    }

    /// Gives the steered frames of a receive queue to nobody: they go to the kernel, which answers RST, until the
    /// endpoints are taken away or a socket is set. No socket there is no error.
    ///
    /// # Errors
    ///
    /// [`SteerError::NoSuchQueue`], or [`SteerError::Map`].
    pub fn clear_socket(&self, queue: u32) -> Result<(), SteerError> {
        let key = self.queue_key(queue)?;
        match self.maps.xsks.delete(&key) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => {
                Err(SteerError::Map { tried: format!("taking the AF_XDP socket off queue {queue}"), cause })
            }
            _ => Ok(()),
        }
    }

    /// The counters, summed over all CPUs since the program was loaded. Frames that run through the program at the same
    /// time may be counted as seen and not yet by their outcome.
    ///
    /// # Errors
    ///
    /// [`SteerError::Map`].
    pub fn counters(&self) -> Result<SteerCounters, SteerError> {
        let blocks = self.maps.counters.lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY);
        let blocks =
            blocks.map_err(|cause| SteerError::Map { tried: "reading the steering counters".to_owned(), cause })?;
        Ok(SteerCounters::sum(blocks.iter().flatten().map(Vec::as_slice)))
    }

    /// The key of a queue in the socket map.
    fn queue_key(&self, queue: u32) -> Result<[u8; 4], SteerError> {
        let queues = self.options.queues;
        if queue < queues { Ok(queue.to_ne_bytes()) } else { Err(SteerError::NoSuchQueue { queue, queues }) }
    }

    /// Writes one change of the endpoints into the kernel's maps.
    fn write(&self, step: Step) -> Result<(), SteerError> {
        let written = match step {
            Step::InsertRow(row) => self.maps.endpoints.update(&row.to_bytes(), &[1], MapFlags::ANY),
            Step::RemoveRow(row) => self.maps.endpoints.delete(&row.to_bytes()),
            Step::SetPorts(index, word) => {
                let key = u32::try_from(index).expect("an index into the port words").to_ne_bytes();
                self.maps.ports.update(&key, &word.to_ne_bytes(), MapFlags::ANY)
            }
            Step::SetAnyAddress(any_address) => return self.write_config(self.options.mac, any_address, self.flags),
        };
        written
            .map_err(|cause| SteerError::Map { tried: format!("changing the steered endpoints, at {step:?}"), cause })
    }

    /// Writes the configuration word.
    fn write_config(&self, mac: MacFilter, any_address: bool, flags: u16) -> Result<(), SteerError> {
        let (mac, any_mac) = match mac {
            MacFilter::Own(mac) => (mac, 0),
            MacFilter::Any => ([0; 6], ANY_MAC),
        };
        let any_address = if any_address { ANY_ADDRESS } else { 0 };
        let config = Config { mac, flags: any_mac | any_address | flags };
        let written = self.maps.config.update(&0_u32.to_ne_bytes(), &config.to_bytes(), MapFlags::ANY);
        written.map_err(|cause| SteerError::Map { tried: format!("configuring steering with {config:?}"), cause })
    }
}

/// Opens the embedded object and sets the sizes of its maps.
fn open(options: SteerOptions) -> libbpf_rs::Result<OpenObject> {
    let mut object = ObjectBuilder::default().name("steer")?.open_memory(OBJECT)?;
    for mut map in object.maps_mut() {
        let entries = match map.name().to_str() {
            Some("endpoints") => options.max_endpoints.saturating_mul(ROWS_PER_ENDPOINT),
            Some("xsks") => options.queues,
            Some("prefixes") => PREFIX_ROWS,
            Some("buckets") => syn_rate::MAX_BUCKETS,
            _ => continue,
        };
        map.set_max_entries(entries)?;
    }
    Ok(object)
}

impl Maps {
    /// Finds the maps of the loaded object by the names that steer.bpf.c gives them.
    fn of(object: &Object) -> libbpf_rs::Result<Self> {
        let map = |name: &str| {
            let found = object.maps().find(|map| map.name() == name);
            MapHandle::try_from(&found.expect("steer.bpf.c defines the map"))
        };
        Ok(Self {
            config: map("config")?,
            replies: map("replies")?,
            ports: map("ports")?,
            endpoints: map("endpoints")?,
            xsks: map("xsks")?,
            counters: map("counters")?,
            prefixes: map("prefixes")?,
            rates: map("rates")?,
            cookies: map("cookies")?,
        })
    }
}
