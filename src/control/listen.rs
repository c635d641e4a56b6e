//! What is listened on: `[ADDR:]PORT=SERVICE`, the bodies of the `http` services, and the difference between two lists.
//!
//! What a service says on the wire is not here; the names of the services are.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// How many listeners one server has at most.
pub const MAX_LISTENS: usize = 256;

/// The largest file that an `http` service answers with: 16 MiB.
pub const MAX_HTTP_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What is said to the connections of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceSpec {
    /// Acknowledges and discards data, closes when the peer closes.
    Discard,
    /// Closes first, right after accepting.
    Close,
    /// One fixed HTTP/1.1 200 response to every request; the body is the file's content, or built in.
    Http(Option<PathBuf>),
}

/// One endpoint and its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The local address; `None` is any address, IPv4 and IPv6.
    pub addr: Option<IpAddr>,
    /// The local port, never 0.
    pub port: u16,
    /// What is said there.
    pub service: ServiceSpec,
}

/// Why a text is not a listener.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// No `=`.
    #[error("must be [ADDR:]PORT=SERVICE, as in 80=http, 10.0.0.1:7000=discard or [2001:db8::1]:80=close")]
    Form,
    /// The port is not a number from 1 to 65535.
    #[error("port {0:?} must be a number from 1 to 65535")]
    Port(String),
    /// The address is neither IPv4 nor bracketed IPv6.
    #[error("address {0:?} must be IPv4, or IPv6 in brackets; names are not looked up")]
    Address(String),
    /// An address that no connection can have, or that has a better spelling.
    #[error("address {0} cannot be listened on: {1}")]
    Unusable(IpAddr, &'static str),
    /// No such service.
    #[error("service {0:?} must be one of discard, close, http, http:FILE")]
    Service(String),
}

impl FromStr for ServiceSpec {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        match text {
            "discard" => Ok(Self::Discard),
            "close" => Ok(Self::Close),
            "http" => Ok(Self::Http(None)),
            _ => match text.strip_prefix("http:") {
                Some(file) if !file.is_empty() => Ok(Self::Http(Some(PathBuf::from(file)))),
                _ => Err(ListenError::Service(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for ServiceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discard => f.write_str("discard"),
            Self::Close => f.write_str("close"),
            Self::Http(None) => f.write_str("http"),
            Self::Http(Some(file)) => write!(f, "http:{}", file.display()),
        }
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let (endpoint, service) = text.split_once('=').ok_or(ListenError::Form)?;
        let (addr, port) = match endpoint.rsplit_once(':') {
            Some((addr, port)) => (Some(address(addr)?), port),
            None => (None, endpoint),
        };
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let number = port.parse::<u16>().ok().filter(|port| digits && *port != 0);
        let port = number.ok_or_else(|| ListenError::Port(port.to_owned()))?;
        Ok(Self { addr, port, service: service.parse()? })
    }
}

/// An address that connections can come to.
fn address(text: &str) -> Result<IpAddr, ListenError> {
    let unknown = || ListenError::Address(text.to_owned());
    let addr = match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(v6) => IpAddr::V6(v6.parse::<Ipv6Addr>().map_err(|_| unknown())?),
        None => IpAddr::V4(text.parse::<Ipv4Addr>().map_err(|_| unknown())?),
    };
    let mapped = matches!(addr, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let broadcast = matches!(addr, IpAddr::V4(v4) if v4.is_broadcast());
    if addr.is_unspecified() {
        Err(ListenError::Unusable(addr, "leave the address out to listen on any"))
    } else if addr.is_multicast() || broadcast {
        Err(ListenError::Unusable(addr, "TCP connects two hosts, not groups"))
    } else if mapped {
        Err(ListenError::Unusable(addr, "write it as IPv4"))
    } else {
        Ok(addr)
    }
}

impl Listen {
    /// True if both name the same address and port.
    pub fn same_endpoint(&self, other: &Listen) -> bool {
        self.addr == other.addr && self.port == other.port
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            None => {}
            Some(IpAddr::V4(addr)) => write!(f, "{addr}:")?,
            Some(IpAddr::V6(addr)) => write!(f, "[{addr}]:")?,
        }
        write!(f, "{}={}", self.port, self.service)
    }
}

/// The bodies of the `http:FILE` services by the path that named them.
pub type HttpFiles = BTreeMap<PathBuf, Arc<[u8]>>;

/// Reads the body of an `http:FILE` service. The error says why it cannot be one.
pub fn read_http_file(path: &Path) -> Result<Arc<[u8]>, String> {
    let name = path.display();
    // A FIFO or device would block or never end; only a look before opening tells.
    let metadata = fs::metadata(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    if !metadata.is_file() {
        return Err(format!("cannot read {name}: not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_HTTP_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read {name}: {error}"))?;
    if bytes.len() as u64 > MAX_HTTP_FILE_BYTES {
        return Err(format!("{name} is larger than {} MiB", MAX_HTTP_FILE_BYTES / (1024 * 1024)));
    }
    Ok(bytes.into())
}

/// What separates two lists of listeners. A listener whose file has new content counts as changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenChanges {
    /// Only in the new list.
    pub added: Vec<Listen>,
    /// Only in the old list.
    pub removed: Vec<Listen>,
    /// In both, with another service or body now.
    pub changed: Vec<Listen>,
    /// In both, the same.
    pub unchanged: Vec<Listen>,
}

impl ListenChanges {
    /// What has to be done to get from `old` to `new`.
    pub fn between(old: (&[Listen], &HttpFiles), new: (&[Listen], &HttpFiles)) -> Self {
        let mut changes = Self::default();
        let body = |files: &HttpFiles, listen: &Listen| match &listen.service {
            ServiceSpec::Http(Some(path)) => files.get(path).cloned(),
            ServiceSpec::Http(None) | ServiceSpec::Discard | ServiceSpec::Close => None,
        };
        for listen in new.0 {
            let list = match old.0.iter().find(|before| before.same_endpoint(listen)) {
                None => &mut changes.added,
                Some(before) if before == listen && body(old.1, before) == body(new.1, listen) => {
                    &mut changes.unchanged
                }
                Some(_) => &mut changes.changed,
            };
            list.push(listen.clone());
        }
        let gone = old.0.iter().filter(|before| !new.0.iter().any(|listen| listen.same_endpoint(before)));
        changes.removed = gone.cloned().collect();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listen(text: &str) -> Listen {
        text.parse().unwrap()
    }

    #[test]
    fn an_endpoint_is_a_port_with_or_without_an_address() {
        assert_eq!(listen("80=http"), Listen { addr: None, port: 80, service: ServiceSpec::Http(None) });
        assert_eq!(listen("10.0.0.1:7000=discard").addr, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(listen("[2001:db8::1]:1=close").addr, Some("2001:db8::1".parse().unwrap()));
        assert_eq!(listen("1=http:/a=b:c").service, ServiceSpec::Http(Some("/a=b:c".into())));
    }

    #[test]
    fn each_mistake_is_named() {
        let error = |text: &str| text.parse::<Listen>().unwrap_err();
        assert_eq!(error("80"), ListenError::Form);
        for port in ["0", "65536", "", "+80", "http"] {
            assert_eq!(error(&format!("{port}=http")), ListenError::Port(port.into()));
        }
        for addr in ["localhost", "2001:db8::1", "[10.0.0.1]", "10.0.0", "[fe80::1%2]", ""] {
            assert_eq!(error(&format!("{addr}:80=http")), ListenError::Address(addr.into()));
        }
        for addr in ["0.0.0.0", "[::]", "224.0.0.1", "255.255.255.255", "[ff02::1]", "[::ffff:10.0.0.1]"] {
            assert!(matches!(error(&format!("{addr}:80=http")), ListenError::Unusable(..)), "{addr}");
        }
        for service in ["", "echo", "http:", "HTTP", "discard:x"] {
            assert_eq!(error(&format!("80={service}")), ListenError::Service(service.into()));
        }
    }

    #[test]
    fn only_regular_files_up_to_the_limit_are_bodies() {
        let dir = std::env::temp_dir().join(format!("hfcf-listen-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (small, large) = (dir.join("small"), dir.join("large"));
        fs::write(&small, b"body").unwrap();
        File::create(&large).unwrap().set_len(MAX_HTTP_FILE_BYTES + 1).unwrap();
        assert_eq!(read_http_file(&small).as_deref(), Ok(&b"body"[..]));
        assert!(read_http_file(&large).unwrap_err().contains("larger than 16 MiB"));
        assert!(read_http_file(&dir).unwrap_err().contains("not a regular file"));
        assert!(read_http_file(&dir.join("none")).unwrap_err().contains("No such file"));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn changes_tell_services_and_bodies_apart() {
        let old = ["1=http", "2=discard", "3=http:f", "4=http:g"].map(listen);
        let new = ["1=http", "2=close", "3=http:f", "4=http:g", "10.0.0.1:1=http"].map(listen);
        let files = |f: &[u8], g: &[u8]| HttpFiles::from([("f".into(), f.into()), ("g".into(), g.into())]);
        let changes = ListenChanges::between((&old, &files(b"a", b"b")), (&new, &files(b"a", b"B")));
        assert_eq!(changes.added, ["10.0.0.1:1=http"].map(listen));
        assert_eq!(changes.changed, ["2=close", "4=http:g"].map(listen));
        assert_eq!(changes.unchanged, ["1=http", "3=http:f"].map(listen));
        assert_eq!(changes.removed, []);
        let none = HttpFiles::new();
        assert_eq!(ListenChanges::between((&old, &none), (&[], &none)).removed, old);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}", near in "[0-9a-f.:=\\[\\]htp]{0,40}") {
            let _ = text.parse::<Listen>();
            let _ = near.parse::<Listen>();
        }

        #[test]
        fn listeners_read_what_they_write(
            v4 in any::<u32>(), v6 in any::<u128>(), family in 0..3, port in 1_u16.., service in 0..4, file in "[a-z=:/ ]{1,12}",
        ) {
            let addr = match family {
                0 => None,
                1 => Some(IpAddr::V4(v4.into())),
                _ => Some(IpAddr::V6(v6.into())),
            };
            let service = match service {
                0 => ServiceSpec::Discard,
                1 => ServiceSpec::Close,
                2 => ServiceSpec::Http(None),
                _ => ServiceSpec::Http(Some(file.into())),
            };
            let listen = Listen { addr, port, service };
            match listen.to_string().parse::<Listen>() {
                Ok(read) => prop_assert_eq!(read, listen),
                Err(error) => prop_assert!(matches!(error, ListenError::Unusable(..))),
            }
        }
    }
}
