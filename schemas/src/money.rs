//! Money: integer minor units with a currency, checked arithmetic, never a float.
//!
//! In:    amounts from tariffs, providers and people.
//! Out:   sums within one currency, shares that add up to the whole.
//! Never: adds two currencies, rounds in silence, overflows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A currency we settle in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    /// Rwandan franc, no decimals.
    Rwf,
    /// Zambian kwacha, two decimals.
    Zmw,
    /// United States dollar, two decimals.
    Usd,
}

impl Currency {
    /// ISO 4217 code.
    pub const fn code(self) -> &'static str {
        match self {
            Currency::Rwf => "RWF",
            Currency::Zmw => "ZMW",
            Currency::Usd => "USD",
        }
    }

    /// Digits after the point: how many minor units make one major unit, as a power of ten.
    pub const fn decimals(self) -> u32 {
        match self {
            Currency::Rwf => 0,
            Currency::Zmw | Currency::Usd => 2,
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        match text {
            "RWF" => Ok(Currency::Rwf),
            "ZMW" => Ok(Currency::Zmw),
            "USD" => Ok(Currency::Usd),
            _ => Err(MoneyError::UnknownCurrency(text.chars().take(8).collect())),
        }
    }
}

/// How arithmetic on money can go wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Two currencies met. Convert first, with a rate that is written down.
    #[error("cannot combine {0} with {1}")]
    CurrencyMismatch(Currency, Currency),
    /// The sum does not fit 64 bits. Nothing was changed.
    #[error("amount out of range")]
    OutOfRange,
    /// We do not settle in it.
    #[error("unknown currency {0:?}")]
    UnknownCurrency(String),
}

/// An amount in minor units of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Minor units: francs for RWF, ngwee for ZMW, cents for USD.
    pub minor: i64,
    /// Its currency.
    pub currency: Currency,
}

impl Money {
    /// An amount in minor units.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// `self + other` in one currency.
    pub fn checked_add(self, other: Money) -> Result<Money, MoneyError> {
        self.same_currency(other)?;
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::OutOfRange)?;
        Ok(Money { minor, ..self })
    }

    /// `self - other` in one currency.
    pub fn checked_sub(self, other: Money) -> Result<Money, MoneyError> {
        self.same_currency(other)?;
        let minor = self.minor.checked_sub(other.minor).ok_or(MoneyError::OutOfRange)?;
        Ok(Money { minor, ..self })
    }

    /// `basis_points` / 10,000 of the amount, rounded half up; the rest is `self - share`.
    pub fn share(self, basis_points: u32) -> Result<Money, MoneyError> {
        let scaled = i128::from(self.minor) * i128::from(basis_points);
        let minor = i64::try_from((scaled + 5_000).div_euclid(10_000))
            .map_err(|_| MoneyError::OutOfRange)?;
        Ok(Money { minor, ..self })
    }

    fn same_currency(self, other: Money) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch(self.currency, other.currency))
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = self.currency.decimals();
        let unit = 10_u64.pow(decimals);
        let (sign, absolute) = (if self.minor < 0 { "-" } else { "" }, self.minor.unsigned_abs());
        if decimals == 0 {
            write!(f, "{sign}{absolute} {}", self.currency)
        } else {
            let width = decimals as usize;
            write!(f, "{sign}{}.{:0width$} {}", absolute / unit, absolute % unit, self.currency)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn francs_have_no_decimals_and_kwacha_two() {
        assert_eq!(Money::new(1_500, Currency::Rwf).to_string(), "1500 RWF");
        assert_eq!(Money::new(-1_505, Currency::Zmw).to_string(), "-15.05 ZMW");
    }

    #[test]
    fn two_currencies_never_add() {
        let francs = Money::new(1, Currency::Rwf);
        assert!(francs.checked_add(Money::new(1, Currency::Usd)).is_err());
        assert_eq!(
            Money::new(i64::MAX, Currency::Rwf).checked_add(francs),
            Err(MoneyError::OutOfRange)
        );
    }

    proptest! {
        #[test]
        fn a_share_and_its_rest_make_the_whole(minor in 0_i64..1_000_000_000_000, bp in 0_u32..=10_000) {
            let whole = Money::new(minor, Currency::Rwf);
            let share = whole.share(bp).unwrap();
            let rest = whole.checked_sub(share).unwrap();
            prop_assert_eq!(share.checked_add(rest).unwrap(), whole);
            prop_assert!(share.minor >= 0 && share.minor <= minor);
        }
    }
}
