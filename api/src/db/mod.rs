//! The transactional database: SQLite or Postgres behind one set of SQL.
//!
//! In:    portable SQL with `$n`, a transaction that knows who acts.
//! Out:   rows; on commit, durable ones (SQLite: fsync before the answer).
//! Keeps: SQLite: one writer, taken in turns, and a pool of readers; Postgres: one pool.
//! Never: leaves a transaction open across a call to the outside.

mod dialect;
mod group;
mod migrate;

use std::path::{Path, PathBuf};
use std::time::Duration;

use inzira_event_log::embedded::wal::{self, Wal};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, Transaction};

pub use dialect::Dialect;
use group::{GroupWriter, Turn};

/// Connections for reading on SQLite.
const SQLITE_READERS_MAX: u32 = 4;
/// How long a request waits for a connection before it is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How the database can fail, and what to do then.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The URL or the folder is wrong: exit 78.
    #[error("{0}")]
    Config(String),
    /// A migration that was applied has been edited: restore it, and add a new one.
    #[error("migration {version} ({name}) has changed since it was applied")]
    Changed {
        /// Which.
        version: i64,
        /// Its name.
        name: String,
    },
    /// The commit that this transaction shared with others failed. Nothing was written.
    #[error("not committed: {0}")]
    NotCommitted(String),
    /// The database itself. Nothing was written, save when a commit's answer was lost.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    /// A row does not read as what we wrote: a foreign hand or a bug.
    #[error("row {row} of {table} is damaged: {what}")]
    Damaged {
        /// Which table.
        table: &'static str,
        /// Which row.
        row: String,
        /// What was found.
        what: String,
    },
}

impl DbError {
    /// True when a unique index refused the row.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, DbError::Sql(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

/// Who acts in a transaction: as events, history and audit name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `customer`, `operator`, … or `system`.
    pub role: String,
    /// `cus_…`, `drv_…`, `usr_…`; empty for the house itself.
    pub id: String,
}

impl Actor {
    /// The house itself.
    pub fn system() -> Self {
        Self { role: "system".to_owned(), id: String::new() }
    }
}

/// A handle on the database; clones share the pools.
#[derive(Debug, Clone)]
pub struct Db {
    write: Write,
    read: AnyPool,
    dialect: Dialect,
}

/// Where transactions come from.
#[derive(Debug, Clone)]
enum Write {
    Turns(GroupWriter),
    Pool(AnyPool),
}

/// A transaction that knows who acts. Dropped without `commit`, nothing happened.
pub struct Tx {
    inner: Inner,
    actor: Actor,
    dialect: Dialect,
}

enum Inner {
    Turn(Turn),
    Own(Transaction<'static, Any>),
}

impl Db {
    /// Opens and migrates. `url` is `sqlite:` (a file in `data`), `sqlite:PATH` or `postgres://…`.
    pub async fn open(url: &str, data: &Path, postgres_connections: u32) -> Result<Db, DbError> {
        sqlx::any::install_default_drivers();
        let (dialect, address) = address(url, data)?;
        if let (Dialect::Sqlite, Some(path)) = (dialect, sqlite_path(url, data)) {
            refuse_damage(path).await?;
        }
        let db = match dialect {
            Dialect::Sqlite => {
                let writer = GroupWriter::over(connect(dialect, &address).await?);
                let read = pool(dialect, &address, SQLITE_READERS_MAX).await?;
                Db { write: Write::Turns(writer), read, dialect }
            }
            Dialect::Postgres => {
                let pool = pool(dialect, &address, postgres_connections.max(2)).await?;
                Db { write: Write::Pool(pool.clone()), read: pool, dialect }
            }
        };
        migrate::run(&db).await?;
        Ok(db)
    }

    /// Which database this is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Begins a transaction in the name of `actor`.
    pub async fn begin(&self, actor: &Actor) -> Result<Tx, DbError> {
        let inner = match &self.write {
            Write::Turns(writer) => Inner::Turn(writer.begin(ACQUIRE_TIMEOUT).await?),
            Write::Pool(pool) => {
                let begin = AssertSqlSafe(dialect::begin_as(actor));
                Inner::Own(pool.begin_with(begin).await?)
            }
        };
        Ok(Tx { inner, actor: actor.clone(), dialect: self.dialect })
    }

    /// For single reads outside a transaction.
    pub fn read(&self) -> &AnyPool {
        &self.read
    }

    /// True when the database answers.
    pub async fn is_up(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.read).await.is_ok()
    }

    /// Closes the pools; waits for what is under way.
    pub async fn close(&self) {
        if let Write::Turns(writer) = &self.write {
            writer.close().await;
        }
        self.read.close().await;
    }
}

impl Tx {
    /// Who acts.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The connection, for queries.
    pub fn conn(&mut self) -> &mut AnyConnection {
        match &mut self.inner {
            Inner::Turn(turn) => turn.connection(),
            Inner::Own(transaction) => transaction,
        }
    }

    /// A `SELECT` whose rows stay locked until the end.
    pub fn locking(&self, select: &'static str) -> AssertSqlSafe<String> {
        AssertSqlSafe(self.dialect.locking(select))
    }

    /// Makes it so. To be called also before an answer that only repeats what was read here: on
    /// SQLite what was read may not be durable yet.
    pub async fn commit(self) -> Result<(), DbError> {
        match self.inner {
            Inner::Turn(turn) => turn.commit().await,
            Inner::Own(transaction) => Ok(transaction.commit().await?),
        }
    }
}

async fn connect(dialect: Dialect, address: &str) -> Result<AnyConnection, DbError> {
    let mut connection = AnyConnection::connect(address).await?;
    for statement in dialect.on_connect() {
        connection.execute(*statement).await?;
    }
    Ok(connection)
}

async fn pool(dialect: Dialect, address: &str, connections: u32) -> Result<AnyPool, DbError> {
    let options: AnyConnectOptions =
        address.parse().map_err(|error| DbError::Config(format!("INZIRA_DB: {error}")))?;
    Ok(AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                for statement in dialect.on_connect() {
                    connection.execute(*statement).await?;
                }
                Ok(())
            })
        })
        .connect_with(options)
        .await?)
}

fn address(url: &str, data: &Path) -> Result<(Dialect, String), DbError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok((Dialect::Postgres, url.to_owned()));
    }
    let path = sqlite_path(url, data)
        .ok_or_else(|| DbError::Config("INZIRA_DB is sqlite: or postgres://…".to_owned()))?;
    create_private(&path).map_err(|error| {
        DbError::Config(format!("cannot open the database {}: {error}", path.display()))
    })?;
    let text = path
        .to_str()
        .ok_or_else(|| DbError::Config("the database path is not UTF-8".to_owned()))?;
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '%' => "%25".to_owned(),
            '?' => "%3F".to_owned(),
            '#' => "%23".to_owned(),
            ' ' => "%20".to_owned(),
            other => other.to_string(),
        })
        .collect();
    Ok((Dialect::Sqlite, format!("sqlite://{escaped}?mode=rwc")))
}

fn sqlite_path(url: &str, data: &Path) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    Some(if rest.is_empty() { data.join("inzira.db") } else { PathBuf::from(rest) })
}

/// SQLite ends its recovery at the first bad frame without a word. A bad frame before a sound
/// transaction is damage: refuse, and name the place.
async fn refuse_damage(path: PathBuf) -> Result<(), DbError> {
    let mut wal = path.clone().into_os_string();
    wal.push("-wal");
    let scanned = tokio::task::spawn_blocking(move || wal::scan(Path::new(&wal)))
        .await
        .map_err(|error| DbError::Config(format!("reading the write-ahead log: {error}")))?
        .map_err(|error| DbError::Config(format!("reading the write-ahead log: {error}")))?;
    match scanned {
        Wal::Damaged { at_byte } => Err(DbError::Config(format!(
            "{}-wal is damaged at byte {at_byte}; restore the database from its backup",
            path.display()
        ))),
        Wal::Empty | Wal::Sound { .. } | Wal::TornTail { .. } => Ok(()),
    }
}

/// Only the service's own user reads the file.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(|_| ())
}
