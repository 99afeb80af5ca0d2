//! Typed ids: a prefix that says what it names, then 128 bits in Crockford base 32.
//!
//! In:    text from outside, or fresh random bits.
//! Out:   `ord_01J…`, `drv_01J…`; sortable by the moment of making.
//! Never: carries anything of a person: the mapping lives in the database and can be dropped.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}…: {text:?}")]
pub struct IdError {
    /// The prefix that was expected, with its underscore.
    pub prefix: &'static str,
    /// What was given instead, cut at 64 characters.
    pub text: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The prefix with its underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id.
            pub fn new() -> Self {
                Self(format!("{}{}", $prefix, ulid::Ulid::new()))
            }

            /// The id as text, prefix included.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Reads an id; 4 to 64 letters, digits, `-` or `_` after the prefix.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError { prefix: $prefix, text: text.chars().take(64).collect() };
                let rest = text.strip_prefix($prefix).ok_or_else(wrong)?;
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                if (4..=64).contains(&rest.len()) && rest.chars().all(plain) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(wrong())
                }
            }
        }

        impl Default for $name {
            fn default() -> Self { Self::new() }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> { Self::parse(&text) }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String { id.0 }
        }
        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> { Self::parse(text) }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { &self.0 }
        }
    )*};
}

ids! {
    /// A person who can log in, whatever the role.
    UserId = "usr_";
    /// A driver, as the log and the tables know one.
    DriverId = "drv_";
    /// A customer, as the log and the tables know one.
    CustomerId = "cus_";
    /// A field agent.
    AgentId = "agt_";
    /// A vendor.
    VendorId = "ven_";
    /// A phone or tracker that sends fixes for one driver.
    DeviceId = "dev_";
    /// An order of any kind.
    OrderId = "ord_";
    /// A price that was quoted.
    QuoteId = "quo_";
    /// One attempt to collect money for an order.
    PaymentId = "pay_";
    /// An offer of an order to one driver.
    OfferId = "off_";
    /// A closed drive.
    TripId = "trp_";
    /// An operator's area.
    AreaId = "are_";
    /// A log-in session.
    SessionId = "ses_";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let order = OrderId::new();
        assert_eq!(OrderId::parse(order.as_str()), Ok(order.clone()));
        assert!(DriverId::parse(order.as_str()).is_err());
        assert!(OrderId::parse("ord_../../x").is_err());
        assert!(OrderId::parse("ord_").is_err());
    }
}
