//! Which state may follow which.
//!
//! ```text
//! pending_payment ─┬─> confirmed ─┬─> assigned ──> picked_up ──> delivered
//!                  │              └─> confirmed_no_driver ──> assigned | confirmed
//!                  └─> payment_failed ──> pending_payment (another attempt)
//! cancelled: from every state before picked_up that is not final
//! assigned ──> assigned (another driver) | confirmed (the driver fell away)
//! ```
//!
//! In:    the state an order is in, and the one wished for.
//! Out:   whether that is a step.
//! Never: skips one.

use inzira_schemas::states::OrderState::{
    self, Assigned, Cancelled, Confirmed, ConfirmedNoDriver, Delivered, PaymentFailed,
    PendingPayment, PickedUp,
};

/// True when an order in `from` may go to `to`.
pub const fn may_follow(from: OrderState, to: OrderState) -> bool {
    matches!(
        (from, to),
        (PendingPayment, Confirmed | PaymentFailed | Cancelled)
            | (PaymentFailed, PendingPayment)
            | (Confirmed, Assigned | ConfirmedNoDriver | Cancelled)
            | (ConfirmedNoDriver, Assigned | Confirmed | Cancelled)
            | (Assigned, Assigned | Confirmed | PickedUp | Cancelled)
            | (PickedUp, Delivered)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair, by hand: rows are the state before, columns the state after, in `ALL`'s order.
    const TABLE: [(&str, &str); 8] = [
        ("pending_payment", "-y-y---y"),
        ("confirmed", "--y-y--y"),
        ("confirmed_no_driver", "-y--y--y"),
        ("payment_failed", "y-------"),
        ("assigned", "-y--yy-y"),
        ("picked_up", "------y-"),
        ("delivered", "--------"),
        ("cancelled", "--------"),
    ];

    #[test]
    fn every_pair_is_as_the_table_says() {
        for (row, (name, steps)) in OrderState::ALL.iter().zip(TABLE) {
            assert_eq!(row.as_str(), name);
            for (column, step) in OrderState::ALL.iter().zip(steps.chars()) {
                assert_eq!(may_follow(*row, *column), step == 'y', "{row} -> {column}");
            }
        }
    }
}
