//! What a server keeps: its half-open connections, and its memory.

use std::fs;
use std::io;
use std::path::Path;

use super::contender::Keeper;
use crate::bench::netns::inside;
use crate::control::client::call;
use crate::control::protocol::Request;
use crate::observe::report::Stats;

/// TCP_NEW_SYN_RECV and TCP_SYN_RECV, as /proc/net/tcp shows both.
const SYN_RECEIVED: &str = "03";
/// The tables of both families, of the network namespace of the calling thread.
const TABLES: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];

/// How many half-open connections the server has; `None` if it does not say.
pub(super) fn count(keeper: Keeper, server_namespace: &str, control: &Path) -> Option<u64> {
    match keeper {
        Keeper::Kernel => {
            let tables = || TABLES.map(|path| fs::read_to_string(path).unwrap_or_default());
            let tables = inside(server_namespace, tables).ok()?;
            Some(tables.iter().map(|table| in_table(table)).sum())
        }
        Keeper::Handfast => {
            let stats: Stats = call(control, &Request::Stats {}).ok()?;
            stats.total.states.get("SYN-RECEIVED")
        }
    }
}

/// Half-open connections in a table of /proc/net.
fn in_table(table: &str) -> u64 {
    let state = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    table.lines().skip(1).filter(|line| state(line).as_deref() == Some(SYN_RECEIVED)).count() as u64
}

/// The memory of a process in KiB (VmRSS).
///
/// # Errors
///
/// If it has ended.
pub(super) fn rss_kib(pid: u32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path)?;
    rss_in(&status).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{path} has no VmRSS")))
}

fn rss_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_open_connections_are_those_in_syn_received() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            0: 0100007F:1B58 00000000:0000 0A 00000000:00000000\n\
            1: 0100007F:1B58 0100007F:C350 03 00000000:00000000\n\
            2: 0100007F:1B58 0100007F:C351 03 00000000:00000000\n\
            3: 0100007F:1B58 0100007F:C352 01 00000003:00000003\n";
        assert_eq!((in_table(table), in_table("")), (2, 0));
    }

    #[test]
    fn the_memory_of_this_process_is_known() {
        assert_eq!(rss_in("Name:\tx\nVmRSS:\t    1234 kB\n"), Some(1234));
        assert!(rss_kib(std::process::id()).unwrap() > 100);
    }
}
