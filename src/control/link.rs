//! What the kernel says about one network interface, asked over rtnetlink (RTM_GETLINK).
//!
//! Not from /sys, because /sys shows the namespace it was mounted in and rtnetlink the one of the calling thread; and only
//! rtnetlink tells a veth from other virtual interfaces, and an XDP program from none. The numbers of queues in use are
//! only in /sys: see machine.

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::io;

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
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        send(&socket, &request(name), SendFlags::empty())?;
        let mut buffer = vec![0_u8; 64 * 1024];
        let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        parse(&buffer[..length])
    }
}

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
/// Bytes of nlmsghdr and of ifinfomsg.
const HEADER_BYTES: usize = 16;
const IFINFO_BYTES: usize = 16;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// Attribute types carry flags in the two upper bits.
const TYPE_MASK: u16 = 0x3fff;

const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 1 << 3;
const IFF_LOWER_UP: u32 = 1 << 16;

/// RTM_GETLINK for the interface of that name, which has at most 15 bytes.
fn request(name: &str) -> Vec<u8> {
    let mut body = vec![0; IFINFO_BYTES];
    attribute(&mut body, IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    attribute(&mut body, IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
    let length = u32::try_from(HEADER_BYTES + body.len()).expect("an interface name is short");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(RTM_GETLINK.to_ne_bytes());
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
        NLMSG_ERROR => {
            let code = u32_at(message, HEADER_BYTES).ok_or_else(odd)?.cast_signed();
            match code.checked_neg().ok_or_else(odd)? {
                error if error == Errno::NODEV.raw_os_error() => Ok(None),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
        _ => Err(odd()),
    }
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
    for (kind, value) in attributes(body.get(IFINFO_BYTES..)?) {
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = kind.map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
            }
            IFLA_XDP => link.xdp = xdp_program(value),
            _ => {}
        }
    }
    Some(link)
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

    fn nested(parts: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in parts {
            attribute(&mut body, *kind, value);
        }
        body
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER_BYTES];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message.extend(body);
        message
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
            (IFLA_LINKINFO | 0x8000, &nested(&[(IFLA_INFO_KIND, b"veth\0")])),
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

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&bytes);
            let _ = parse(&message(RTM_NEWLINK, &bytes));
            let _ = parse(&message(NLMSG_ERROR, &bytes));
        }
    }
}
