//! What is to be said to people, by SMS first.
//!
//! In:    a template and its words, in the transaction whose outcome it tells.
//! Out:   a row of `messages`, sealed, waiting for a sender. No sender is connected yet: the rows
//!        are the queue that one will take from.
//! Never: says anything that did not commit.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use inzira_schemas::Micros;
use sqlx::Row;

use crate::accounts::phone::Phone;
use crate::app::App;
use crate::db::Tx;
use crate::error::ApiError;
use crate::orders::store::Order;
use crate::secrets::random_token;

type Texts = BTreeMap<String, String>;

/// The languages, in the pages' own format: one flat file each, `{name}` for what is filled in.
const LANGUAGES: [(&str, &str); 3] = [
    ("en", include_str!("../messages/en.json")),
    ("rw", include_str!("../messages/rw.json")),
    ("fr", include_str!("../messages/fr.json")),
];

/// True for a language that we speak.
pub fn speaks(language: &str) -> bool {
    LANGUAGES.iter().any(|(name, _)| *name == language)
}

fn texts(language: &str) -> Option<&'static Texts> {
    static ALL: OnceLock<BTreeMap<&'static str, Texts>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        LANGUAGES
            .iter()
            .map(|(name, json)| (*name, serde_json::from_str(json).unwrap_or_default()))
            .collect()
    });
    all.get(language).or_else(|| all.get("en"))
}

/// The text of a template; its own name when there is none.
pub fn text(language: &str, template: &str, words: &[(&str, &str)]) -> String {
    let found = texts(language).and_then(|texts| texts.get(template)).cloned();
    let mut text = found.unwrap_or_else(|| template.to_owned());
    for (name, word) in words {
        text = text.replace(&format!("{{{name}}}"), word);
    }
    text
}

/// Says something to whom an order is for. `words` fill `{0}`, `{1}`, …
pub async fn to_order(
    app: &App,
    tx: &mut Tx,
    order: &Order,
    template: &'static str,
    words: &[&str],
    now: Micros,
) -> Result<(), ApiError> {
    let phone = crate::orders::view::phone(&app.keys, order)?;
    let language = language_of(tx, &order.owner_id).await?;
    let said = Said { owner_id: &order.owner_id, order: Some(order), template, words };
    say(app, tx, &phone, &language, said, now).await
}

/// Says something to whoever made an order (the agent, for one).
pub async fn to_owner(
    app: &App,
    tx: &mut Tx,
    order: &Order,
    template: &'static str,
    now: Micros,
) -> Result<(), ApiError> {
    let row = sqlx::query("SELECT phone_sealed, language FROM users WHERE user_id = $1")
        .bind(order.owner_id.clone())
        .fetch_optional(tx.conn())
        .await?;
    let Some(row) = row else { return Ok(()) };
    let sealed: Vec<u8> = row.try_get(0)?;
    let language: String = row.try_get(1)?;
    let phone = Phone::parse(&app.keys.unseal("users", "phone", &order.owner_id, &sealed)?)?;
    let said = Said { owner_id: &order.owner_id, order: Some(order), template, words: &[] };
    say(app, tx, &phone, &language, said, now).await
}

/// What is said, and about what.
#[derive(Debug)]
pub struct Said<'a> {
    /// Whose row it is.
    pub owner_id: &'a str,
    /// About which order.
    pub order: Option<&'a Order>,
    /// Which template.
    pub template: &'static str,
    /// What fills it in.
    pub words: &'a [&'a str],
}

/// Puts a message into the queue.
pub async fn say(
    app: &App,
    tx: &mut Tx,
    phone: &Phone,
    language: &str,
    said: Said<'_>,
    now: Micros,
) -> Result<(), ApiError> {
    let message_id = random_token("msg_", 26);
    let numbers: Vec<String> = (0..said.words.len()).map(|number| number.to_string()).collect();
    let mut words: Vec<(&str, &str)> =
        numbers.iter().map(String::as_str).zip(said.words.iter().copied()).collect();
    let short = said.order.map(|order| short(&order.order_id)).unwrap_or_default();
    words.push(("order", &short));
    let text = text(language, said.template, &words);
    sqlx::query(
        "INSERT INTO messages (message_id, owner_id, channel, template, language, to_sealed, \
         text_sealed, order_id, state, next_try_at, created_at) \
         VALUES ($1, $2, 'sms', $3, $4, $5, $6, $7, 'waiting', $8, $8)",
    )
    .bind(message_id.clone())
    .bind(said.owner_id)
    .bind(said.template)
    .bind(language)
    .bind(app.keys.seal("messages", "to", &message_id, phone.as_str())?)
    .bind(app.keys.seal("messages", "text", &message_id, &text)?)
    .bind(said.order.map(|order| order.order_id.clone()))
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The last six characters: what a person can read out.
fn short(order_id: &str) -> String {
    let from = order_id.len().saturating_sub(6);
    order_id.get(from..).unwrap_or(order_id).to_owned()
}

async fn language_of(tx: &mut Tx, user_id: &str) -> Result<String, ApiError> {
    let row = sqlx::query("SELECT language FROM users WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional(tx.conn())
        .await?;
    match row {
        Some(row) => Ok(row.try_get(0)?),
        None => Ok("en".to_owned()),
    }
}

/// The newest message to a phone, opened: for the desk and for tests, until a sender is connected.
pub async fn newest_to(app: &App, phone: &Phone) -> Result<Option<String>, ApiError> {
    let rows = sqlx::query(
        "SELECT message_id, to_sealed, text_sealed FROM messages ORDER BY created_at DESC, \
         message_id DESC LIMIT 200",
    )
    .fetch_all(app.db.read())
    .await?;
    for row in rows {
        let message_id: String = row.try_get(0)?;
        let to: Vec<u8> = row.try_get(1)?;
        if app.keys.unseal("messages", "to", &message_id, &to)? == phone.as_str() {
            let sealed: Vec<u8> = row.try_get(2)?;
            return Ok(Some(app.keys.unseal("messages", "text", &message_id, &sealed)?));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_says_the_same_things() {
        let names = |language| texts(language).unwrap().keys().cloned().collect::<Vec<_>>();
        assert!(names("en").len() >= 7);
        for language in ["rw", "fr"] {
            assert_eq!(names(language), names("en"), "{language}");
        }
    }

    #[test]
    fn a_pin_message_names_the_pin_in_every_language() {
        for language in ["en", "rw", "fr"] {
            let said = text(language, "order.pin", &[("0", "123456"), ("order", "ABC123")]);
            assert!(said.contains("123456") && said.contains("ABC123"), "{said}");
        }
    }
}
