//! Decides when a driver with an open order counts as offline, and back.
//!
//! In:    when the driver was last heard, when the oldest open leg opened, the watermark.
//! Out:   the moment at which silence became OFFLINE.
//! Never: takes our own lag for silence: it is judged by the watermark.

use inzira_schemas::Micros;

/// Silence that counts as offline while an order is open, seconds.
pub const SILENT_S: i64 = 120;

/// When the driver will count as offline if nothing more is heard.
pub fn due(heard_at: Micros, opened_at: Micros) -> Micros {
    heard_at.max(opened_at).plus_secs(SILENT_S)
}

/// Whether that moment has come.
pub fn is_due(heard_at: Micros, opened_at: Micros, watermark: Micros) -> bool {
    watermark >= due(heard_at, opened_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_last_word_or_from_the_order() {
        let s = Micros::from_secs;
        assert!(!is_due(s(100), s(0), s(219)));
        assert!(is_due(s(100), s(0), s(220)));
        assert!(!is_due(s(100), s(150), s(220)), "the order came later");
    }
}
