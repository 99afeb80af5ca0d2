//! The recent events of all orders, in memory.
//!
//! In:    events of `tracking.events` in log order, and how far each partition has been read.
//! Out:   the events of one order from a place on, or the fact that the window begins later.
//! Keeps: at most so many bytes; the oldest go first, whatever order they belong to.
//! Never: answers for a stretch that it does not hold whole: a gap is always said.
//!
//! A place is the next offset to look at. Of each partition the window holds every event from
//! `floor` up to `frontier`; what lies below is in the log alone, what lies above is not read yet.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// An event as it goes out: the text is shared by all who watch the order.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<F> {
    /// Its offset in the order's partition.
    pub offset: u64,
    /// What goes out.
    pub frame: Arc<F>,
}

/// What the window says.
#[derive(Debug, Clone, PartialEq)]
pub enum After<F> {
    /// These events, and the place up to which there are no others.
    Events(Vec<Entry<F>>, u64),
    /// The window begins later than the place asked for: read the log up to this place.
    Behind(u64),
}

/// The window.
#[derive(Debug)]
pub struct Window<F> {
    partitions: Vec<Stretch>,
    orders: HashMap<Arc<str>, VecDeque<Entry<F>>>,
    oldest_first: VecDeque<Held>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    floor: u64,
    frontier: u64,
}

#[derive(Debug)]
struct Held {
    order_id: Arc<str>,
    partition: u32,
    offset: u64,
    bytes: usize,
}

/// What an event costs beside its text.
const OVERHEAD_BYTES: usize = 160;

impl<F> Window<F> {
    /// An empty window over so many partitions.
    pub fn new(partitions: u32, bytes_max: usize) -> Self {
        Self {
            partitions: vec![Stretch::default(); partitions as usize],
            orders: HashMap::new(),
            oldest_first: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Begins a partition at `place`: what lies below is left to the log.
    pub fn begin(&mut self, partition: u32, place: u64) {
        if let Some(stretch) = self.partitions.get_mut(partition as usize) {
            *stretch = Stretch { floor: place, frontier: place };
        }
    }

    /// Up to where a partition has been read.
    pub fn frontier(&self, partition: u32) -> u64 {
        self.partitions.get(partition as usize).map_or(0, |stretch| stretch.frontier)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes an event of an order. Events of a partition come in offset order; one below the
    /// frontier is known already and is left out.
    pub fn push(
        &mut self,
        partition: u32,
        offset: u64,
        order_id: &str,
        frame: F,
        text_bytes: usize,
    ) {
        if offset < self.frontier(partition) {
            return;
        }
        self.advance(partition, offset + 1);
        let order_id = match self.orders.get_key_value(order_id) {
            Some((order_id, _)) => Arc::clone(order_id),
            None => Arc::from(order_id),
        };
        let entry = Entry { offset, frame: Arc::new(frame) };
        self.orders.entry(Arc::clone(&order_id)).or_default().push_back(entry);
        let bytes = text_bytes + OVERHEAD_BYTES;
        self.bytes += bytes;
        self.oldest_first.push_back(Held { order_id, partition, offset, bytes });
        while self.bytes > self.bytes_max {
            self.drop_oldest();
        }
    }

    /// Notes that a partition has been read up to `place`.
    pub fn advance(&mut self, partition: u32, place: u64) {
        if let Some(stretch) = self.partitions.get_mut(partition as usize) {
            stretch.frontier = stretch.frontier.max(place);
        }
    }

    /// At most `max` events of an order from `place` on.
    pub fn after(&self, partition: u32, order_id: &str, place: u64, max: usize) -> After<F> {
        let Some(stretch) = self.partitions.get(partition as usize) else {
            return After::Events(Vec::new(), place);
        };
        if place < stretch.floor {
            return After::Behind(stretch.floor);
        }
        let Some(held) = self.orders.get(order_id) else {
            return After::Events(Vec::new(), place.max(stretch.frontier));
        };
        let from = held.partition_point(|entry| entry.offset < place);
        let events: Vec<Entry<F>> = held
            .range(from..)
            .take(max)
            .map(|entry| Entry { offset: entry.offset, frame: Arc::clone(&entry.frame) })
            .collect();
        let whole = from + events.len() == held.len();
        let next = match events.last() {
            Some(last) if !whole => last.offset + 1,
            _ => place.max(stretch.frontier),
        };
        After::Events(events, next)
    }

    fn drop_oldest(&mut self) {
        let Some(held) = self.oldest_first.pop_front() else { return };
        self.bytes -= held.bytes;
        if let Some(stretch) = self.partitions.get_mut(held.partition as usize) {
            stretch.floor = stretch.floor.max(held.offset + 1);
        }
        if let Some(events) = self.orders.get_mut(&held.order_id) {
            events.pop_front();
            if events.is_empty() {
                self.orders.remove(&held.order_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(after: After<u64>) -> (Vec<u64>, u64) {
        match after {
            After::Events(events, next) => {
                (events.into_iter().map(|entry| entry.offset).collect(), next)
            }
            After::Behind(floor) => panic!("behind {floor}"),
        }
    }

    fn window(bytes_max: usize) -> Window<u64> {
        let mut window = Window::new(2, bytes_max);
        window.begin(0, 10);
        for (offset, order) in [(10, "a"), (11, "b"), (13, "a"), (14, "a")] {
            window.push(0, offset, order, offset, 40);
        }
        window.advance(0, 20);
        window
    }

    #[test]
    fn an_order_gets_its_own_events_from_its_place_on() {
        let window = window(10_000);
        assert_eq!(offsets(window.after(0, "a", 10, 9)), (vec![10, 13, 14], 20));
        assert_eq!(offsets(window.after(0, "a", 11, 1)), (vec![13], 14));
        assert_eq!(offsets(window.after(0, "a", 15, 9)), (vec![], 20));
        assert_eq!(offsets(window.after(0, "c", 12, 9)), (vec![], 20));
        assert_eq!(offsets(window.after(0, "a", 30, 9)), (vec![], 30));
        assert_eq!(window.after(0, "a", 9, 9), After::Behind(10));
    }

    #[test]
    fn what_was_dropped_is_never_passed_over_in_silence() {
        let window = window(2 * (40 + OVERHEAD_BYTES));
        assert_eq!(window.after(0, "a", 10, 9), After::Behind(12));
        assert_eq!(window.after(0, "b", 11, 9), After::Behind(12));
        assert_eq!(offsets(window.after(0, "a", 12, 9)), (vec![13, 14], 20));
        assert!(window.bytes() <= 2 * (40 + OVERHEAD_BYTES));
    }

    #[test]
    fn an_event_that_is_read_again_is_left_out() {
        let mut window = window(10_000);
        window.push(0, 13, "a", 13, 40);
        assert_eq!(offsets(window.after(0, "a", 10, 9)).0, [10, 13, 14]);
    }
}
