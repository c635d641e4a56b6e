//! bpf/packets.bpf.c, loaded: the programs that drop and that answer, attached to an interface, and the one that sends.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use libbpf_rs::libbpf_sys::{BPF_F_TEST_XDP_LIVE_FRAMES, XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
use libbpf_rs::{MapCore as _, MapFlags, Object, ObjectBuilder, ProgramInput, ProgramMut};

use crate::arch::bpf::xdp_link_create;
use crate::control::values::XdpMode;

/// The compiled programs (see bpf/build.rs).
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packets.bpf.o"));

/// Loads the object with its parameter: the number of the interface that frames leave by, or a port.
fn load(parameter: u32) -> libbpf_rs::Result<Object> {
    let mut object = ObjectBuilder::default().name("packets")?.open_memory(OBJECT)?;
    for mut map in object.maps_mut() {
        if map.name().to_string_lossy().ends_with(".rodata") {
            map.set_initial_value(&parameter.to_ne_bytes())?;
        }
    }
    object.load()
}

fn program<'obj>(object: &'obj Object, name: &str) -> ProgramMut<'obj> {
    object.progs_mut().find(|program| program.name() == name).expect("packets.bpf.c defines the program")
}

/// A program on an interface that counts what it takes; it goes away with this value, and with the process.
#[derive(Debug)]
pub(super) struct Counting {
    object: Object,
    _link: OwnedFd,
}

impl Counting {
    /// Loads the program that drops every frame, and attaches it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the program, or the interface the mode; the text says which.
    pub fn dropping(ifindex: u32, mode: XdpMode) -> Result<Self, String> {
        Self::on(ifindex, mode, 0, "handfast_drop")
    }

    /// Loads the program that answers every SYN for `port`, and attaches it.
    ///
    /// # Errors
    ///
    /// See [`Counting::dropping`].
    pub fn answering(ifindex: u32, mode: XdpMode, port: u16) -> Result<Self, String> {
        Self::on(ifindex, mode, port.into(), "handfast_answer_syns")
    }

    fn on(ifindex: u32, mode: XdpMode, parameter: u32, name: &str) -> Result<Self, String> {
        let object = load(parameter).map_err(|cause| format!("loading the program {name}: {cause}"))?;
        let flags = match mode {
            XdpMode::Auto => 0,
            XdpMode::Native => XDP_FLAGS_DRV_MODE,
            XdpMode::Generic => XDP_FLAGS_SKB_MODE,
        };
        let link = xdp_link_create(program(&object, name).as_fd(), ifindex, flags);
        let link = link.map_err(|cause| format!("attaching the program {name}: {cause}"))?;
        Ok(Self { object, _link: link })
    }

    /// How many frames it dropped, or SYNs it answered.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn counted(&self) -> Result<u64, String> {
        let map = self.object.maps().find(|map| map.name() == "counted").expect("packets.bpf.c defines the map");
        let read = map.lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY);
        let blocks = read.map_err(|cause| format!("reading the count of frames: {cause}"))?;
        let words = blocks.iter().flatten().filter_map(|block| block.first_chunk().copied().map(u64::from_ne_bytes));
        Ok(words.sum())
    }
}

/// The sending program, for frames that the kernel makes itself.
#[derive(Debug)]
pub(super) struct Injecting {
    object: Object,
}

impl Injecting {
    /// Loads the program for the interface with the number `ifindex`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses it.
    pub fn out_of(ifindex: u32) -> Result<Self, String> {
        load(ifindex).map(|object| Self { object }).map_err(|cause| format!("loading the sending program: {cause}"))
    }

    /// Has the kernel send `repeat` copies of `frame`, in batches of 64.
    ///
    /// # Errors
    ///
    /// What the kernel says: EINVAL before Linux 5.18.
    pub fn send(&self, frame: &[u8], repeat: u32) -> io::Result<()> {
        let input =
            ProgramInput { data_in: Some(frame), flags: BPF_F_TEST_XDP_LIVE_FRAMES, repeat, ..ProgramInput::default() };
        let ran = program(&self.object, "handfast_send").test_run(input);
        ran.map(drop).map_err(io::Error::other)
    }
}
