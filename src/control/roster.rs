//! Who listens, across reloads: which services there are, under which ids, and which endpoints are steered.
//!
//! A listener keeps its id for as long as the server runs, because connections name their listener by it. So a reload only adds
//! entries or closes them; a closed one is steered until its last connection has ended, or the kernel would answer that one's
//! segments with RST. What is not here: threads and maps; this is bookkeeping.

use super::listen::{HttpFiles, Listen, ServiceSpec};
use crate::engine::listeners::{self, Listener, ListenerFlows, Listeners, MAX_LISTENERS};
use crate::service::{AnyService, Close, Discard, Http};
use crate::steer;
use std::path::Path;
use std::sync::Arc;

/// What an `http` service without a file answers.
const DEFAULT_BODY: &[u8] = b"Hello from handfast.\n";

/// More listeners than ids, counted over all reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_LISTENERS} listeners have been opened since the start, and ids are used once; restart the server")]
pub struct OutOfIds;

#[derive(Clone, Debug)]
struct Entry {
    listen: Listen,
    body: Option<Arc<[u8]>>,
    service: AnyService,
    state: EntryState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntryState {
    /// Takes connections.
    Open,
    /// Takes no more; those it has go on.
    Closed,
    /// Closed, and its last connection has ended.
    Gone,
}

/// All listeners that ever were; the position of one is its id.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    entries: Vec<Entry>,
}

impl Roster {
    /// Opens and closes listeners, so that these are the open ones. One that stays as it is keeps its id.
    ///
    /// # Errors
    ///
    /// [`OutOfIds`]; nothing is changed then.
    pub fn set(&mut self, listens: &[Listen], files: &HttpFiles) -> Result<(), OutOfIds> {
        let body = |listen: &Listen| match &listen.service {
            ServiceSpec::Http(Some(path)) => files.get(path).cloned(),
            ServiceSpec::Http(None) | ServiceSpec::Discard | ServiceSpec::Close => None,
        };
        let stays = |entry: &Entry, listen: &Listen| {
            entry.state == EntryState::Open && entry.listen == *listen && entry.body == body(listen)
        };
        let is_new = |listen: &&Listen| !self.entries.iter().any(|entry| stays(entry, listen));
        let new: Vec<&Listen> = listens.iter().filter(is_new).collect();
        if self.entries.len() + new.len() > MAX_LISTENERS {
            return Err(OutOfIds);
        }
        for entry in &mut self.entries {
            if entry.state == EntryState::Open && !listens.iter().any(|listen| stays(entry, listen)) {
                entry.state = EntryState::Closed;
            }
        }
        for listen in new {
            let body = body(listen);
            let service = service(&listen.service, body.as_deref());
            self.entries.push(Entry { listen: listen.clone(), body, service, state: EntryState::Open });
        }
        Ok(())
    }

    /// The table for an engine.
    pub fn table(&self) -> Listeners {
        let listener = |entry: &Entry| Listener {
            endpoint: listeners::Endpoint { addr: entry.listen.addr.map(Into::into), port: entry.listen.port },
            service: entry.service.clone(),
            open: entry.state == EntryState::Open,
        };
        Listeners::new(self.entries.iter().map(listener).collect())
    }

    /// How many ids there are.
    pub fn ids(&self) -> usize {
        self.entries.len()
    }

    /// The listeners that take connections, with their ids.
    pub fn open(&self) -> impl Iterator<Item = (usize, &Listen)> {
        let open = self.entries.iter().enumerate().filter(|(_, entry)| entry.state == EntryState::Open);
        open.map(|(id, entry)| (id, &entry.listen))
    }

    /// True if a closed listener may still have connections.
    pub fn has_closed(&self) -> bool {
        self.entries.iter().any(|entry| entry.state == EntryState::Closed)
    }

    /// Takes note of how many connections each listener has, by id. True if one of the closed ones is done with.
    pub fn note_flows(&mut self, flows: &[ListenerFlows]) -> bool {
        let mut changed = false;
        for (entry, flows) in self.entries.iter_mut().zip(flows) {
            if entry.state == EntryState::Closed && flows.live() == 0 {
                entry.state = EntryState::Gone;
                changed = true;
            }
        }
        changed
    }

    /// The endpoints whose segments the engines need.
    pub fn endpoints(&self) -> Vec<steer::Endpoint> {
        let live = self.entries.iter().filter(|entry| entry.state != EntryState::Gone);
        let mut endpoints: Vec<_> =
            live.map(|entry| steer::Endpoint { addr: entry.listen.addr, port: entry.listen.port }).collect();
        endpoints.sort_by_key(|endpoint| (endpoint.port, endpoint.addr));
        endpoints.dedup();
        endpoints
    }

    /// The service of listener `id`, as it was configured.
    pub fn service(&self, id: u16) -> String {
        self.entries.get(usize::from(id)).map_or_else(String::new, |entry| entry.listen.service.to_string())
    }
}

/// Makes a service.
fn service(spec: &ServiceSpec, body: Option<&[u8]>) -> AnyService {
    match spec {
        ServiceSpec::Discard => AnyService::Discard(Discard),
        ServiceSpec::Close => AnyService::Close(Close),
        ServiceSpec::Http(path) => {
            let content_type = path.as_deref().map_or("text/plain; charset=utf-8", content_type);
            let http = Http::new(body.unwrap_or(DEFAULT_BODY), content_type);
            AnyService::Http(http.expect("the configuration limits files to what a service takes"))
        }
    }
}

/// The media type for a file name: the few that people serve in tests.
fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Service as _;

    fn roster(listens: &[&str]) -> (Roster, HttpFiles) {
        let mut roster = Roster::default();
        set(&mut roster, listens, &HttpFiles::new());
        (roster, HttpFiles::new())
    }

    fn set(roster: &mut Roster, listens: &[&str], files: &HttpFiles) {
        let listens: Vec<Listen> = listens.iter().map(|text| text.parse().unwrap()).collect();
        roster.set(&listens, files).unwrap();
    }

    fn ports(roster: &Roster) -> Vec<u16> {
        roster.endpoints().iter().map(|endpoint| endpoint.port).collect()
    }

    #[test]
    fn a_reload_keeps_ids_and_closes_what_is_gone() {
        let (mut roster, files) = roster(&["80=http", "81=close"]);
        set(&mut roster, &["81=close", "82=discard"], &files);
        assert_eq!(roster.ids(), 3);
        assert_eq!(roster.open().map(|(_, listen)| listen.port).collect::<Vec<_>>(), [81, 82]);
        assert_eq!([0, 1, 2].map(|id| roster.service(id)), ["http", "close", "discard"]);
        let states: Vec<bool> = roster.table().iter().map(|(listener, _)| listener.open).collect();
        assert_eq!(states, [false, true, true]);
    }

    #[test]
    fn a_closed_endpoint_is_steered_until_its_last_connection_ended() {
        let (mut roster, files) = roster(&["80=http", "81=close"]);
        set(&mut roster, &["81=close"], &files);
        assert!(roster.has_closed());
        let flows = |live| ListenerFlows { states: [0, 0, live, 0, 0, 0, 0, 0, 0], opened: 2 };
        assert!(!roster.note_flows(&[flows(2), flows(0)]));
        assert_eq!(ports(&roster), [80, 81]);
        assert!(roster.note_flows(&[flows(0), flows(0)]));
        assert_eq!(ports(&roster), [81]);
        assert!(!roster.has_closed());
    }

    #[test]
    fn another_service_or_body_on_an_endpoint_is_another_listener() {
        let (mut roster, _) = roster(&["80=http"]);
        set(&mut roster, &["80=close"], &HttpFiles::new());
        assert_eq!((roster.ids(), ports(&roster)), (2, vec![80]));
        let files = |body: &[u8]| HttpFiles::from([("/x.html".into(), body.into())]);
        set(&mut roster, &["80=http:/x.html"], &files(b"old"));
        set(&mut roster, &["80=http:/x.html"], &files(b"old"));
        assert_eq!(roster.ids(), 3);
        set(&mut roster, &["80=http:/x.html"], &files(b"newer"));
        assert_eq!(roster.ids(), 4);
        let table = roster.table();
        assert!(table.service(3).backlog_bytes() > table.service(2).backlog_bytes(), "the longer body");
    }
}
