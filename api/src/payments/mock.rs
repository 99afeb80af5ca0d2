//! The `MOCK` rail: confirms after a moment, so that everything around it can be seen working.
//!
//! In:    charges.
//! Out:   done once `delay` has passed since we first asked; failed for payers ending in 99.
//! Keeps: nothing: the answer follows from the charge and the clock, also after a restart.
//! Never: moves money.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use inzira_schemas::{Clock, Money};

use crate::payments::gateway::{Accepted, Charge, GatewayError, PaymentGateway, Payout, Standing};

/// Payers whose number ends so say no.
pub const REFUSING_SUFFIX: &str = "99";

/// The rail that is always there.
#[derive(Debug)]
pub struct MockRail {
    delay_ms: i64,
    clock: Arc<dyn Clock>,
}

impl MockRail {
    /// Confirms `delay_ms` after the first asking.
    pub fn new(delay_ms: i64, clock: Arc<dyn Clock>) -> Self {
        Self { delay_ms: delay_ms.max(0), clock }
    }
}

#[async_trait]
impl PaymentGateway for MockRail {
    fn name(&self) -> &'static str {
        "MOCK"
    }

    async fn request(&self, charge: &Charge) -> Result<Accepted, GatewayError> {
        Ok(Accepted {
            provider_reference: format!("mock-{}", charge.reference),
            look_after: Some(Duration::from_millis(self.delay_ms.unsigned_abs())),
        })
    }

    async fn look_up(&self, charge: &Charge) -> Result<Standing, GatewayError> {
        let waited_us = self.clock.now().0.saturating_sub(charge.asked_at.0);
        if waited_us < self.delay_ms.saturating_mul(1_000) {
            return Ok(Standing::Waiting);
        }
        if charge.payer.as_str().ends_with(REFUSING_SUFFIX) {
            return Ok(Standing::Failed { code: "payer_refused".to_owned() });
        }
        Ok(Standing::Done { fee: Money::new(0, charge.amount.currency) })
    }

    async fn refund(&self, _: &Payout) -> Result<(), GatewayError> {
        Ok(())
    }

    async fn pay_out(&self, _: &Payout) -> Result<(), GatewayError> {
        Ok(())
    }
}
