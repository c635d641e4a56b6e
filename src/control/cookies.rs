//! The keys of SYN cookies: where they come from, and when they change.
//!
//! Periods are those of the wall clock, so that responders which share a secret have the same keys at the same time, and
//! complete each other's handshakes. What is here takes that clock as an argument, and says when the next period begins. What
//! is not here: what a cookie is (`tcp::cookie`), and when one is sent (`engine`).

use crate::tcp::cookie::{Key, Keys, PERIOD_MS};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a secret at least: a key has as many.
const LEAST_SECRET_BYTES: usize = 16;

/// Bytes of a secret at most: a longer file is some other file.
const MOST_SECRET_BYTES: u64 = 4096;

/// Which key says where the shared timestamp clock begins: that of a period which no wall clock reaches.
const PERIOD_OF_TIMESTAMPS: u64 = u64::MAX;

/// What several responders share. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    bytes: Arc<[u8]>,
    /// Everybody on this machine may read its file.
    pub exposed: bool,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Reads it from a file, all bytes as they are. The error says why it cannot be one.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let failed = |error: std::io::Error| format!("cannot read {name}: {error}");
        // A FIFO or device would block or never end; only a look before opening tells.
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(format!("cannot read {name}: not a regular file"));
        }
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MOST_SECRET_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
        if bytes.len() < LEAST_SECRET_BYTES {
            return Err(format!(
                "{name} has {} bytes, a secret has {LEAST_SECRET_BYTES} at least; head -c 32 /dev/urandom > {name} makes one",
                bytes.len()
            ));
        }
        if bytes.len() as u64 > MOST_SECRET_BYTES {
            return Err(format!("{name} has more than {MOST_SECRET_BYTES} bytes: is that the right file?"));
        }
        Ok(Self { bytes: bytes.into(), exposed: metadata.permissions().mode() & 0o004 != 0 })
    }

    /// Where the timestamp clock of all who share this stands at the wall clock's `wall`. Our timestamps are echoed to whoever of
    /// them gets the acknowledgment.
    #[expect(clippy::cast_possible_truncation, reason = "the timestamp clock is modulo 2^32")]
    pub fn timestamp(&self, wall: Duration) -> u32 {
        let [a, b, c, d, ..] = Key::of_period(&self.bytes, PERIOD_OF_TIMESTAMPS).0;
        u32::from_le_bytes([a, b, c, d]).wrapping_add(wall.as_millis() as u32)
    }
}

/// Keeps the keys and changes them with the periods.
#[derive(Debug)]
pub struct KeyKeeper {
    secret: Option<Secret>,
    period: u64,
    keys: Keys,
    /// Whoever needs the present keys has them.
    delivered: bool,
}

impl KeyKeeper {
    /// A keeper for the period that the wall clock is in, with the keys of `secret`, or without one with fresh ones.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub fn new(secret: Option<Secret>, wall: Duration) -> Result<Self, getrandom::Error> {
        let period = period(wall);
        let keys = match &secret {
            Some(secret) => shared(secret, period),
            None => Keys { current: fresh()?, previous: None, parity: is_odd(period) },
        };
        Ok(Self { secret, period, keys, delivered: false })
    }

    /// Looks at the wall clock, and hands keys that are new to `deliver`, which says whether all got them; if not, they
    /// are handed to it again the next time.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers. The keys of before stay.
    pub fn turn(&mut self, wall: Duration, deliver: impl FnOnce(&Keys) -> bool) -> Result<(), getrandom::Error> {
        let period = period(wall);
        if period != self.period {
            self.keys = match &self.secret {
                Some(secret) => shared(secret, period),
                None => Keys {
                    current: fresh()?,
                    // After a jump of the clock the old key is too old, or of the same parity.
                    previous: (period.abs_diff(self.period) == 1).then_some(self.keys.current),
                    parity: is_odd(period),
                },
            };
            self.period = period;
            self.delivered = false;
        }
        self.delivered = self.delivered || deliver(&self.keys);
        Ok(())
    }

    /// The present keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// How long until the next period begins.
    pub fn until_next(&self, wall: Duration) -> Duration {
        let length = Duration::from_millis(u64::from(PERIOD_MS));
        length.saturating_mul(u32::try_from(period(wall) + 1).unwrap_or(u32::MAX)).saturating_sub(wall)
    }
}

/// The number of the period that the wall clock is in.
fn period(wall: Duration) -> u64 {
    wall.as_secs() / u64::from(PERIOD_MS / 1_000)
}

fn is_odd(period: u64) -> bool {
    period % 2 == 1
}

/// The keys in a period of all who share a secret.
fn shared(secret: &Secret, period: u64) -> Keys {
    let key = |period| Key::of_period(&secret.bytes, period);
    Keys { current: key(period), previous: period.checked_sub(1).map(key), parity: is_odd(period) }
}

fn fresh() -> Result<Key, getrandom::Error> {
    let mut key = Key([0; 16]);
    getrandom::fill(&mut key.0)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn secret(bytes: &[u8]) -> Secret {
        Secret { bytes: bytes.into(), exposed: false }
    }

    /// The keys that are handed out at that second, if any are.
    fn handed(keeper: &mut KeyKeeper, seconds: u64) -> Option<Keys> {
        let mut handed = None;
        keeper
            .turn(at(seconds), |keys| {
                handed = Some(*keys);
                true
            })
            .unwrap();
        handed
    }

    #[test]
    fn fresh_keys_come_with_every_period_and_the_last_one_is_kept() {
        let mut keeper = KeyKeeper::new(None, at(640)).unwrap();
        let first = handed(&mut keeper, 640).unwrap();
        assert_eq!((first.previous, first.parity), (None, false));
        assert_eq!(handed(&mut keeper, 703), None);
        let second = handed(&mut keeper, 704).unwrap();
        assert_eq!((second.previous, second.parity), (Some(first.current), true));
        assert_ne!(second.current, first.current);
        // The machine slept over a period, or the clock was set.
        let third = handed(&mut keeper, 704 + 128).unwrap();
        assert_eq!((third.previous, third.parity), (None, true));
        assert_eq!(keeper.until_next(at(704)), at(64));
        assert_eq!(keeper.until_next(Duration::from_millis(767_999)), Duration::from_millis(1));
    }

    #[test]
    fn keys_that_were_not_delivered_are_handed_out_again() {
        let mut keeper = KeyKeeper::new(None, at(0)).unwrap();
        keeper.turn(at(0), |_| false).unwrap();
        assert!(handed(&mut keeper, 1).is_some());
        assert!(handed(&mut keeper, 2).is_none());
    }

    #[test]
    fn who_shares_a_secret_has_the_same_keys_and_timestamps() {
        let bytes = b"sixteen bytes are enough";
        let mut one = KeyKeeper::new(Some(secret(bytes)), at(100)).unwrap();
        let mut other = KeyKeeper::new(Some(secret(bytes)), at(7_000)).unwrap();
        let keys = handed(&mut one, 7_010).unwrap();
        assert_eq!(Some(keys), handed(&mut other, 7_010));
        assert_eq!(keys.parity, 7_010 / 64 % 2 == 1);
        assert_eq!(handed(&mut one, 7_070).unwrap().previous, Some(keys.current));
        let timestamp = |bytes: &[u8], seconds| secret(bytes).timestamp(at(seconds));
        assert_eq!(timestamp(bytes, 7), timestamp(bytes, 5).wrapping_add(2_000));
        assert_ne!(timestamp(bytes, 7), timestamp(b"another secret of theirs", 7));
    }

    #[test]
    fn a_secret_is_a_file_of_16_bytes_at_least_that_only_its_owner_reads() {
        let path = std::env::temp_dir().join(format!("hfcf-secret-{}", std::process::id()));
        let read = |content: &[u8], mode: u32| {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Secret::read(&path)
        };
        assert!(read(&[7; 15], 0o600).unwrap_err().contains("has 15 bytes, a secret has 16 at least"));
        assert!(read(&[7; 4_097], 0o600).unwrap_err().contains("more than 4096 bytes"));
        assert!(!read(&[7; 16], 0o640).unwrap().exposed);
        assert!(read(&[7; 4_096], 0o604).unwrap().exposed);
        assert_eq!(format!("{:?}", read(&[7; 16], 0o600).unwrap()), "Secret(..)");
        std::fs::remove_file(&path).unwrap();
        assert!(Secret::read(&path).unwrap_err().starts_with("cannot read "));
        assert!(Secret::read(Path::new("/dev/null")).unwrap_err().ends_with("not a regular file"));
    }
}
