//! Phone numbers as Rwanda writes them.
//!
//! In:    `+250 788 123 456`, `250788123456`, `0788-123-456`.
//! Out:   `+250788123456`.
//! Never: shows a whole number where a log could keep it.

use crate::error::ApiError;

/// A number in its one spelling: `+250` and nine digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Phone(String);

impl std::fmt::Debug for Phone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Phone(…)")
    }
}

impl Phone {
    /// Reads a number; 422 with what is expected otherwise.
    pub fn parse(text: &str) -> Result<Phone, ApiError> {
        Self::read(text).ok_or_else(|| {
            ApiError::invalid("phone", "a phone number is +250 and nine digits: +250788123456")
        })
    }

    fn read(text: &str) -> Option<Phone> {
        if text.len() > 32 {
            return None;
        }
        let (plus, rest) = match text.trim().strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, text.trim()),
        };
        let mut digits = String::with_capacity(12);
        for c in rest.chars() {
            match c {
                '0'..='9' => digits.push(c),
                ' ' | '-' | '(' | ')' | '.' => {}
                _ => return None,
            }
        }
        let nine = match (plus, digits.len()) {
            (_, 12) => digits.strip_prefix("250")?,
            (false, 10) => digits.strip_prefix('0')?,
            _ => return None,
        };
        Some(Phone(format!("+250{nine}")))
    }

    /// `+250…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_is_one_number() {
        for text in ["+250788123456", "250788123456", "0788123456", "+250 788-123 456"] {
            assert_eq!(Phone::read(text).unwrap().as_str(), "+250788123456", "{text}");
        }
    }

    #[test]
    fn what_is_not_a_rwandan_number_is_refused() {
        for text in ["", "+25078812345", "+2507881234567", "+254788123456", "078812345a", "7881234"]
        {
            assert!(Phone::read(text).is_none(), "{text}");
        }
    }
}
