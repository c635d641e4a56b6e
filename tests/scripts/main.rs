//! Packet scripts: conversations with the engine on a virtual clock, one behaviour a file.
//!
//! Every `*.script` beside this file is a test of that name. The peer speaks with `->`, the engine must answer with `<-`;
//! whatever it says beyond that fails the script, and so does a ledger that does not balance at the end.
//!
//! ```text
//! # Sentences that say what is shown, with the RFC's section.
//! config time_wait_ms=1000          a field of TcpConfig, any number of them in a line; before the first segment
//! listen 80=close                   a listener (default: 80=discard); flows 2 limits the table; ipv6; vlan 5; peer_isn 4294967295
//! -> SYN seq=0 mss=1460 ts=100,0    the peer sends: control bits, then fields; seq counts from the peer's ISN
//! <- SYN,ACK seq=0 ack=1            the engine answers: seq counts from its own ISN; fields not named are not compared,
//!                                   but a payload is: without len= or data= there must be none
//! <- nothing old_duplicate          no answer: the frame was dropped for that reason ("nothing" alone: it was accepted)
//! -> ACK seq=1 data="GET" times=3    that payload three times over
//! -> ACK seq=1 ack=1 data="GET"     ports and peers other than the usual: port=81 peer=40001
//! wait 200                          lets so many milliseconds pass; what is sent meanwhile must follow
//! state ESTABLISHED                 the connection's state, or CLOSED if there is none
//! count challenge_acks=1            counters, since the start
//! drain                             the operator drains the server
//! keys 7                            the engine gets the keys of SYN cookies in that period; without, it sends none
//! xdp on                            the steering program answers SYNs, and hands on what comes back; off, and it does no more
//! xdp SYN seq=0                     it answers this one, with a cookie; seq and ack count from its ISN from now on
//! reload half_open_limit=5          the operator changes fields of TcpConfig
//! open port=5000                    the engine opens a connection from that port; its SYN must follow. seq counts from its ISN
//! event Established                 the next event that the user hears of: Received(5), Finished, Ended(Closed), none
//! close                             the user closes the connection; abort gives it up
//! ```

mod interpreter;

use libtest_mimic::{Arguments, Trial};
use std::path::Path;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of the scripts")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "script"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    let mut trials: Vec<Trial> = paths
        .into_iter()
        .map(|path| {
            let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
            Trial::test(name, move || {
                let text = std::fs::read_to_string(&path)?;
                interpreter::run(&text).map_err(|error| format!("{}: {error}", path.display()).into())
            })
        })
        .collect();
    trials.push(Trial::test("a_script_that_is_wrong_fails", || interpreter::self_test().map_err(Into::into)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
