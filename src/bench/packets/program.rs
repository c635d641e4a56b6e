//! bpf/packets.bpf.c, loaded: the program that drops, attached to an interface, and the one that sends.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use libbpf_rs::libbpf_sys::{BPF_F_TEST_XDP_LIVE_FRAMES, XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
use libbpf_rs::{MapCore as _, MapFlags, Object, ObjectBuilder, ProgramInput, ProgramMut};

use crate::arch::bpf::xdp_link_create;
use crate::control::values::XdpMode;

/// The compiled programs (see bpf/build.rs).
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packets.bpf.o"));

/// Loads the object; what is sent goes out of the interface with the number `out`.
fn load(out: u32) -> libbpf_rs::Result<Object> {
    let mut object = ObjectBuilder::default().name("packets")?.open_memory(OBJECT)?;
    for mut map in object.maps_mut() {
        if map.name().to_string_lossy().ends_with(".rodata") {
            map.set_initial_value(&out.to_ne_bytes())?;
        }
    }
    object.load()
}

fn program<'obj>(object: &'obj Object, name: &str) -> ProgramMut<'obj> {
    object.progs_mut().find(|program| program.name() == name).expect("packets.bpf.c defines the program")
}

/// The dropping program on an interface; it goes away with this value, and with the process.
#[derive(Debug)]
pub(super) struct Dropping {
    object: Object,
    _link: OwnedFd,
}

impl Dropping {
    /// Loads the program and attaches it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the program, or the interface the mode; the text says which.
    pub fn on(ifindex: u32, mode: XdpMode) -> Result<Self, String> {
        let object = load(0).map_err(|cause| format!("loading the dropping program: {cause}"))?;
        let flags = match mode {
            XdpMode::Auto => 0,
            XdpMode::Native => XDP_FLAGS_DRV_MODE,
            XdpMode::Generic => XDP_FLAGS_SKB_MODE,
        };
        let link = xdp_link_create(program(&object, "handfast_drop").as_fd(), ifindex, flags);
        let link = link.map_err(|cause| format!("attaching the dropping program: {cause}"))?;
        Ok(Self { object, _link: link })
    }

    /// How many frames it dropped.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn dropped(&self) -> Result<u64, String> {
        let map = self.object.maps().find(|map| map.name() == "dropped").expect("packets.bpf.c defines the map");
        let read = map.lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY);
        let blocks = read.map_err(|cause| format!("reading the count of dropped frames: {cause}"))?;
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
