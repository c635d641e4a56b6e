//! Whether an interface is one of a lab's, so that what is sent through it reaches nobody else.
//!
//! A name proves nothing: the network namespace of the calling thread has to be the one behind a lab's name, the interface a
//! veth with the lab's MAC address, and its other end the interface of the lab's other namespace.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use super::{CLIENT, End, Lab, SERVER};
use crate::bench::netns::{self, inside};
use crate::control::link::{Link, namespace_id};
use crate::wire::ether::Mac;

/// Where the kernel shows the network namespace of the calling thread.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

impl Lab {
    /// The lab that `interface`, seen from the calling thread, is an end of.
    ///
    /// # Errors
    ///
    /// Why it is not one, as a clause that goes on after the interface's name.
    pub fn of_interface(interface: &str) -> Result<Lab, String> {
        let (lab, own, other) = lab_of_namespace().ok_or("is in no network namespace of a lab")?;
        if interface != own.interface {
            return Err(format!("is not {}, the interface that the lab {} has here", own.interface, lab.name));
        }
        let link = Link::query(interface).map_err(|error| format!("cannot be asked about: {error}"))?;
        let link = link.ok_or("does not exist in this network namespace")?;
        if !link.is_veth() || link.mac != mac_of(own) {
            return Err("is not the veth that a lab has: its kind or MAC address is another".to_owned());
        }
        let other_namespace = lab.namespace(other);
        let outside = || format!("has its other end outside of {other_namespace}");
        let joined = link.joined.ok_or_else(outside)?;
        let file = File::open(netns::path(&other_namespace)).map_err(|_| outside())?;
        let id = namespace_id(file.as_fd()).ok().flatten().ok_or_else(outside)?;
        if joined.namespace != Some(id) {
            return Err(outside());
        }
        let there = inside(&other_namespace, || Link::query(other.interface)).map_err(|_| outside())?;
        match there {
            Ok(Some(there)) if there.is_veth() && there.index == joined.index => Ok(lab),
            _ => Err(outside()),
        }
    }
}

/// The lab in whose namespace the calling thread is, the end that is there, and the other one.
fn lab_of_namespace() -> Option<(Lab, &'static End, &'static End)> {
    let identity = |path: &std::path::Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let own = identity(std::path::Path::new(OWN_NAMESPACE))?;
    let named = fs::read_dir(netns::path("")).ok()?.flatten();
    let mut here = named.filter(|entry| identity(&entry.path()) == Some(own));
    here.find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        lab_of_name(&name)
    })
}

/// The lab whose namespace has this name, and its ends, the one that is there first.
fn lab_of_name(namespace: &str) -> Option<(Lab, &'static End, &'static End)> {
    [(&CLIENT, &SERVER), (&SERVER, &CLIENT)].into_iter().find_map(|(own, other)| {
        let name = namespace.strip_suffix(own.role)?.strip_suffix('-')?;
        Some((Lab::named(name).ok()?, own, other))
    })
}

/// The MAC address of an end.
fn mac_of(end: &End) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = end.mac.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_of_a_lab_is_known_by_its_name() {
        let (lab, own, other) = lab_of_name("try-1-server").unwrap();
        assert_eq!((lab, own.interface, other.interface), (Lab::named("try-1").unwrap(), "hf-server", "hf-client"));
        assert!(lab_of_name("-client").is_none() && lab_of_name("client").is_none() && lab_of_name("web").is_none());
    }

    #[test]
    fn an_interface_outside_of_labs_is_none_of_theirs() {
        // The test itself runs in no lab.
        assert!(Lab::of_interface("lo").unwrap_err().contains("in no network namespace of a lab"));
        assert_eq!(mac_of(&SERVER), Some([2, 0x68, 0x66, 0, 0, 1]));
    }
}
