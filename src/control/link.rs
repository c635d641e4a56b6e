//! What the kernel says about one network interface, asked over rtnetlink (RTM_GETLINK), and the id by which it names
//! another network namespace when it does (RTM_GETNSID).
//!
//! Not from /sys, because /sys shows the namespace it was mounted in and rtnetlink the one of the calling thread; and only
//! rtnetlink tells a veth from other virtual interfaces, and an XDP program from none. The numbers of queues in use are
//! only in /sys: see machine.

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its MAC address; `None` if its addresses are not Ethernet's.
    pub mac: Option<[u8; 6]>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// True if it was set up.
    pub up: bool,
    /// True if it has a carrier.
    pub carrier: bool,
    /// True for the loopback interface.
    pub loopback: bool,
    /// What kind of virtual interface, such as `veth`; `None` for hardware.
    pub kind: Option<String>,
    /// The XDP program that is attached.
    pub xdp: Option<XdpProgram>,
    /// The interface that this one belongs to.
    pub joined: Option<Joined>,
    /// What the kernel counts on it, by the names of `ip -s -s link`, in the order of rtnl_link_stats64; empty if it does not say.
    pub counters: Vec<(&'static str, u64)>,
}

/// The interface that another one belongs to: the other end of a veth, or what a VLAN stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its index in its network namespace.
    pub index: u32,
    /// The id of that namespace, as [`namespace_id`] says it; `None` if it is the namespace of the interface itself.
    pub namespace: Option<i32>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// `native`, `generic`, `offloaded` or `several`.
    pub mode: &'static str,
    /// Its id, as bpftool shows it; 0 if there are several.
    pub id: u32,
}

impl Link {
    /// True for one end of a veth pair.
    pub fn is_veth(&self) -> bool {
        self.kind.as_deref() == Some("veth")
    }

    /// Asks about the interface of that name in this thread's network namespace; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the kernel cannot be asked, or answers what is not understood.
    pub fn query(name: &str) -> io::Result<Option<Link>> {
        parse(&exchange(&request(name))?)
    }
}

/// The id that this thread's network namespace has for the one behind `namespace`; `None` if it has none.
///
/// # Errors
///
/// If that is no network namespace, or the kernel answers what is not understood.
pub fn namespace_id(namespace: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "an answer to RTM_GETNSID that is not understood");
    let fd = u32::try_from(namespace.as_raw_fd()).expect("a descriptor is not negative");
    let mut body = vec![0; RTGEN_BYTES];
    attribute(&mut body, NETNSA_FD, &fd.to_ne_bytes());
    let answer = exchange(&message(RTM_GETNSID, &body))?;
    match u16_at(&answer, 4).ok_or_else(odd)? {
        RTM_NEWNSID => {
            let found = attributes(answer.get(HEADER_BYTES + RTGEN_BYTES..).unwrap_or_default());
            let id = found.into_iter().find(|(kind, _)| *kind == NETNSA_NSID).and_then(|(_, id)| u32_at(id, 0));
            // -1 says that there is none.
            Ok(Some(id.ok_or_else(odd)?.cast_signed()).filter(|id| *id >= 0))
        }
        NLMSG_ERROR => Err(refusal(&answer).ok_or_else(odd)?),
        _ => Err(odd()),
    }
}

/// Sends a request and receives the one message of the answer.
fn exchange(request: &[u8]) -> io::Result<Vec<u8>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, request, SendFlags::empty())?;
    let mut buffer = vec![0_u8; 64 * 1024];
    let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
    buffer.truncate(length);
    Ok(buffer)
}

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NLM_F_REQUEST: u16 = 1;
/// Bytes of nlmsghdr, of ifinfomsg, and of rtgenmsg with its padding.
const HEADER_BYTES: usize = 16;
const IFINFO_BYTES: usize = 16;
const RTGEN_BYTES: usize = 4;

const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// Attribute types carry flags in the two upper bits.
const TYPE_MASK: u16 = 0x3fff;

/// The first fields of rtnl_link_stats64.
const LINK_COUNTERS: [&str; 8] =
    ["rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped"];

const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 1 << 3;
const IFF_LOWER_UP: u32 = 1 << 16;

/// RTM_GETLINK for the interface of that name, which has at most 15 bytes.
fn request(name: &str) -> Vec<u8> {
    let mut body = vec![0; IFINFO_BYTES];
    attribute(&mut body, IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
    message(RTM_GETLINK, &body)
}

/// A request of that type.
fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_BYTES + body.len()).expect("a request of ours is short");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Appends an attribute, padded to 4 bytes.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("an attribute of ours is short");
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// The attributes in `bytes`: type and value. Ends at the first that cannot be.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(u16_at(bytes, 0)?), u16_at(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE_MASK, value))
    })
}

/// The kernel's answer.
fn parse(message: &[u8]) -> io::Result<Option<Link>> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "an answer to RTM_GETLINK that is not understood");
    match u16_at(message, 4).ok_or_else(odd)? {
        RTM_NEWLINK => newlink(&message[HEADER_BYTES.min(message.len())..]).map(Some).ok_or_else(odd),
        NLMSG_ERROR => match refusal(message).ok_or_else(odd)? {
            error if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(None),
            error => Err(error),
        },
        _ => Err(odd()),
    }
}

/// The error in an NLMSG_ERROR; `None` if the message is too short to have one.
fn refusal(message: &[u8]) -> Option<io::Error> {
    let code = u32_at(message, HEADER_BYTES)?.cast_signed();
    Some(io::Error::from_raw_os_error(code.checked_neg()?))
}

/// ifinfomsg and its attributes.
fn newlink(body: &[u8]) -> Option<Link> {
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index: u32_at(body, 4)?,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        ..Link::default()
    };
    let (mut other, mut namespace) = (None, None);
    for (kind, value) in attributes(body.get(IFINFO_BYTES..)?) {
        match kind {
            IFLA_LINK => other = u32_at(value, 0),
            IFLA_LINK_NETNSID => namespace = u32_at(value, 0).map(u32::cast_signed),
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = kind.map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
            }
            IFLA_STATS64 => link.counters = counters(value),
            IFLA_XDP => link.xdp = xdp_program(value),
            _ => {}
        }
    }
    // 0 is no index: the other end of a veth that is going away, or of a tunnel that has none.
    link.joined = other.filter(|index| *index != 0).map(|index| Joined { index, namespace });
    Some(link)
}

/// The counters in IFLA_STATS64, as far as it goes.
fn counters(value: &[u8]) -> Vec<(&'static str, u64)> {
    let words = value.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("a chunk of 8 bytes")));
    LINK_COUNTERS.into_iter().zip(words).collect()
}

/// The attributes nested in IFLA_XDP.
fn xdp_program(value: &[u8]) -> Option<XdpProgram> {
    let find = |wanted| attributes(value).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let mode = match find(IFLA_XDP_ATTACHED)?.first()? {
        0 => return None,
        1 => "native",
        2 => "generic",
        3 => "offloaded",
        _ => "several",
    };
    Some(XdpProgram { mode, id: find(IFLA_XDP_PROG_ID).and_then(|id| u32_at(id, 0)).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsFd as _;

    fn nested(parts: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in parts {
            attribute(&mut body, *kind, value);
        }
        body
    }

    #[test]
    fn an_answer_is_read_with_its_nested_attributes() {
        let mut body = vec![0; IFINFO_BYTES];
        body[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        body[8..12].copy_from_slice(&(IFF_UP | IFF_LOWER_UP).to_ne_bytes());
        body.extend(nested(&[
            (IFLA_IFNAME, b"hf0\0"),
            (IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
            (IFLA_MTU, &1500_u32.to_ne_bytes()),
            (IFLA_LINK, &8_u32.to_ne_bytes()),
            (IFLA_LINK_NETNSID, &2_i32.to_ne_bytes()),
            (IFLA_LINKINFO | 0x8000, &nested(&[(IFLA_INFO_KIND, b"veth\0")])),
            (IFLA_STATS64, &[7_u64, 0, 700].map(u64::to_ne_bytes).concat()),
            (IFLA_XDP | 0x8000, &nested(&[(IFLA_XDP_ATTACHED, &[2]), (IFLA_XDP_PROG_ID, &9_u32.to_ne_bytes())])),
        ]));
        let link = parse(&message(RTM_NEWLINK, &body)).unwrap().unwrap();
        let expected = Link {
            index: 7,
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
            carrier: true,
            loopback: false,
            kind: Some("veth".into()),
            xdp: Some(XdpProgram { mode: "generic", id: 9 }),
            joined: Some(Joined { index: 8, namespace: Some(2) }),
            counters: vec![("rx_packets", 7), ("tx_packets", 0), ("rx_bytes", 700)],
        };
        assert_eq!(link, expected);
        assert!(link.is_veth());
    }

    #[test]
    fn no_such_device_is_none_and_other_errors_are_errors() {
        let error = |errno: i32| message(NLMSG_ERROR, &(-errno).to_ne_bytes());
        assert_eq!(parse(&error(Errno::NODEV.raw_os_error())).unwrap(), None);
        let refused = parse(&error(Errno::PERM.raw_os_error())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(parse(&[]).is_err());
        assert!(parse(&message(99, &[])).is_err());
        assert!(parse(&message(RTM_NEWLINK, &[0; 4])).is_err());
    }

    #[test]
    fn the_kernel_knows_the_loopback_interface_and_not_another() {
        let lo = Link::query("lo").unwrap().expect("every namespace has lo");
        assert!(lo.loopback && !lo.is_veth() && lo.index == 1, "{lo:?}");
        assert_eq!(Link::query("hfcf-none").unwrap(), None);
    }

    #[test]
    fn a_namespace_that_was_never_named_has_no_id_and_another_file_is_none() {
        let own = std::fs::File::open("/proc/self/ns/net").unwrap();
        // The kernel gives a namespace an id for itself only on demand.
        assert!(namespace_id(own.as_fd()).is_ok());
        let other = std::fs::File::open("/proc/self/ns/mnt").unwrap();
        assert!(namespace_id(other.as_fd()).is_err());
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&bytes);
            let _ = parse(&message(RTM_NEWLINK, &bytes));
            let _ = parse(&message(NLMSG_ERROR, &bytes));
        }
    }
}
