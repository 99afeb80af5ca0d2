//! Reads SQLite's write-ahead log before SQLite does, to tell a torn tail from damage.
//!
//! A crash may tear the last transaction, whose frames no answer ever covered: that is a torn
//! tail, and SQLite rightly drops it. A transaction begins only when the one before it is synced;
//! so when the first frame of a later transaction is whole behind a bad frame, the bad one was
//! durable once and has been damaged since. SQLite would drop everything from there in silence.
//! (Frames of one unsynced transaction reach the disk in any order, so whole frames of the same
//! transaction behind a bad one prove nothing.)
//!
//! In:    the file `log.db-wal`, while nobody has the database open.
//! Out:   how many frames are sound, and the place of damage.
//! Never: writes.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wal {
    /// Absent, empty, or with a header that was never finished: nothing in it was answered.
    Empty,
    /// This many frames are whole, and then it ends.
    Sound {
        /// Frames.
        frames: u64,
    },
    /// Whole up to a byte; what follows is the last transaction, torn.
    TornTail {
        /// Where the tail begins.
        at_byte: u64,
    },
    /// A bad frame in front of a whole transaction.
    Damaged {
        /// Where the bad frame begins.
        at_byte: u64,
    },
}

/// Reads the file.
pub fn scan(path: &Path) -> io::Result<Wal> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Wal::Empty),
        Err(error) => return Err(error),
    };
    scan_reader(BufReader::with_capacity(1 << 20, file))
}

fn scan_reader(mut input: impl Read) -> io::Result<Wal> {
    let mut header = [0u8; HEADER_BYTES];
    if !fill(&mut input, &mut header)? {
        return Ok(Wal::Empty);
    }
    let Some(format) = Format::of(&header) else { return Ok(Wal::Empty) };
    let mut frame = vec![0u8; FRAME_HEADER_BYTES + format.page_bytes];
    let mut seed = (word(&header, 24), word(&header, 28));
    let (mut at_byte, mut frames) = (HEADER_BYTES as u64, 0u64);
    let mut bad_at: Option<u64> = None;
    let mut behind_commit = false;
    while fill(&mut input, &mut frame)? {
        let stored = (word(&frame, 16), word(&frame, 20));
        let whole = format.is_whole(&frame, seed);
        match (bad_at, whole) {
            (None, true) => frames += 1,
            (None, false) => bad_at = Some(at_byte),
            (Some(at_byte), true) if behind_commit => return Ok(Wal::Damaged { at_byte }),
            (Some(_), _) => {}
        }
        behind_commit = format.ends_transaction(&frame);
        seed = stored;
        at_byte += frame.len() as u64;
    }
    Ok(match bad_at {
        None => Wal::Sound { frames },
        Some(at_byte) => Wal::TornTail { at_byte },
    })
}

/// False at the end of the file, also when the last piece is cut short.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the header of the file says about its frames.
struct Format {
    page_bytes: usize,
    salts: [u8; 8],
    big_endian: bool,
}

impl Format {
    fn of(header: &[u8; HEADER_BYTES]) -> Option<Self> {
        let magic = word(header, 0);
        if magic & !1 != 0x377f_0682 {
            return None;
        }
        let page_bytes = word(header, 8) as usize;
        let mut salts = [0u8; 8];
        salts.copy_from_slice(&header[16..24]);
        let format = Self { page_bytes, salts, big_endian: magic & 1 == 1 };
        let sound = format.checksum((0, 0), &header[..24]) == (word(header, 24), word(header, 28));
        let plausible = page_bytes.is_power_of_two() && (512..=65536).contains(&page_bytes);
        (sound && plausible).then_some(format)
    }

    fn is_whole(&self, frame: &[u8], seed: (u32, u32)) -> bool {
        if frame[8..16] != self.salts || word(frame, 0) == 0 {
            return false;
        }
        let sum = self.checksum(seed, &frame[..8]);
        self.checksum(sum, &frame[FRAME_HEADER_BYTES..]) == (word(frame, 16), word(frame, 20))
    }

    /// The frame says that a transaction ends with it.
    fn ends_transaction(&self, frame: &[u8]) -> bool {
        frame[8..16] == self.salts && word(frame, 4) != 0
    }

    fn checksum(&self, (mut a, mut b): (u32, u32), bytes: &[u8]) -> (u32, u32) {
        for eight in bytes.chunks_exact(8) {
            let (x, y) = (self.native(&eight[..4]), self.native(&eight[4..]));
            a = a.wrapping_add(x).wrapping_add(b);
            b = b.wrapping_add(y).wrapping_add(a);
        }
        (a, b)
    }

    fn native(&self, four: &[u8]) -> u32 {
        let four = four.try_into().unwrap_or([0; 4]);
        if self.big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap_or([0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two transactions of two frames each, pages of 512 bytes.
    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in [0x377f_0682u32, 3_007_000, 512, 0, 11, 22] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        let format =
            Format { page_bytes: 512, salts: bytes[16..24].try_into().unwrap(), big_endian: false };
        let mut sum = format.checksum((0, 0), &bytes);
        for value in [sum.0, sum.1] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        for index in 0..4u32 {
            let mut frame = Vec::new();
            frame.extend_from_slice(&(index + 1).to_be_bytes());
            frame.extend_from_slice(&(if index % 2 == 1 { 9u32 } else { 0 }).to_be_bytes());
            let page = vec![u8::try_from(index).unwrap(); 512];
            sum = format.checksum(format.checksum(sum, &frame), &page);
            frame.extend_from_slice(&format.salts);
            frame.extend_from_slice(&sum.0.to_be_bytes());
            frame.extend_from_slice(&sum.1.to_be_bytes());
            bytes.extend_from_slice(&frame);
            bytes.extend_from_slice(&page);
        }
        bytes
    }

    const FRAME: usize = 24 + 512;

    fn scanned(bytes: &[u8]) -> Wal {
        scan_reader(bytes).unwrap()
    }

    #[test]
    fn a_whole_file_is_sound() {
        assert_eq!(scanned(&sample()), Wal::Sound { frames: 4 });
        assert_eq!(scanned(&[]), Wal::Empty);
    }

    #[test]
    fn a_bad_frame_in_front_of_a_later_transaction_is_damage() {
        for (frame, offset_in_frame) in [(0, 100), (1, 100), (0, 2), (1, 30)] {
            let mut bytes = sample();
            bytes[32 + frame * FRAME + offset_in_frame] ^= 1;
            let at_byte = (32 + frame * FRAME) as u64;
            assert_eq!(scanned(&bytes), Wal::Damaged { at_byte }, "frame {frame}");
        }
    }

    #[test]
    fn a_bad_frame_in_the_last_transaction_is_a_torn_tail() {
        for frame in [2, 3] {
            let mut bytes = sample();
            bytes[32 + frame * FRAME + 100] ^= 1;
            let at_byte = (32 + frame * FRAME) as u64;
            assert_eq!(scanned(&bytes), Wal::TornTail { at_byte });
        }
        let bytes = sample();
        assert_eq!(scanned(&bytes[..bytes.len() - 7]), Wal::Sound { frames: 3 });
    }

    #[test]
    fn frames_of_an_older_turn_behind_the_end_are_no_damage() {
        let mut bytes = sample();
        for frame in [2, 3] {
            bytes[32 + frame * FRAME + 8] ^= 1;
        }
        assert_eq!(scanned(&bytes), Wal::TornTail { at_byte: (32 + 2 * FRAME) as u64 });
    }
}
