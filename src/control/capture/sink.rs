//! One capture file: pcapng, an interface block for each queue, a comment for each verdict.
//!
//! The file is its owner's alone (mode 0600): it has what peers said. It ends at a whole block, also when it reached its limit or the disk
//! took no more. What is not here: which frames it gets, and from where.

use crate::observe::report::CaptureFile;
use crate::verdict::Verdict;
use crate::worker::capture::{Note, Way};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::borrow::Cow;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who may read a capture.
const MODE: u32 = 0o600;
/// Bytes that are gathered before the file gets them.
const BUFFER_BYTES: usize = 256 * 1024;
/// `if_tsresol` of nanoseconds: 10 to the minus 9.
const NANOSECONDS: u8 = 9;
/// epb_flags: direction inbound, direction outbound.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Why a file could not be made.
#[derive(Debug, thiserror::Error)]
#[error("capturing to {}: cannot {what}: {cause}; {remedy}", path.display())]
pub struct CaptureError {
    /// The file.
    pub path: PathBuf,
    /// What was tried.
    pub what: &'static str,
    /// The cause.
    pub cause: io::Error,
    /// What to do about it.
    pub remedy: &'static str,
}

impl CaptureError {
    /// An error with the remedy that fits its cause.
    pub(super) fn new(path: &Path, what: &'static str, cause: io::Error) -> Self {
        let is_link = cause.raw_os_error() == Some(Errno::LOOP.raw_os_error());
        let remedy = match cause.kind() {
            ErrorKind::IsADirectory => "name a file in it",
            ErrorKind::NotFound => "make the folder first, or name another file",
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "name a file in a folder that this process may write to"
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "free some space, lower --capture-limit, or name a file on another disk"
            }
            _ if is_link => "it is a symbolic link; name the file itself",
            _ => "name a regular file, or one that is not there yet",
        };
        Self { path: path.to_owned(), what, cause, remedy }
    }
}

/// An open file.
pub struct Sink {
    path: PathBuf,
    file: File,
    /// What the file has not got yet.
    encoder: PcapNgWriter<Vec<u8>>,
    /// Bytes that the file has; they end at a whole block.
    bytes: u64,
    limit_bytes: u64,
    /// Frames in `encoder`.
    waiting: u64,
    frames: u64,
    unwritten: u64,
    /// Why nothing more is written.
    ended: Option<String>,
}

impl Sink {
    /// Makes the file, or takes the place of what is in it, and writes its head: `interface` and its queues, frames of `snaplen` bytes
    /// at most.
    ///
    /// # Errors
    ///
    /// [`CaptureError`], also if there is something that is no regular file.
    pub fn create(
        path: &Path,
        limit_bytes: u64,
        snaplen: u32,
        interface: &str,
        queues: &[u32],
    ) -> Result<Self, CaptureError> {
        let failed = |what| move |cause| CaptureError::new(path, what, cause);
        // Not through a symbolic link, and not waiting for the reader of a pipe.
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(false).mode(MODE).custom_flags(flags);
        let file = options.open(path).map_err(failed("open it"))?;
        if !file.metadata().map_err(failed("look at it"))?.is_file() {
            return Err(CaptureError::new(path, "write there", io::Error::other("not a regular file")));
        }
        file.set_permissions(Permissions::from_mode(MODE)).map_err(failed("make it its owner's alone"))?;
        file.set_len(0).map_err(failed("empty it"))?;
        let encoder = head(interface, queues, snaplen).map_err(failed("write its head"))?;
        let mut sink = Self {
            path: path.to_owned(),
            file,
            encoder,
            bytes: 0,
            limit_bytes,
            waiting: 0,
            frames: 0,
            unwritten: 0,
            ended: None,
        };
        sink.write_out().map_err(failed("write its head"))?;
        Ok(sink)
    }

    /// Takes a frame of the queue that stands at `interface`; `since_1970` is when the worker's clock stood at 0.
    pub fn add(&mut self, interface: u32, note: &Note, bytes: &[u8], since_1970: Duration) {
        if self.ended.is_some() {
            self.unwritten += 1;
            return;
        }
        let comment = comment(note);
        if self.bytes + (self.encoder.get_ref().len() + block_bytes(bytes, &comment)) as u64 > self.limit_bytes {
            self.flush();
            if self.ended.is_none() {
                tracing::warn!(
                    "capturing to {}: reached --capture-limit; nothing more is written",
                    self.path.display()
                );
                self.ended = Some("reached capture-limit".to_owned());
            }
            self.unwritten += 1;
            return;
        }
        let mut options = vec![EnhancedPacketOption::Flags(if note.way == Way::In { INBOUND } else { OUTBOUND })];
        if !comment.is_empty() {
            options.push(EnhancedPacketOption::Comment(Cow::Owned(comment)));
        }
        let block = EnhancedPacketBlock {
            interface_id: interface,
            timestamp: since_1970 + Duration::from_nanos(note.nanos),
            original_len: note.len,
            data: Cow::Borrowed(bytes),
            options,
        };
        match self.encoder.write_pcapng_block(block) {
            Ok(_) => self.waiting += 1,
            Err(error) => self.end(&io::Error::other(error.to_string())),
        }
        if self.encoder.get_ref().len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    /// Gives the file what it has not got yet.
    pub fn flush(&mut self) {
        if self.ended.is_none()
            && let Err(cause) = self.write_out()
        {
            self.end(&cause);
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        let waiting = self.encoder.get_mut();
        if let Err(cause) = self.file.write_all(waiting) {
            // Half a block would make the rest of the file unreadable. If not even this works, a reader sees where it ends.
            let _ = self.file.set_len(self.bytes);
            return Err(cause);
        }
        self.bytes += waiting.len() as u64;
        waiting.clear();
        self.frames += core::mem::take(&mut self.waiting);
        Ok(())
    }

    /// The file takes no more.
    fn end(&mut self, cause: &io::Error) {
        let cause = io::Error::new(cause.kind(), cause.to_string());
        let error = CaptureError::new(&self.path, "write", cause);
        tracing::error!("{error}; nothing more is written");
        self.unwritten += core::mem::take(&mut self.waiting);
        self.encoder.get_mut().clear();
        self.ended = Some(error.cause.to_string());
    }

    /// What became of the frames so far.
    pub fn report(&self) -> CaptureFile {
        CaptureFile {
            path: self.path.display().to_string(),
            frames: self.frames,
            bytes: self.bytes,
            unwritten: self.unwritten,
            ended: self.ended.clone(),
        }
    }
}

/// An encoder that has the blocks that a file starts with.
fn head(interface: &str, queues: &[u32], snaplen: u32) -> io::Result<PcapNgWriter<Vec<u8>>> {
    let program = SectionHeaderOption::UserApplication(format!("handfast {}", env!("CARGO_PKG_VERSION")).into());
    let section = SectionHeaderBlock {
        endianness: Endianness::native(),
        options: vec![program],
        ..SectionHeaderBlock::default()
    };
    let other = |error: pcap_file::PcapError| io::Error::other(error.to_string());
    let mut encoder = PcapNgWriter::with_section_header(Vec::new(), section).map_err(other)?;
    for queue in queues {
        let options = vec![
            InterfaceDescriptionOption::IfName(format!("{interface} queue {queue}").into()),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        let block = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen, options };
        encoder.write_pcapng_block(block).map_err(other)?;
    }
    Ok(encoder)
}

/// What is said of a frame beside its bytes.
fn comment(note: &Note) -> String {
    let verdict = match note.verdict {
        None => String::new(),
        Some(Verdict::Accept) => "accepted".to_owned(),
        Some(Verdict::Transmit { .. }) => "answered".to_owned(),
        Some(Verdict::Drop(reason)) => format!("drop: {}", reason.name()),
    };
    match note.end {
        None => verdict,
        Some(end) if verdict.is_empty() => format!("failed: {}", end.name()),
        Some(end) => format!("{verdict}; failed: {}", end.name()),
    }
}

/// Bytes that a frame's block has at most.
fn block_bytes(bytes: &[u8], comment: &str) -> usize {
    const AROUND: usize = 32;
    const FLAGS: usize = 8;
    const END_OF_OPTIONS: usize = 4;
    const OPTION_HEAD: usize = 4;
    AROUND + bytes.len().next_multiple_of(4) + FLAGS + OPTION_HEAD + comment.len().next_multiple_of(4) + END_OF_OPTIONS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::effects::End;
    use crate::verdict::DropReason;
    use pcap_file::pcapng::{Block, PcapNgReader};
    use std::fs;

    /// A path that is removed with the value.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("hfcap-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
            let _ = fs::remove_dir(&self.0);
        }
    }

    fn sink(place: &Place, limit_bytes: u64) -> Sink {
        Sink::create(&place.0, limit_bytes, 256, "eth7", &[0, 2]).unwrap()
    }

    /// Interface, time, length, direction and comment of each frame in a file.
    fn read(place: &Place) -> Vec<(u32, Duration, u32, Vec<u8>, u32, String)> {
        let mut reader = PcapNgReader::new(File::open(&place.0).unwrap()).unwrap();
        let mut found = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap().into_owned() {
                let (mut flags, mut comment) = (0, String::new());
                for option in packet.options {
                    match option {
                        EnhancedPacketOption::Flags(bits) => flags = bits,
                        EnhancedPacketOption::Comment(text) => comment = text.into_owned(),
                        other => panic!("{other:?}"),
                    }
                }
                let data = packet.data.into_owned();
                found.push((packet.interface_id, packet.timestamp, packet.original_len, data, flags, comment));
            }
        }
        found
    }

    #[test]
    fn what_is_known_of_a_frame_stands_in_the_file() {
        let place = Place::new("known");
        let mut sink = sink(&place, 1 << 20);
        let epoch = Duration::from_secs(1_700_000_000);
        let dropped = Note {
            nanos: 123_456_789,
            len: 1_500,
            verdict: Some(Verdict::Drop(DropReason::BadTcpChecksum)),
            ..Note::default()
        };
        let last = Note { end: Some(End::ResetByPeer), verdict: Some(Verdict::Accept), ..dropped };
        let sent = Note { way: Way::Out, verdict: None, ..last };
        for (interface, note) in [(0, dropped), (1, last), (1, sent), (0, Note { end: None, ..sent })] {
            sink.add(interface, &note, &[1, 2, 3, 4, 5], epoch);
        }
        sink.flush();
        let at = epoch + Duration::from_nanos(123_456_789);
        let expected = [
            (0, INBOUND, "drop: bad_tcp_checksum"),
            (1, INBOUND, "accepted; failed: reset_by_peer"),
            (1, OUTBOUND, "failed: reset_by_peer"),
            (0, OUTBOUND, ""),
        ];
        let expected = expected
            .map(|(interface, way, comment)| (interface, at, 1_500, vec![1, 2, 3, 4, 5], way, comment.to_owned()));
        assert_eq!(read(&place), expected);
        let report = sink.report();
        assert_eq!((report.frames, report.unwritten, report.ended), (4, 0, None));
        assert_eq!(report.bytes, fs::metadata(&place.0).unwrap().len());
    }

    #[test]
    fn at_its_limit_a_file_ends_with_a_whole_frame() {
        let place = Place::new("limit");
        let mut sink = sink(&place, 1_000);
        for _ in 0..100 {
            sink.add(0, &Note { len: 60, ..Note::default() }, &[7; 60], Duration::ZERO);
        }
        let report = sink.report();
        assert_eq!(report.frames + report.unwritten, 100);
        assert!(report.bytes <= 1_000 && report.bytes > 850, "{report:?}");
        assert_eq!(report.ended.as_deref(), Some("reached capture-limit"));
        assert_eq!(read(&place).len() as u64, report.frames);
    }

    #[test]
    fn a_capture_is_its_owners_alone_also_where_a_file_was() {
        let place = Place::new("mode");
        fs::write(&place.0, vec![b'x'; 10_000]).unwrap();
        fs::set_permissions(&place.0, Permissions::from_mode(0o644)).unwrap();
        drop(sink(&place, 1 << 20));
        let metadata = fs::metadata(&place.0).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, MODE);
        assert!(metadata.len() < 1_000, "what was there is gone");
        assert_eq!(read(&place), []);
    }

    #[test]
    fn where_no_file_can_be_the_cause_and_a_remedy_are_named() {
        let refused =
            |path: &Path| Sink::create(path, 1 << 20, 256, "eth7", &[0]).err().expect("no file is made").to_string();
        let folder = Place::new("folder");
        fs::create_dir(&folder.0).unwrap();
        let message = refused(&folder.0);
        assert!(
            message.contains("cannot open it: Is a directory") && message.ends_with("name a file in it"),
            "{message}"
        );
        let message = refused(Path::new("/nonexistent/x.pcapng"));
        assert!(message.starts_with("capturing to /nonexistent/x.pcapng: cannot open it: No such file"), "{message}");
        assert!(message.ends_with("make the folder first, or name another file"), "{message}");
        let link = Place::new("link");
        std::os::unix::fs::symlink("/nonexistent", &link.0).unwrap();
        assert!(refused(&link.0).ends_with("it is a symbolic link; name the file itself"));
        let message = refused(Path::new("/dev/null"));
        assert!(message.contains("cannot write there: not a regular file"), "{message}");
    }

    #[test]
    fn a_full_disk_ends_the_file_and_says_so() {
        let place = Place::new("full");
        let mut sink = sink(&place, 1 << 20);
        let before = sink.bytes;
        sink.add(0, &Note { len: 60, ..Note::default() }, &[7; 60], Duration::ZERO);
        // /dev/full answers every write as a full disk does.
        sink.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        sink.flush();
        sink.add(0, &Note::default(), &[], Duration::ZERO);
        let report = sink.report();
        assert_eq!((report.frames, report.unwritten, report.bytes), (0, 2, before));
        assert!(report.ended.unwrap().starts_with("No space left on device"));
    }
}
