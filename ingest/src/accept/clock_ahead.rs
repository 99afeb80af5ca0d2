//! How far ahead a device's clock runs.
//!
//! In:    for each request, how far its newest fix lies ahead of its arrival.
//! Out:   the offset to take off, so that a burst of fixes keeps its spacing instead of falling
//!        onto one moment.
//! Keeps: the last eight excesses, in place.
//! Never: believes a single wild time: an offset counts once a second request has shown it.

/// A burst may reach this far back from the offset that is known.
const BURST_US: i64 = 10 * 60 * 1_000_000;

/// What has been learned of one device's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockAhead {
    recent_us: [i64; 8],
    next: usize,
}

impl ClockAhead {
    /// The offset for a request whose fixes lie `excesses_us` ahead. 0 when none does.
    pub fn offset_us(&self, excesses_us: &[i64]) -> i64 {
        let own_us = of_request(excesses_us);
        let (_, known_us, _) = two_largest(&self.recent_us);
        let in_burst = known_us > own_us && known_us - own_us <= BURST_US;
        if own_us > 0 && in_burst { known_us } else { own_us }
    }

    /// Takes note of a request.
    pub fn learn(&mut self, excesses_us: &[i64]) {
        let own_us = of_request(excesses_us);
        if own_us > 0 {
            self.recent_us[self.next] = own_us;
            self.next = (self.next + 1) % self.recent_us.len();
        }
    }
}

/// The second largest of three or more that lie ahead, else the largest.
fn of_request(excesses_us: &[i64]) -> i64 {
    let (first, second, ahead) = two_largest(excesses_us);
    if ahead >= 3 { second } else { first }
}

/// The largest, the second largest, and how many lie ahead at all.
fn two_largest(excesses_us: &[i64]) -> (i64, i64, usize) {
    let (mut first, mut second, mut ahead) = (0, 0, 0_usize);
    for &excess_us in excesses_us.iter().filter(|excess_us| **excess_us > 0) {
        ahead += 1;
        if excess_us >= first {
            (first, second) = (excess_us, first);
        } else if excess_us > second {
            second = excess_us;
        }
    }
    (first, second, ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    #[test]
    fn a_burst_from_a_fast_clock_keeps_its_spacing_once_the_offset_is_known() {
        let mut clock = ClockAhead::default();
        assert_eq!(clock.offset_us(&[60 * MINUTE]), 60 * MINUTE);
        for _ in 0..3 {
            clock.learn(&[60 * MINUTE]);
        }
        assert_eq!(clock.offset_us(&[55 * MINUTE]), 60 * MINUTE);
        // A clock that was set nearly right is not punished for its past.
        assert_eq!(clock.offset_us(&[MINUTE / 6]), MINUTE / 6);
        assert_eq!(clock.offset_us(&[]), 0);
    }

    #[test]
    fn one_wild_time_does_not_move_its_neighbours() {
        let mut clock = ClockAhead::default();
        assert_eq!(clock.offset_us(&[MINUTE, 20 * 60 * MINUTE, MINUTE + 5]), MINUTE + 5);
        for excess in [MINUTE, 8 * MINUTE, MINUTE] {
            clock.learn(&[excess]);
        }
        assert_eq!(clock.offset_us(&[MINUTE]), MINUTE);
    }
}
