//! The room's one door: questions in, answers out.
//!
//! In:    SQL and heat-map requests.
//! Out:   answers that say how new they are.
//! Keeps: the newest cut of log and archive, the revenue rollup, threads of its own for questions.
//! Never: writes; lets a question run on the threads of those who called.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use inzira_archive::Table;
use inzira_event_log::EventLog;
use inzira_schemas::{Clock, Micros};
use inzira_store::Opened;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::delta::DeltaTables;
use crate::error::QueryError;
use crate::follow::{self, Follower, Observer};
use crate::guard;
use crate::heatmap::{self, HeatmapAnswer, HeatmapRequest, Revenue};
use crate::session::{Engine, EngineLimits};
use crate::source::Committed;
use crate::sql::{self, Answer, Limits};
use crate::view::View;
use crate::views;

/// The stack of the threads that plan: deep plans recurse.
const CPU_STACK_BYTES: usize = 16 << 20;

/// How questions are answered.
#[derive(Debug, Clone)]
pub struct QueryConfig {
    /// What the engine may use.
    pub engine: EngineLimits,
    /// Bytes of rows not yet archived that may be held in memory.
    pub tail_bytes_max: usize,
    /// Whether to follow the log, or to read it once for every question (`inzira sql`).
    pub mode: Mode,
    /// How long `open` waits for the first full cut before it answers from a partial one.
    pub catch_up_max: Duration,
    /// Orders and payments kept in the revenue rollup; beyond it, heat maps are computed by SQL.
    pub rollup_rows_max: usize,
}

/// How the log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the background, always.
    Follow,
    /// Anew for every question, only the topics it needs.
    Once,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            engine: EngineLimits::default(),
            tail_bytes_max: 256 << 20,
            mode: Mode::Follow,
            catch_up_max: Duration::from_secs(10),
            rollup_rows_max: 2_000_000,
        }
    }
}

/// What `/readyz` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryHealth {
    /// Everything acknowledged before this moment can be asked.
    pub data_as_of: Micros,
    /// Bytes of rows held that are not archived.
    pub tail_bytes: usize,
    /// True once heat maps are answered from the rollup.
    pub rollup_ready: bool,
}

/// Answers questions.
pub struct Questions {
    engine: Arc<Engine>,
    log: Arc<dyn EventLog>,
    committed: Arc<dyn Committed>,
    clock: Arc<dyn Clock>,
    config: QueryConfig,
    views: watch::Receiver<Arc<View>>,
    revenue: Arc<Revenue>,
    cpu: Cpu,
    _following: DropGuard,
}

impl std::fmt::Debug for Questions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Questions").field("mode", &self.config.mode).finish_non_exhaustive()
    }
}

impl Questions {
    /// Opens the archive of a store beside a log. Both are only read. In `Mode::Follow` the
    /// answer comes when the log has been read to its present end, or after `catch_up_max`.
    pub async fn open(
        log: Arc<dyn EventLog>,
        store: Opened,
        config: QueryConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, QueryError> {
        let committed = Arc::new(DeltaTables::new(&store)?);
        Self::over(log, committed, store, config, clock).await
    }

    /// The same over another source of versions.
    pub async fn over(
        log: Arc<dyn EventLog>,
        committed: Arc<dyn Committed>,
        store: Opened,
        config: QueryConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, QueryError> {
        let engine = Engine::new(Arc::clone(&store.store), &config.engine)?;
        let cpu = Cpu::new(config.engine.threads)?;
        let revenue = Arc::new(Revenue::new(config.rollup_rows_max));
        let stop = CancellationToken::new();
        let tables: &[Table] = if config.mode == Mode::Follow { &Table::ALL } else { &[] };
        let cut = follow::begin(log.as_ref(), committed.as_ref(), tables, clock.now()).await?;
        let first = Arc::new(cut.view(Micros(0)));
        let (publish, views) = watch::channel(Arc::clone(&first));
        if config.mode == Mode::Follow {
            let follower = Follower {
                log: Arc::clone(&log),
                committed: Arc::clone(&committed),
                clock: Arc::clone(&clock),
                tail_bytes_max: config.tail_bytes_max,
                observer: Arc::clone(&revenue) as Arc<dyn Observer>,
            };
            tokio::spawn(follower.run(cut, publish, stop.clone()));
        }
        let questions = Arc::new(Self {
            engine,
            log,
            committed,
            clock,
            config,
            views,
            revenue,
            cpu,
            _following: stop.drop_guard(),
        });
        if questions.config.mode == Mode::Follow {
            questions.catch_up().await;
            questions.load_revenue(first);
        }
        Ok(questions)
    }

    /// Asks SQL. The cut is the newest one.
    pub async fn sql(&self, text: &str, limits: Limits) -> Result<Answer, QueryError> {
        let asked_at = Instant::now();
        let statement = self.cpu.run(text.to_owned(), |text| guard::check(&text)).await??;
        let view = match self.config.mode {
            Mode::Follow => self.views.borrow().clone(),
            Mode::Once => {
                let tables = tables_of(&guard::relations(&statement));
                self.read_once(&tables).await?
            }
        };
        sql::ask(&self.engine, self.cpu.handle(), view, statement, limits, asked_at).await
    }

    /// Answers a heat map of revenue: from the rollup when it is ready, else by SQL.
    pub async fn revenue_heatmap(
        &self,
        request: &HeatmapRequest,
    ) -> Result<HeatmapAnswer, QueryError> {
        if self.config.mode == Mode::Follow && self.revenue.is_ready() {
            let as_of = self.views.borrow().as_of;
            return Ok(self.revenue.heatmap(request, as_of));
        }
        self.revenue_heatmap_by_sql(request).await
    }

    /// The same, recomputed by SQL from the tables.
    pub async fn revenue_heatmap_by_sql(
        &self,
        request: &HeatmapRequest,
    ) -> Result<HeatmapAnswer, QueryError> {
        let answer = self.sql(&heatmap::recompute::sql(request), Limits::default()).await?;
        let as_of = answer.data_as_of;
        heatmap::recompute::answer(request, &answer.collect().await?, as_of)
    }

    /// A text that changes when the given tables may have changed.
    pub fn tag(&self, tables: &[Table]) -> String {
        self.views.borrow().tag(tables)
    }

    /// What `/readyz` shows.
    pub fn health(&self) -> QueryHealth {
        let view = self.views.borrow().clone();
        let batches = view.tables.values().flat_map(|table| &table.certain);
        QueryHealth {
            data_as_of: view.as_of,
            tail_bytes: batches.map(RecordBatch::get_array_memory_size).sum(),
            rollup_ready: self.revenue.is_ready(),
        }
    }

    /// Waits until everything acknowledged before `moment` can be asked.
    pub async fn caught_up(&self, moment: Micros) {
        let mut views = self.views.clone();
        // The follower lives as long as `self`, so the channel stays open.
        let _ = views.wait_for(|view| view.as_of >= moment).await;
    }

    async fn catch_up(&self) {
        let began = self.clock.now();
        let mut views = self.views.clone();
        let first = views.wait_for(|view| view.as_of >= began);
        if tokio::time::timeout(self.config.catch_up_max, first).await.is_err() {
            tracing::warn!("the end of the log was not reached in time; answers start out old");
        }
    }

    async fn read_once(&self, tables: &[Table]) -> Result<Arc<View>, QueryError> {
        let bytes_max = self.config.tail_bytes_max;
        let (log, clock) = (&self.log, self.clock.as_ref());
        let view =
            follow::read_once(log, self.committed.as_ref(), clock, tables, bytes_max).await?;
        Ok(Arc::new(view))
    }

    /// Reads the committed rows of the first cut into the rollup, in the background. Rows that
    /// came after it have reached the rollup through the follower: taking one twice changes
    /// nothing.
    fn load_revenue(self: &Arc<Self>, first: Arc<View>) {
        let engine = Arc::clone(&self.engine);
        let revenue = Arc::clone(&self.revenue);
        self.cpu.handle().spawn(async move {
            if let Err(error) = heatmap::load(&engine, first, &revenue).await {
                tracing::error!(%error, "the revenue rollup could not be loaded; heat maps use SQL");
            }
        });
    }
}

/// The tables that the given names read, views included.
fn tables_of(names: &[String]) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let named = names.iter().flat_map(|name| {
        let through_view = views::view(name).map_or(&[][..], |view| view.reads);
        name.parse::<Table>().ok().into_iter().chain(through_view.iter().copied())
    });
    for table in named {
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    tables
}

/// Threads of their own, so that a heavy question slows no other room.
struct Cpu(Option<Runtime>, Handle);

impl Cpu {
    fn new(threads: usize) -> Result<Self, QueryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("questions")
            .thread_stack_size(CPU_STACK_BYTES)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self(Some(runtime), handle))
    }

    fn handle(&self) -> &Handle {
        &self.1
    }

    /// Runs work that may recurse deeply on a thread whose stack allows for it.
    async fn run<I: Send + 'static, T: Send + 'static>(
        &self,
        input: I,
        work: fn(I) -> T,
    ) -> Result<T, QueryError> {
        self.1
            .spawn(async move { work(input) })
            .await
            .map_err(|error| QueryError::Internal(format!("a question's thread ended: {error}")))
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
