//! The few places where SQLite and Postgres differ.
//!
//! In:    the portable text of a migration or a query.
//! Out:   the same for one database.
//! Never: known outside `db`: every other file has one SQL for both.

use crate::db::Actor;

/// Which database is behind the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// One file, one writer.
    Sqlite,
    /// A server, many writers.
    Postgres,
}

impl Dialect {
    /// A migration as this database wants it.
    pub fn migration(self, portable: &str) -> String {
        let mut text = String::with_capacity(portable.len() + 2048);
        for line in portable.lines() {
            match line.trim().strip_prefix("{{append_only ").and_then(|x| x.strip_suffix("}}")) {
                Some(table) => text.push_str(&self.append_only(table)),
                None => text.push_str(line),
            }
            text.push('\n');
        }
        match self {
            Dialect::Sqlite => text
                .replace("{{identity}}", "INTEGER PRIMARY KEY AUTOINCREMENT")
                .replace("BYTEA", "BLOB")
                .replace("DOUBLE PRECISION", "REAL"),
            Dialect::Postgres => {
                text.replace("{{identity}}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")
            }
        }
    }

    /// Rows of `table` can be added, never changed or taken away.
    fn append_only(self, table: &str) -> String {
        match self {
            Dialect::Sqlite => ["UPDATE", "DELETE"]
                .map(|verb| {
                    format!(
                        "CREATE TRIGGER {table}_no_{} BEFORE {verb} ON {table} BEGIN \
                         SELECT RAISE(ABORT, '{table} is append-only'); END;\n",
                        verb.to_lowercase()
                    )
                })
                .concat(),
            Dialect::Postgres => format!(
                "CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ \
                 BEGIN RAISE EXCEPTION '{table} is append-only'; END $$;\n\
                 CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} \
                 FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only();\n"
            ),
        }
    }

    /// A `SELECT` that locks its rows until the transaction ends; SQLite's writer is alone.
    pub fn locking(self, select: &str) -> String {
        match self {
            Dialect::Sqlite => select.to_owned(),
            Dialect::Postgres => format!("{select} FOR UPDATE"),
        }
    }

    /// Takes the migration lock for this transaction.
    pub fn lock_migrations(self) -> Option<&'static str> {
        match self {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some("SELECT pg_advisory_xact_lock(495326001)"),
        }
    }

    /// What every fresh connection is told.
    pub fn on_connect(self) -> &'static [&'static str] {
        match self {
            Dialect::Sqlite => &[
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "PRAGMA foreign_keys = ON",
                "PRAGMA busy_timeout = 10000",
                "PRAGMA cache_size = -65536",
                "PRAGMA temp_store = MEMORY",
            ],
            Dialect::Postgres => &[
                "SET statement_timeout = '15s'",
                "SET lock_timeout = '10s'",
                "SET TIME ZONE 'UTC'",
            ],
        }
    }
}

/// How a transaction of Postgres begins: it is told who acts, for policies and triggers.
pub fn begin_as(actor: &Actor) -> String {
    format!(
        "BEGIN; SET LOCAL inzira.actor = '{}'; SET LOCAL inzira.role = '{}'",
        plain(&actor.id),
        plain(&actor.role)
    )
}

/// Ids hold letters, digits, `_`, `-`, `:`; anything else never reaches the statement.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "_-:".contains(*c)).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_cannot_break_out_of_the_statement() {
        let actor = Actor { role: "x'; DROP TABLE".into(), id: "usr_1'--\n".into() };
        let begin = begin_as(&actor);
        assert_eq!(
            begin,
            "BEGIN; SET LOCAL inzira.actor = 'usr_1--'; SET LOCAL inzira.role = 'xDROPTABLE'"
        );
    }
}
