//! Whether the queues share the work evenly: one place for the rule that the tables warn by and that `why` finds by.

/// What one queue got of the frames of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// The queue that received most.
    pub queue: u32,
    /// Its frames.
    pub most: u64,
    /// The frames of all queues.
    pub total: u64,
    /// How many queues there are.
    pub queues: u64,
}

impl Imbalance {
    /// Of `frames`, pairs of a queue and what it received; `None` if no queue got more than one and a half of its share.
    pub fn of(frames: &[(u32, u64)]) -> Option<Self> {
        let total = frames.iter().map(|(_, frames)| frames).sum();
        let (queue, most) = frames.iter().copied().max_by_key(|(_, frames)| *frames)?;
        let queues = u64::try_from(frames.len()).unwrap_or(u64::MAX);
        (queues > 1 && most.saturating_mul(queues) > total + total / 2).then_some(Self { queue, most, total, queues })
    }

    /// How many frames that queue got beyond its share.
    pub fn beyond_share(&self) -> u64 {
        self.most - self.total / self.queues
    }

    /// What to do about it.
    pub fn remedy(&self, interface: &str) -> String {
        format!(
            "have the ports in the hash: ethtool -N {interface} rx-flow-hash tcp4 sdfn; and an even table: ethtool -X {interface} equal {}. Few \
             clients, or one connection that carries everything, cannot be spread",
            self.queues
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_with_more_than_one_and_a_half_of_its_share_is_named() {
        let of = |frames: &[u64]| Imbalance::of(&(0..).zip(frames.iter().copied()).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[1_000]), None, "alone");
        assert_eq!(of(&[0, 0]), None, "nothing came");
        assert_eq!(of(&[750, 250]), None);
        let found = of(&[249, 751]).unwrap();
        assert_eq!((found.queue, found.most, found.total, found.beyond_share()), (1, 751, 1_000, 251));
        assert!(of(&[37, 21, 21, 21]).is_none() && of(&[38, 20, 21, 21]).is_some());
        assert!(found.remedy("eth0").contains("ethtool -X eth0 equal 2"));
    }
}
