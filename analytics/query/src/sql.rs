//! One question from text to rows, within its limits.
//!
//! In:    a checked statement, a cut, limits.
//! Out:   a stream of batches with the moment they are true of.
//! Keeps: at most two batches ahead of the reader.
//! Never: ends early without an error; runs on after its reader has gone.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::context::{SQLOptions, SessionState};
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::Statement;
use futures::StreamExt;
use inzira_schemas::Micros;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::error::QueryError;
use crate::session::Engine;
use crate::view::View;

/// Batches that may wait for the reader; the engine pauses beyond them.
const BATCHES_AHEAD: usize = 2;

/// A task that does not yield is given up this long after its time.
const GIVE_UP_AFTER: Duration = Duration::from_millis(500);

/// What one question may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most rows; one more is an error.
    pub rows_max: u64,
    /// Longest time from asking to the last row.
    pub time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows_max: 10_000_000, time_max: Duration::from_secs(60) }
    }
}

/// The answer to a question, as a stream.
#[derive(Debug)]
pub struct Answer {
    /// Its columns.
    pub schema: SchemaRef,
    /// Everything acknowledged before this moment is in it.
    pub data_as_of: Micros,
    asked_at: Instant,
    deadline: tokio::time::Instant,
    time_max: Duration,
    batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    _task: AbortOnDropHandle<()>,
}

impl Answer {
    /// The next batch; `None` after the last. An error ends the answer.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        let patience = self.deadline + GIVE_UP_AFTER;
        match tokio::time::timeout_at(patience, self.batches.recv()).await {
            Ok(batch) => batch,
            Err(_) => {
                self.batches.close();
                Some(Err(QueryError::Time(self.time_max)))
            }
        }
    }

    /// Every batch.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, QueryError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    /// Time since the question was asked.
    pub fn elapsed(&self) -> Duration {
        self.asked_at.elapsed()
    }
}

/// Asks a statement of a cut. Planning and running happen on `cpu`, the reader stays where it is.
pub async fn ask(
    engine: &Arc<Engine>,
    cpu: &Handle,
    view: Arc<View>,
    statement: Statement,
    limits: Limits,
    asked_at: Instant,
) -> Result<Answer, QueryError> {
    let deadline = tokio::time::Instant::from_std(asked_at) + limits.time_max;
    let data_as_of = view.as_of;
    let (schema_out, schema_in) = oneshot::channel();
    let (batches_out, batches) = mpsc::channel(BATCHES_AHEAD);
    let engine = Arc::clone(engine);
    let task = AbortOnDropHandle::new(cpu.spawn(async move {
        let run = run(&engine, view, statement, limits, schema_out, &batches_out);
        let ended = tokio::time::timeout_at(deadline, run).await;
        let failed = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => QueryError::Time(limits.time_max),
        };
        // The reader may have gone; then nobody is left to tell.
        let _ = batches_out.send(Err(failed)).await;
    }));
    let time_max = limits.time_max;
    let mut answer = Answer {
        schema: Arc::new(arrow::datatypes::Schema::empty()),
        data_as_of,
        asked_at,
        deadline,
        time_max,
        batches,
        _task: task,
    };
    match tokio::time::timeout_at(deadline + GIVE_UP_AFTER, schema_in).await {
        Ok(Ok(schema)) => {
            answer.schema = schema;
            Ok(answer)
        }
        // It failed before there was a schema: the reason is the first thing in the channel.
        Ok(Err(_)) => match answer.next().await {
            Some(Err(error)) => Err(error),
            _ => Err(QueryError::Internal("the question ended without an answer".to_owned())),
        },
        Err(_) => Err(QueryError::Time(time_max)),
    }
}

async fn run(
    engine: &Arc<Engine>,
    view: Arc<View>,
    statement: Statement,
    limits: Limits,
    schema_out: oneshot::Sender<SchemaRef>,
    batches_out: &mpsc::Sender<Result<RecordBatch, QueryError>>,
) -> Result<(), QueryError> {
    let session = engine.session(view);
    let plan = physical(&session, statement).await?;
    if schema_out.send(plan.schema()).is_err() {
        return Ok(());
    }
    let mut stream = pin!(execute_stream(plan, session.task_ctx())?);
    let mut rows = 0_u64;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        rows = rows.saturating_add(batch.num_rows() as u64);
        if rows > limits.rows_max {
            return Err(QueryError::Rows(limits.rows_max));
        }
        if batches_out.send(Ok(batch)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn physical(
    session: &SessionState,
    statement: Statement,
) -> Result<Arc<dyn datafusion::physical_plan::ExecutionPlan>, QueryError> {
    let plan = session.statement_to_plan(statement).await?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|error| QueryError::Refused(error.strip_backtrace()))?;
    Ok(session.create_physical_plan(&plan).await?)
}
