//! The seam to a payment rail. Every call ends one of three ways: done, not done, unknown.
//!
//! In:    a charge with our own reference, which the rail keeps unique.
//! Out:   what the rail says.
//! Never: called inside a database transaction.

use std::time::Duration;

use async_trait::async_trait;
use inzira_schemas::{Micros, Money};

use crate::accounts::phone::Phone;

/// Money to be asked of somebody.
#[derive(Debug, Clone)]
pub struct Charge {
    /// Ours, and the rail's idempotency key: the payment id.
    pub reference: String,
    /// Whose wallet.
    pub payer: Phone,
    /// How much.
    pub amount: Money,
    /// When we first asked.
    pub asked_at: Micros,
}

/// The rail took the charge; the payer is being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The rail's own reference.
    pub provider_reference: String,
    /// When to look, if the rail is quicker than the usual schedule.
    pub look_after: Option<Duration>,
}

/// Where a charge stands at the rail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It never came there.
    NotFound,
    /// The payer has not answered.
    Waiting,
    /// Money moved.
    Done {
        /// What the rail kept of it.
        fee: Money,
    },
    /// No money moved, and none will.
    Failed {
        /// Ours, short and stable.
        code: String,
    },
}

/// How a rail can fail us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// The rail said no. Nothing moved.
    #[error("refused by the rail: {code}")]
    Refused {
        /// Ours, short and stable.
        code: String,
    },
    /// No answer came. Money may have moved: look it up, never send it again blindly.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// Money to be given back or paid out.
#[derive(Debug, Clone)]
pub struct Payout {
    /// Ours, unique: asking again with it changes nothing.
    pub reference: String,
    /// The charge that is given back, for a refund.
    pub charge_reference: Option<String>,
    /// Whose wallet.
    pub payee: Phone,
    /// How much.
    pub amount: Money,
}

/// A payment rail.
#[async_trait]
pub trait PaymentGateway: Send + Sync + std::fmt::Debug {
    /// As tables and configuration spell it.
    fn name(&self) -> &'static str;

    /// Asks the payer for money. With the same reference it is the same charge.
    async fn request(&self, charge: &Charge) -> Result<Accepted, GatewayError>;

    /// What became of a charge.
    async fn look_up(&self, charge: &Charge) -> Result<Standing, GatewayError>;

    /// Gives money back to a payer.
    async fn refund(&self, refund: &Payout) -> Result<(), GatewayError>;

    /// Pays a driver, a vendor or an agent.
    async fn pay_out(&self, payout: &Payout) -> Result<(), GatewayError>;
}
