//! How far the log has answered: the witness against silent loss.
//!
//! SQLite's recovery ends without a word at the first bad frame of its write-ahead log, and a lost
//! tail looks like a shorter log. So after each durable commit the ends of all partitions are
//! noted beside the database. The note is not itself synced: after a power loss it may be old,
//! never too new, so what it says was durable truly was.
//!
//! In:    the next offset of every partition, after each commit.
//! Out:   the newest note that is whole.
//! Keeps: `log.acked`, two slots written in turn.
//! Never: fails an append: an old note is sound, only weaker.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use inzira_schemas::Topic;

const MAGIC: &[u8; 8] = b"inzirak1";
const SLOT_BYTES: usize = 4096;

/// The next offset of every partition of every topic, in the order of `Topic::ALL`.
pub type Ends = Vec<Vec<u64>>;

/// The note of a folder, open for writing.
#[derive(Debug)]
pub struct Mark {
    file: File,
    turn: u64,
}

impl Mark {
    /// Opens or makes the note.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join("log.acked"))?;
        let turn = newest(&file).map_or(0, |(turn, _)| turn);
        Ok(Self { file, turn })
    }

    /// Notes that everything before `ends` is durable.
    pub fn note(&mut self, ends: &Ends) -> io::Result<()> {
        self.turn += 1;
        let mut slot = Vec::with_capacity(SLOT_BYTES);
        slot.extend_from_slice(MAGIC);
        slot.extend_from_slice(&self.turn.to_le_bytes());
        ends.iter().flatten().for_each(|end| slot.extend_from_slice(&end.to_le_bytes()));
        slot.extend_from_slice(&crc32c::crc32c(&slot).to_le_bytes());
        self.file.write_all_at(&slot, (self.turn % 2) * SLOT_BYTES as u64)
    }
}

/// What the note of a folder says, if there is a whole one.
pub fn read(folder: &Path) -> Option<Ends> {
    let file = File::open(folder.join("log.acked")).ok()?;
    newest(&file).map(|(_, ends)| ends)
}

fn newest(file: &File) -> Option<(u64, Ends)> {
    [0, SLOT_BYTES as u64].into_iter().filter_map(|at| slot(file, at)).max_by_key(|(turn, _)| *turn)
}

fn slot(file: &File, at: u64) -> Option<(u64, Ends)> {
    let ends_len: usize = Topic::ALL.iter().map(|topic| topic.partitions() as usize).sum();
    let mut bytes = vec![0u8; 16 + ends_len * 8 + 4];
    file.read_exact_at(&mut bytes, at).ok()?;
    let (body, crc) = bytes.split_at(bytes.len() - 4);
    let whole = &body[..8] == MAGIC && crc32c::crc32c(body).to_le_bytes() == crc;
    if !whole {
        return None;
    }
    let mut words = body[8..]
        .chunks_exact(8)
        .map(|eight| u64::from_le_bytes(eight.try_into().unwrap_or([0; 8])));
    let turn = words.next()?;
    let ends = Topic::ALL
        .iter()
        .map(|topic| words.by_ref().take(topic.partitions() as usize).collect())
        .collect();
    Some((turn, ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(first: u64) -> Ends {
        let mut ends: Ends =
            Topic::ALL.iter().map(|topic| vec![0; topic.partitions() as usize]).collect();
        ends[0][0] = first;
        ends
    }

    #[test]
    fn the_newest_whole_note_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), None);
        let mut mark = Mark::open(folder.path()).unwrap();
        mark.note(&ends(1)).unwrap();
        mark.note(&ends(2)).unwrap();
        assert_eq!(read(folder.path()), Some(ends(2)));
        let mut again = Mark::open(folder.path()).unwrap();
        again.note(&ends(3)).unwrap();
        assert_eq!(read(folder.path()), Some(ends(3)));
        // A torn newest slot leaves the one before it.
        again.file.write_all_at(&[0xff; 64], SLOT_BYTES as u64 * (again.turn % 2)).unwrap();
        assert_eq!(read(folder.path()), Some(ends(2)));
    }
}
