//! Which endpoints are steered, what the maps hold for them, and how to get from one set to another without a gap.
//!
//! Pure values and functions: `Image` mirrors the contents of the maps, `Image::steps_to` lists the single changes
//! in an order in which an endpoint of both sets is steered at every moment. What is not here: the maps themselves.

use super::contract::{BITS_PER_PORT, EndpointRow, PORT_ANY, PORT_EXACT, PORT_WORDS, PORTS_PER_WORD};
use super::error::SteerError;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where steered segments are addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address, or `None` for any address, IPv4 and IPv6. Any means any: on a host that forwards, what passes
    /// through is steered as well.
    pub addr: Option<IpAddr>,
    /// The TCP port, not 0.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            Some(addr) => SocketAddr::new(addr, self.port).fmt(f),
            None => write!(f, "*:{}", self.port),
        }
    }
}

/// What the maps hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Keys of the endpoint map.
    rows: BTreeSet<EndpointRow>,
    /// The port map.
    ports: Vec<u64>,
    /// The flag in the configuration.
    any_address: bool,
}

/// One change of one map element; the kernel makes each of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Insert a key into the endpoint map.
    InsertRow(EndpointRow),
    /// Remove a key from the endpoint map.
    RemoveRow(EndpointRow),
    /// Set word `.0` of the port map to `.1`.
    SetPorts(usize, u64),
    /// Set or clear the flag in the configuration.
    SetAnyAddress(bool),
}

impl Image {
    /// What freshly loaded maps hold: no endpoint.
    pub fn empty() -> Self {
        Self { rows: BTreeSet::new(), ports: vec![0; PORT_WORDS], any_address: false }
    }

    /// What the maps have to hold for these endpoints. Doubles count once.
    pub fn of(endpoints: &[Endpoint]) -> Result<Self, SteerError> {
        let mut image = Self::empty();
        for endpoint in endpoints {
            if endpoint.port == 0 {
                return Err(SteerError::EndpointPort { endpoint: *endpoint });
            }
            let kind = match endpoint.addr {
                Some(addr) if addr.is_unspecified() => {
                    return Err(SteerError::EndpointAddress { endpoint: *endpoint });
                }
                Some(addr) => {
                    image.rows.insert(EndpointRow::new(addr, endpoint.port));
                    image.rows.insert(EndpointRow::new(addr, 0));
                    PORT_EXACT
                }
                None => {
                    image.any_address = true;
                    PORT_ANY
                }
            };
            let port = usize::from(endpoint.port);
            image.ports[port / PORTS_PER_WORD] |= kind << (port % PORTS_PER_WORD * BITS_PER_PORT);
        }
        Ok(image)
    }

    /// True if an endpoint of any address is among them.
    pub fn any_address(&self) -> bool {
        self.any_address
    }

    /// The changes that turn `self` into `wanted`: everything that steers more first, then everything that steers less.
    /// A row comes before the port bits that lead to it, and goes after them.
    pub fn steps_to(&self, wanted: &Self) -> Vec<Step> {
        let mut steps: Vec<Step> = wanted.rows.difference(&self.rows).map(|row| Step::InsertRow(*row)).collect();
        let words = || self.ports.iter().zip(&wanted.ports).enumerate();
        steps.extend(
            words()
                .filter(|(_, (old, new))| **old | **new != **old)
                .map(|(i, (old, new))| Step::SetPorts(i, old | new)),
        );
        if wanted.any_address && !self.any_address {
            steps.push(Step::SetAnyAddress(true));
        }
        steps.extend(
            words().filter(|(_, (old, new))| **old | **new != **new).map(|(i, (_, new))| Step::SetPorts(i, *new)),
        );
        if self.any_address && !wanted.any_address {
            steps.push(Step::SetAnyAddress(false));
        }
        steps.extend(self.rows.difference(&wanted.rows).map(|row| Step::RemoveRow(*row)));
        steps
    }

    /// Records that a step was taken.
    pub fn take(&mut self, step: Step) {
        match step {
            Step::InsertRow(row) => {
                self.rows.insert(row);
            }
            Step::RemoveRow(row) => {
                self.rows.remove(&row);
            }
            Step::SetPorts(index, word) => self.ports[index] = word,
            Step::SetAnyAddress(any_address) => self.any_address = any_address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The look-up of the steering program, in Rust.
    fn steers(image: &Image, addr: IpAddr, port: u16) -> bool {
        let index = usize::from(port);
        let known = image.ports[index / PORTS_PER_WORD] >> (index % PORTS_PER_WORD * BITS_PER_PORT);
        known & PORT_ANY != 0 || known & PORT_EXACT != 0 && image.rows.contains(&EndpointRow::new(addr, port))
    }

    fn addresses() -> [IpAddr; 3] {
        ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|text| text.parse().expect("an address"))
    }

    /// Endpoints of few addresses and few ports, two of them in one word, so that sets overlap in every way.
    fn endpoint_sets() -> impl Strategy<Value = Vec<Endpoint>> {
        let addr = prop::option::of(prop::sample::select(addresses().to_vec()));
        let port = prop::sample::select(vec![80_u16, 81, 65_535]);
        prop::collection::vec((addr, port).prop_map(|(addr, port)| Endpoint { addr, port }), 0..8)
    }

    proptest! {
        #[test]
        fn an_endpoint_of_both_sets_is_steered_at_every_step(old in endpoint_sets(), new in endpoint_sets()) {
            let (old, new) = (Image::of(&old).expect("valid"), Image::of(&new).expect("valid"));
            let mut now = old.clone();
            for step in old.steps_to(&new) {
                now.take(step);
                for (addr, port) in addresses().into_iter().flat_map(|addr| [80, 81, 65_535].map(|port| (addr, port))) {
                    let (before, after, during) =
                        (steers(&old, addr, port), steers(&new, addr, port), steers(&now, addr, port));
                    prop_assert!(during || !(before && after), "{addr} port {port} is lost at {step:?}");
                    prop_assert!(!during || before || after, "{addr} port {port} is in neither set, at {step:?}");
                }
                prop_assert!(now.any_address || !(old.any_address && new.any_address));
            }
            prop_assert_eq!(now, new);
        }
    }

    #[test]
    fn the_same_set_again_changes_nothing() {
        let image = Image::of(&[Endpoint { addr: None, port: 80 }, Endpoint { addr: Some(addresses()[2]), port: 443 }]);
        let image = image.expect("valid");
        assert_eq!(image.steps_to(&image), []);
    }

    #[test]
    fn port_0_and_unspecified_addresses_are_refused_with_a_remedy() {
        let refused = |text: &str| {
            let addr: SocketAddr = text.parse().expect("an address and port");
            Image::of(&[Endpoint { addr: Some(addr.ip()), port: addr.port() }]).expect_err("refused").to_string()
        };
        assert_eq!(
            refused("192.0.2.1:0"),
            "steering the endpoint 192.0.2.1:0: port 0 cannot be reached; name a port from 1 to 65535"
        );
        assert!(refused("0.0.0.0:80").ends_with("leave the address out for any address"));
        assert!(refused("[::]:80").ends_with("leave the address out for any address"));
    }
}
