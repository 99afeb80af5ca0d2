//! How a question can go wrong, and what the one who asked may do next.
//!
//! In:    failures of the engine, the archive and the log.
//! Out:   one of a few kinds with a message for people; HTTP status and exit code follow from it.
//! Never: ends an answer in silence: a cut answer is an error.

use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use inzira_event_log::LogError;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It is not a question but a command, or reaches outside the tables. Ask with SELECT.
    #[error("{0}")]
    Refused(String),
    /// It is not SQL, or names what there is not. Correct it.
    #[error("{0}")]
    Wrong(String),
    /// It is too long or too deeply nested. Make it smaller.
    #[error("the question is too complex: {0}")]
    TooComplex(String),
    /// It needs more memory or spill space than its limit. Narrow it, or aggregate earlier.
    #[error("the question needs more memory than its limit: {0}")]
    Memory(String),
    /// It took longer than its limit. Narrow it by event_date, or export instead.
    #[error("the question took longer than its limit of {:.1} s: narrow it, for example by event_date", .0.as_secs_f64())]
    Time(Duration),
    /// It has more rows than its limit. Add LIMIT or aggregate.
    #[error("the answer has more than {0} rows: add LIMIT, aggregate, or export to a file")]
    Rows(u64),
    /// It has more bytes than its limit. Add LIMIT, name fewer columns or aggregate.
    #[error("the answer has more than {0} bytes: add LIMIT, name fewer columns, or aggregate")]
    Bytes(u64),
    /// The rows not yet archived do not fit. The archive is behind: start it and ask again.
    #[error("rows not yet archived exceed {0} bytes: is the archive running?")]
    Tail(u64),
    /// Too many are asking. Ask again after a moment.
    #[error("too many questions at once: ask again in a moment")]
    Busy,
    /// The log could not be read. Ask again; if it stays, see the log's own health.
    #[error("the log could not be read: {0}")]
    Log(#[from] LogError),
    /// The archive could not be read. Ask again; if it stays, run `inzira archive verify`.
    #[error("the archive could not be read: {0}")]
    Archive(String),
    /// The answer could not be written where it should go.
    #[error("the answer could not be written: {0}")]
    Output(#[from] std::io::Error),
    /// The data made the question fail: a division by zero, a cast. Correct the question.
    #[error("{0}")]
    Failed(String),
    /// A bug of ours. Nothing the caller can do.
    #[error("internal failure: {0}")]
    Internal(String),
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        let text = tidy(&error.find_root().strip_backtrace());
        match error.find_root() {
            DataFusionError::SQL(error, _) => match error.as_ref() {
                ParserError::RecursionLimitExceeded => Self::TooComplex("nested too deeply".into()),
                ParserError::ParserError(text) | ParserError::TokenizerError(text) => {
                    Self::Wrong(format!("not SQL: {text}"))
                }
            },
            DataFusionError::SchemaError(..)
            | DataFusionError::Plan(_)
            | DataFusionError::Configuration(_)
            | DataFusionError::NotImplemented(_) => Self::Wrong(text),
            DataFusionError::Diagnostic(..) | DataFusionError::Collection(_) => Self::Wrong(text),
            // The engine calls a full spill folder an I/O error.
            _ if text.contains("disk space during the spilling") => Self::Memory(first_line(&text)),
            DataFusionError::ResourcesExhausted(_) => Self::Memory(first_line(&text)),
            DataFusionError::Execution(_) | DataFusionError::ArrowError(..) => Self::Failed(text),
            DataFusionError::ParquetError(_)
            | DataFusionError::ObjectStore(_)
            | DataFusionError::IoError(_) => Self::Archive(text),
            DataFusionError::External(inner) if is_storage(inner.as_ref()) => Self::Archive(text),
            _ => Self::Internal(text),
        }
    }
}

impl From<arrow::error::ArrowError> for QueryError {
    fn from(error: arrow::error::ArrowError) -> Self {
        match error {
            arrow::error::ArrowError::IoError(_, source) => Self::Output(source),
            other => Self::Failed(other.to_string()),
        }
    }
}

fn is_storage(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<inzira_store::object_store::Error>() || error.is::<std::io::Error>()
}

/// The engine's prefixes say nothing to people.
fn tidy(text: &str) -> String {
    const PREFIXES: [&str; 7] = [
        "Io error: ",
        "Error during planning: ",
        "Schema error: ",
        "Execution error: ",
        "Resources exhausted: ",
        "Arrow error: ",
        "This feature is not implemented: ",
    ];
    let mut rest = text.trim();
    while let Some(shorter) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = shorter;
    }
    rest.trim_end_matches('.').to_owned()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_prefixes_are_taken_off() {
        let error = DataFusionError::Plan("table 'datafusion.public.x' not found".to_owned());
        assert_eq!(QueryError::from(error).to_string(), "table 'datafusion.public.x' not found");
    }
}
