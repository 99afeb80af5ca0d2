//! The bytes of a batch: how records lie in a row of the embedded log.
//!
//! In:    records of one partition, in order.
//! Out:   the same records; key, value and headers are slices of the batch, nothing is copied.
//!        A batch of 1 KiB and more is compressed: fixes shrink to a third, and so do the writes
//!        that every answer waits for.
//! Never: changes: bytes once written decode for ever (the golden test holds them).
//!
//! ```text
//! batch    version u8 = 1, then the records, one behind the other; or
//!          version u8 = 2, length of the records u32, the records as one LZ4 block
//! record   key length u32, value length u32, header count u8, key, value, headers
//! header   name code u8 (0: name length u8, name), value length u32, value
//! codes    1 event-id, 2 event-type, 3 schema, 4 traceparent
//! crc      CRC32C of sequence i64, topic u8, partition u32, base offset u64, count u32,
//!          appended at i64 (microseconds UTC), and the batch; all integers little-endian
//! ```

use bytes::Bytes;
use inzira_schemas::Topic;

use crate::{Header, NewRecord, Record};

const PLAIN: u8 = 1;
const LZ4: u8 = 2;
/// Smaller batches are not worth compressing.
const COMPRESS_FROM_BYTES: usize = 1024;
/// What a compressed batch may say of its length: more than a call may bring is damage.
const RECORDS_BYTES_MAX: usize = 2 * crate::record::CALL_BYTES_MAX;

/// Names that nearly every record carries, by code - 1.
const KNOWN_NAMES: [&str; 4] = ["event-id", "event-type", "schema", "traceparent"];

/// One row of the log.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its place among all batches of all topics, dense but for rolled back ones.
    pub seq: i64,
    /// Topic.
    pub topic: Topic,
    /// Partition.
    pub partition: u32,
    /// The offset of its first record.
    pub base_offset: u64,
    /// How many records.
    pub count: u32,
    /// When it was written, microseconds UTC.
    pub appended_at_us: i64,
    /// The checksum as stored.
    pub crc32c: u32,
    /// The records.
    pub bytes: Bytes,
}

/// A stable number for a topic, as stored. Never reuse one.
pub const fn topic_id(topic: Topic) -> u8 {
    match topic {
        Topic::GpsFixes => 1,
        Topic::GpsBacklog => 2,
        Topic::Orders => 3,
        Topic::Payments => 4,
        Topic::Positions => 5,
        Topic::TrackingEvents => 6,
        Topic::Trips => 7,
        Topic::FraudDecisions => 8,
        Topic::DeadLetter => 9,
        Topic::FlowProgress => 10,
    }
}

/// The records of a batch while they are gathered.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    count: u32,
}

impl Encoder {
    /// An empty batch.
    pub fn new() -> Self {
        Self { bytes: vec![PLAIN], count: 0 }
    }

    /// How many records it has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Its size so far in bytes.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record that `size_checked` has passed.
    pub fn push(&mut self, record: &NewRecord) {
        let out = &mut self.bytes;
        put_len(out, record.key.len());
        put_len(out, record.value.len());
        out.push(u8::try_from(record.headers.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&record.key);
        out.extend_from_slice(&record.value);
        for header in &record.headers {
            match KNOWN_NAMES.iter().position(|name| *name == header.name) {
                Some(index) => out.push(u8::try_from(index + 1).unwrap_or(0)),
                None => {
                    out.push(0);
                    out.push(u8::try_from(header.name.len()).unwrap_or(u8::MAX));
                    out.extend_from_slice(header.name.as_bytes());
                }
            }
            put_len(out, header.value.len());
            out.extend_from_slice(&header.value);
        }
        self.count += 1;
    }

    /// The finished bytes.
    pub fn finish(self) -> Vec<u8> {
        if self.bytes.len() < COMPRESS_FROM_BYTES {
            return self.bytes;
        }
        let records = &self.bytes[1..];
        let mut out = vec![0; 5 + lz4_flex::block::get_maximum_output_size(records.len())];
        out[0] = LZ4;
        let len = u32::try_from(records.len()).unwrap_or(u32::MAX);
        out[1..5].copy_from_slice(&len.to_le_bytes());
        match lz4_flex::block::compress_into(records, &mut out[5..]) {
            Ok(block_len) if 5 + block_len < self.bytes.len() => {
                out.truncate(5 + block_len);
                out
            }
            // It does not shrink.
            _ => self.bytes,
        }
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

impl Batch {
    /// One past its last offset.
    pub fn end_offset(&self) -> u64 {
        self.base_offset.saturating_add(u64::from(self.count))
    }

    /// The checksum that it should have.
    pub fn checksum(&self) -> u32 {
        let mut head = [0u8; 33];
        head[0..8].copy_from_slice(&self.seq.to_le_bytes());
        head[8] = topic_id(self.topic);
        head[9..13].copy_from_slice(&self.partition.to_le_bytes());
        head[13..21].copy_from_slice(&self.base_offset.to_le_bytes());
        head[21..25].copy_from_slice(&self.count.to_le_bytes());
        head[25..33].copy_from_slice(&self.appended_at_us.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&head), &self.bytes)
    }

    /// What is wrong with it, if anything.
    pub fn verify(&self) -> Result<(), String> {
        let found = self.checksum();
        if found == self.crc32c {
            return Ok(());
        }
        Err(format!("checksum is {found:08x}, stored {:08x}", self.crc32c))
    }

    /// Appends its records from offset `from` on to `out`; answers how many bytes that was.
    pub fn decode(&self, from: u64, out: &mut Vec<Record>) -> Result<usize, String> {
        let (records, begin) = self.records()?;
        let mut cursor = Cursor { bytes: &records, at: begin };
        let mut skipped_bytes = 0;
        for index in 0..self.count {
            let started = cursor.at;
            let offset = self.base_offset + u64::from(index);
            if offset < from {
                cursor.skip_record()?;
                skipped_bytes += cursor.at - started;
            } else {
                out.push(cursor.record(self, offset)?);
            }
        }
        if cursor.at != records.len() {
            return Err("bytes are left over behind the last record".to_owned());
        }
        Ok(cursor.at - begin - skipped_bytes)
    }

    /// The records as they were before compression, and where they begin.
    fn records(&self) -> Result<(Bytes, usize), String> {
        match self.bytes.first() {
            Some(&PLAIN) => Ok((self.bytes.clone(), 1)),
            Some(&LZ4) => {
                let len = Cursor { bytes: &self.bytes, at: 1 }.len()?;
                if len > RECORDS_BYTES_MAX {
                    return Err(format!("a compressed batch that says it has {len} bytes"));
                }
                let block = self.bytes.get(5..).ok_or_else(cut_short)?;
                let records =
                    lz4_flex::block::decompress(block, len).map_err(|error| error.to_string())?;
                Ok((records.into(), 0))
            }
            Some(_) => Err("a batch version that this program does not know".to_owned()),
            None => Err(cut_short()),
        }
    }
}

struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).copied().ok_or_else(cut_short)?;
        self.at += 1;
        Ok(byte)
    }

    fn len(&mut self) -> Result<usize, String> {
        let four = self.bytes.get(self.at..self.at + 4).ok_or_else(cut_short)?;
        self.at += 4;
        Ok(u32::from_le_bytes([four[0], four[1], four[2], four[3]]) as usize)
    }

    fn slice(&mut self, len: usize) -> Result<Bytes, String> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(cut_short)?;
        let slice = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(slice)
    }

    fn record(&mut self, batch: &Batch, offset: u64) -> Result<Record, String> {
        let key_len = self.len()?;
        let value_len = self.len()?;
        let header_count = self.byte()?;
        let key = self.slice(key_len)?;
        let value = self.slice(value_len)?;
        let mut headers = Vec::with_capacity(usize::from(header_count));
        for _ in 0..header_count {
            headers.push(self.header()?);
        }
        Ok(Record {
            topic: batch.topic,
            partition: batch.partition,
            offset,
            appended_at_us: batch.appended_at_us,
            key,
            value,
            headers,
        })
    }

    fn header(&mut self) -> Result<Header, String> {
        let name = match self.byte()? {
            0 => {
                let name_len = usize::from(self.byte()?);
                let name = self.slice(name_len)?;
                String::from_utf8(name.to_vec()).map_err(|_| "a header name is no text")?
            }
            code => (*KNOWN_NAMES
                .get(usize::from(code) - 1)
                .ok_or("a header name code that this program does not know")?)
            .to_owned(),
        };
        let value_len = self.len()?;
        Ok(Header { name, value: self.slice(value_len)? })
    }

    fn skip_record(&mut self) -> Result<(), String> {
        let payload = self.len()?.saturating_add(self.len()?);
        let header_count = self.byte()?;
        self.skip(payload)?;
        for _ in 0..header_count {
            if self.byte()? == 0 {
                let name_len = usize::from(self.byte()?);
                self.skip(name_len)?;
            }
            let value_len = self.len()?;
            self.skip(value_len)?;
        }
        Ok(())
    }

    fn skip(&mut self, len: usize) -> Result<(), String> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        self.at = end.ok_or_else(cut_short)?;
        Ok(())
    }
}

fn cut_short() -> String {
    "the batch is cut short".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<NewRecord> {
        let header = |name: &str, value: &'static [u8]| Header {
            name: name.to_owned(),
            value: Bytes::from_static(value),
        };
        vec![
            NewRecord {
                topic: Topic::Orders,
                key: Bytes::from_static(b"ord_1"),
                value: Bytes::from_static(b"hello"),
                headers: vec![header("event-id", b"e1"), header("x", b"")],
            },
            NewRecord {
                topic: Topic::Orders,
                key: Bytes::new(),
                value: Bytes::new(),
                headers: vec![],
            },
        ]
    }

    fn batch(records: &[NewRecord]) -> Batch {
        let mut encoder = Encoder::new();
        records.iter().for_each(|record| encoder.push(record));
        let count = encoder.count();
        let mut batch = Batch {
            seq: 9,
            topic: Topic::Orders,
            partition: 3,
            base_offset: 100,
            count,
            appended_at_us: 1_700_000_000_000_000,
            crc32c: 0,
            bytes: encoder.finish().into(),
        };
        batch.crc32c = batch.checksum();
        batch
    }

    #[test]
    fn the_bytes_of_version_one_are_golden() {
        let batch = batch(&sample());
        let hex: String = batch.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "01050000000500000002\
             6f72645f3168656c6c6f\
             01020000006531\
             00017800000000\
             000000000000000000"
        );
        assert_eq!(batch.crc32c, 0xba2e_07f5);
    }

    #[test]
    fn records_come_back_as_they_went_and_from_any_offset() {
        let batch = batch(&sample());
        let mut out = Vec::new();
        batch.decode(100, &mut out).unwrap();
        assert_eq!(out.len(), 2);
        assert_eq!((out[0].offset, out[1].offset), (100, 101));
        assert_eq!(out[0].headers, sample()[0].headers);
        assert_eq!(out[0].value, "hello");
        out.clear();
        assert_eq!(batch.decode(101, &mut out).unwrap(), 9);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].offset, 101);
    }

    /// Records that compress, and some that do not.
    fn many() -> Vec<NewRecord> {
        let value = |n: u32| match n % 7 {
            0 => {
                (0..500_u32).flat_map(|i| (i * n).wrapping_mul(0x9e37_79b1).to_le_bytes()).collect()
            }
            _ => format!("drv_01J9ZK3V7Q5W8X2Y4N6M0B1C2D fix number {n}").into_bytes(),
        };
        (0..200)
            .map(|n| NewRecord { value: Bytes::from(value(n)), ..sample()[0].clone() })
            .collect()
    }

    #[test]
    fn a_long_batch_is_compressed_and_comes_back_from_any_offset() {
        let (records, batch) = (many(), batch(&many()));
        let raw_bytes: usize = records.iter().map(NewRecord::size_bytes).sum();
        assert_eq!(batch.bytes[0], LZ4);
        assert!(batch.bytes.len() < raw_bytes, "{} of {raw_bytes}", batch.bytes.len());
        for from in [100, 101, 299] {
            let mut out = Vec::new();
            batch.decode(from, &mut out).unwrap();
            assert_eq!(out.len() as u64, 300 - from);
            for record in out {
                assert_eq!(record.value, records[(record.offset - 100) as usize].value);
            }
        }
        let noise: Vec<u8> =
            (0..4_000_u32).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect();
        let noise = NewRecord { value: Bytes::from(noise), ..sample()[0].clone() };
        let kept = self::batch(std::slice::from_ref(&noise));
        let mut out = Vec::new();
        kept.decode(100, &mut out).unwrap();
        assert_eq!(out[0].value, noise.value);
    }

    #[test]
    fn a_damaged_compressed_batch_is_refused_without_a_panic() {
        let sound = batch(&many());
        for len in (0..sound.bytes.len()).step_by(97) {
            let cut = Batch { bytes: sound.bytes.slice(..len), ..sound.clone() };
            assert!(cut.decode(100, &mut Vec::new()).is_err(), "{len}");
        }
        let mut bytes = sound.bytes.to_vec();
        bytes[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        let lying = Batch { bytes: bytes.into(), ..sound.clone() };
        assert!(lying.decode(100, &mut Vec::new()).unwrap_err().contains("says it has"));
    }

    #[test]
    fn one_flipped_bit_anywhere_is_found() {
        let sound = batch(&sample());
        for at in 0..sound.bytes.len() {
            let mut bytes = sound.bytes.to_vec();
            bytes[at] ^= 1;
            assert!(Batch { bytes: bytes.into(), ..sound.clone() }.verify().is_err());
        }
        assert!(Batch { base_offset: 101, ..sound.clone() }.verify().is_err());
        assert!(Batch { seq: 10, ..sound.clone() }.verify().is_err());
        assert!(sound.verify().is_ok());
    }

    #[test]
    fn bytes_cut_anywhere_are_refused_without_a_panic() {
        let sound = batch(&sample());
        for len in 0..sound.bytes.len() {
            let cut = Batch { bytes: sound.bytes.slice(..len), ..sound.clone() };
            assert!(cut.decode(100, &mut Vec::new()).is_err(), "{len}");
        }
    }
}
