//! How the archive is set.

use std::time::Duration;

use crate::layout::Table;

/// How the archive is set; every limit says what happens at it.
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// The tables that this process writes.
    pub tables: Vec<Table>,
    /// The oldest a row may grow in memory before it is committed. Shorter shows rows earlier
    /// to readers outside (DuckDB, Spark) and costs a commit and a file a date each time: at 5 s
    /// up to 17,280 commits a day and table, which merging brings down to some dozen files.
    pub cut_age: Duration,
    /// Rows in memory a table; at it they are committed before anything more is read.
    pub cut_rows_max: usize,
    /// Wire bytes in memory a table; at it they are committed before anything more is read.
    pub cut_bytes_max: usize,
    /// Bytes that one read of the log asks for.
    pub poll_bytes: usize,
    /// How long offsets that brought no row may wait to be committed.
    pub progress_age: Duration,
    /// Commits between two checkpoints of the Delta log.
    pub checkpoint_every: u64,
    /// Keys of recent rows kept in memory a table, 14 bytes each; at it the dates that were not
    /// used for longest are dropped and read again when needed.
    pub repeat_keys_max: usize,
    /// So many files of one date and level are merged into one of the next level.
    pub merge_files: usize,
    /// Files are not merged beyond this size together.
    pub merge_bytes_max: u64,
    /// Pauses between retries start at this and double.
    pub retry_first: Duration,
    /// Pauses between retries end at this.
    pub retry_last: Duration,
    /// How long a stop may take to commit what is in memory; what is not committed by then is
    /// read again from the log at the next start.
    pub stop_within: Duration,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            tables: Table::ALL.to_vec(),
            cut_age: Duration::from_secs(5),
            cut_rows_max: 262_144,
            cut_bytes_max: 64 << 20,
            poll_bytes: 4 << 20,
            progress_age: Duration::from_secs(60),
            checkpoint_every: 100,
            repeat_keys_max: 16 << 20,
            merge_files: 16,
            merge_bytes_max: 32 << 20,
            retry_first: Duration::from_millis(200),
            retry_last: Duration::from_secs(10),
            stop_within: Duration::from_secs(5),
        }
    }
}
