//! Measures the way from records in memory to committed, merged Parquet.
//!
//! In:    a number of fixes and a store.
//! Out:   rows per CPU-second, bytes written, memory.
//!
//! The fixes are of 500 drivers in random walks round Kigali, one fix a second each, so that
//! ids, cells and coordinates compress as real ones do.

use std::sync::Arc;
use std::time::Instant;

use inzira_event_log::{NewRecord, Record};
use inzira_schemas::{Micros, Point, SystemClock, Topic, cell, event_id, wire};
use inzira_store::Opened;
use nix::sys::resource::{UsageWho, getrusage};

use crate::config::ArchiveConfig;
use crate::delta::state::Offsets;
use crate::error::ArchiveError;
use crate::layout::Table;
use crate::merge;
use crate::rows::Rows;
use crate::writer::TableWriter;

/// Drivers in the made-up fleet.
const DRIVERS: usize = 500;

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Rows committed.
    pub rows: u64,
    /// Rows per CPU-second from records to the first commit.
    pub rows_per_s_core_committed: f64,
    /// Rows per CPU-second from records to the merged files.
    pub rows_per_s_core: f64,
    /// Bytes of the records.
    pub wire_bytes: u64,
    /// Bytes of the live files at the end.
    pub live_bytes: u64,
    /// Bytes written, first and merged, for each live byte.
    pub write_amplification: f64,
    /// Largest memory of the process so far, MiB.
    pub rss_mib: f64,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "bench=archive rows_per_s_core={:.0} committed_rows_per_s_core={:.0} rows={} \
             bytes_per_row={:.1} write_amplification={:.2} rss_mib={:.0}",
            self.rows_per_s_core,
            self.rows_per_s_core_committed,
            self.rows,
            self.live_bytes as f64 / self.rows.max(1) as f64,
            self.write_amplification,
            self.rss_mib
        )
    }
}

/// Records of `rows` fixes, as the log would hand them out.
pub fn records(rows: usize) -> Vec<Record> {
    let start = Micros::from_secs(1_767_225_600);
    let mut drivers: Vec<Walk> = (0..DRIVERS).map(Walk::new).collect();
    let mut records = Vec::with_capacity(rows);
    for index in 0..rows {
        let second = (index / DRIVERS) as i64;
        let fix = drivers[index % DRIVERS].step(start.plus_secs(second), second as u64);
        let new = NewRecord::of(&fix);
        records.push(Record {
            topic: Topic::GpsFixes,
            partition: new.partition(),
            offset: index as u64,
            appended_at_us: fix.received_at_us,
            key: new.key,
            value: new.value,
            headers: Vec::new(),
        });
    }
    records
}

/// Decodes, drops repeats, sorts, encodes, commits and merges `records` into `store`, which
/// should be empty.
pub async fn run(records: &[Record], store: &Opened) -> Result<Measured, ArchiveError> {
    let config = ArchiveConfig::default();
    let clock = Arc::new(SystemClock);
    let mut writer = TableWriter::open(store, Table::Fixes, &config, clock).await?;
    let mut rows = Rows::of(Table::Fixes, config.cut_rows_max);
    let mut next = Offsets::new();
    let mut written = 0;
    let before = cpu_s();
    let started = Instant::now();
    for (index, record) in records.iter().enumerate() {
        rows.push(record).map_err(ArchiveError::Broken)?;
        next.insert((record.topic, record.partition), record.offset + 1);
        if rows.len() == config.cut_rows_max || index + 1 == records.len() {
            let batch = rows.finish();
            let mut prepared = writer.prepare(&batch, &next).await?;
            drop(batch);
            writer.publish(&mut prepared).await?;
        }
    }
    let committed = cpu_s() - before;
    written += writer.state.files.values().map(|file| file.size_bytes).sum::<u64>();
    while let Some(files) = merge::due(&writer.state, &config) {
        written += merge::merge(&mut writer, &files).await?.bytes;
    }
    let merged = cpu_s() - before;
    tracing::info!(
        wall_s = started.elapsed().as_secs_f64(),
        cpu_s = merged,
        "bench of the archive"
    );
    let count = writer.state.rows();
    let live_bytes = writer.state.files.values().map(|file| file.size_bytes).sum::<u64>();
    Ok(Measured {
        rows: count,
        rows_per_s_core_committed: count as f64 / committed,
        rows_per_s_core: count as f64 / merged,
        wire_bytes: records.iter().map(|record| record.value.len() as u64).sum(),
        live_bytes,
        write_amplification: written as f64 / live_bytes.max(1) as f64,
        rss_mib: rss_mib(),
    })
}

/// A driver on a random walk.
struct Walk {
    name: usize,
    place: Point,
    seed: u64,
}

impl Walk {
    fn new(name: usize) -> Self {
        let place = Point { lat: -1.95 + name as f64 * 1e-4, lon: 30.06 - name as f64 * 1e-4 };
        Self { name, place, seed: name as u64 + 1 }
    }

    /// A number between -0.5 and 0.5, the same in every run (SplitMix64).
    fn noise(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    }

    fn step(&mut self, at: Micros, seq: u64) -> wire::Fix {
        self.place.lat += self.noise() * 2e-4;
        self.place.lon += self.noise() * 2e-4;
        let lat = (self.place.lat * 1e7).round() / 1e7;
        let lon = (self.place.lon * 1e7).round() / 1e7;
        let device = format!("dev_{:026}", self.name);
        let id = event_id(&[b"fix", device.as_bytes(), &at.0.to_le_bytes()]);
        let speed_mps = ((self.noise() + 0.5) * 200.0).round() / 10.0;
        let bearing_deg = ((self.noise() + 0.5) * 360.0).round();
        wire::Fix {
            envelope: Some(wire::Envelope {
                actor_role: "driver".to_owned(),
                actor_id: format!("drv_{:026}", self.name),
                ..wire::Envelope::by_system(id, "fix.accepted", at, Micros(at.0 + 40_000))
            }),
            driver_id: format!("drv_{:026}", self.name),
            device_id: device,
            seq: Some(seq),
            measured_at_us: at.0,
            received_at_us: at.0 + 40_000,
            time_source: "device".to_owned(),
            protocol: "json".to_owned(),
            lat,
            lon,
            accuracy_m: Some(5.0),
            altitude_m: None,
            speed_mps: Some(speed_mps),
            bearing_deg: Some(bearing_deg),
            battery_pct: Some(80.0),
            h3_r9: cell::cell_r9(Point { lat, lon }),
        }
    }
}

fn cpu_s() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        let seconds =
            |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        seconds(usage.user_time()) + seconds(usage.system_time())
    })
}

fn rss_mib() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| usage.max_rss() as f64 / 1_024.0)
}
